"""Ctrl-C and SIGTERM at every moment: the right code, one line, no process left; the same command again ends right."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.conftest import Fresh
from tests.support.learning import LearningShop
from tests.support.predicting import promote, train
from tests.support.runs import declared, values, write_rows
from tests.support.stopping import PATIENCE_SECONDS, Started, started

from asgard.common.settings import Settings
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.history import list_runs

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

WORDS = {signal.SIGINT: "stopped", signal.SIGTERM: "terminated"}
PIPELINE = """
from asgard import Pipeline
shop = Pipeline("shop")
shop.source("{source}")

@shop.table("{target}", inputs={{"rows": "{source}"}})
def target(rows):
    return rows
"""
FOREVER = "concat(repeat('a', 60 + int(id)), '!') rlike '^(a|aa)+$'"
"""A condition that a regular expression engine takes years to answer."""
MOMENTS = 36
"""Of the random search."""


@contextmanager
def command(*arguments: str) -> Iterator[Started]:
    with started([sys.executable, "-m", "asgard.cli", *arguments]) as process:
        yield process


def require_stopped(process: Started, number: signal.Signals) -> list[str]:
    """Ended by a signal as it should be; gives what else it said."""
    code, said = process.ended()
    assert code == 128 + number, said
    lines = said.splitlines()
    line = f"{WORDS[number]}: nothing incomplete was published"
    assert lines.count(line) == 1, said
    others = [each for each in lines if each != line]
    assert not [each for each in others if re.search("Traceback|Exception|Error|error|ignored|WARN|failed", each)], said
    assert process.left() == []
    return others


@pytest.fixture
def rows(lake: Lakehouse, spark: "SparkSession", fresh: Fresh) -> str:
    """A bronze table with two rows."""
    source = fresh.table("bronze")
    write_rows(lake, declared(source, mode="append"), values(spark, "id bigint", [[1], [2]]))
    return str(source)


def test_while_spark_starts(lake: Lakehouse, project: Settings, rows: str, fresh: Fresh, tmp_path: Path) -> None:
    path = tmp_path / "starting_pipeline.py"
    target = fresh.table()
    path.write_text(PIPELINE.format(source=rows, target=target))
    run_id = f"20260101t000000-start-{target.name[2:]}"
    with command("backfill", "-p", str(path), "--run-id", run_id, "--dir", str(project.project_dir)) as process:
        process.wait_for(lambda: "java" in process.left())
        process.send(signal.SIGINT)
        require_stopped(process, signal.SIGINT)
    assert list_runs(lake, run_id=run_id)[0].status == "failed"  # type: ignore[arg-type]


def test_while_spark_starts_in_a_program_of_ones_own(project: Settings) -> None:
    program = """
import sys
from asgard.common.settings import load_settings
from asgard.common.spark_utils import open_session
open_session(load_settings({"project_dir": sys.argv[1]}), "own", {}, {})
"""
    with started([sys.executable, "-c", program, str(project.project_dir)]) as process:
        process.wait_for(lambda: "java" in process.left())
        assert "KeyboardInterrupt" in process.stop(signal.SIGINT)[1]
        assert process.left() == []


def test_in_an_audit_that_is_no_failed_audit(project: Settings, rows: str) -> None:
    check = f"expression('slow', \"{FOREVER}\")"
    with command("audit", rows, "--check", check, "--dir", str(project.project_dir)) as process:
        process.wait_for(lambda: _computes(process))
        os.killpg(process.pid, signal.SIGINT)
        said = require_stopped(process, signal.SIGINT)
    assert "auditing" in said[0]


def test_while_nessie_does_not_answer(project: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        address = f"nessie_uri=http://127.0.0.1:{silent.getsockname()[1]}"
        with command("tables", "--set", address, "--dir", str(project.project_dir)) as process:
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(1000)
                process.send(signal.SIGTERM)
                assert require_stopped(process, signal.SIGTERM) == []


def _computes(process: Started) -> bool:
    """Whether a task runs in its JVM."""
    return any(name.startswith("Executor task") for name in process.threads())


@pytest.fixture
def jobs(
    lake: Lakehouse, project: Settings, spark: "SparkSession", fresh: Fresh, tmp_path: Path
) -> dict[str, list[str]]:
    """A command of every job, on a pipeline with a view that is online and a model in Production."""
    name = fresh.table().name
    shop = LearningShop.begin(lake, tmp_path, name)
    shop.publish()
    train(shop)
    promote(shop)
    path = tmp_path / f"online_{name}.py"
    path.write_text(Path(shop.pipeline()).read_text().replace("features=[Feature", "online=True, features=[Feature", 1))
    assert shop.run("features", "apply", "-p", path, "--no-feast") == 0
    data = tmp_path / "rows.csv"
    data.write_text("id,text\n" + "".join(f"{number},text {number}\n" for number in range(5000)))
    pipeline = ["-p", str(path)]
    model = [*pipeline, "-m", shop.model("plain")]
    where = ["--dir", str(project.project_dir), "--set", f"mlflow_tracking_uri={shop.mlflow}"]
    found = {
        "backfill": ["backfill", *pipeline, "--start", "2024-01-01", "--end", "2024-02-01"],
        "ingest": ["ingest", f"bronze.in_{name}", str(data)],
        "features apply": ["features", "apply", *pipeline],
        "train": ["train", *model],
        "batch-predict": ["batch-predict", *model],
        "online-sync": ["online-sync", "--view", f"view_{name}", "--full"],
        "audit": ["audit", str(shop.table), "--check", "unique(customer_id, event_timestamp)"],
        "plan": ["plan", *pipeline],
    }
    up = ["up", "--only", "redis", "--only", "nessie", "--dir", str(tmp_path / "another")]
    return {**{job: [*words, *where] for job, words in found.items()}, "up": up}


@pytest.mark.soak
def test_at_random_moments_of_every_job(
    lake: Lakehouse, jobs: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    drawn = Random(seed)
    lasts = dict.fromkeys(jobs, 30.0)  # corrected where a command ends before its signal comes
    counts: dict[str, int] = {}
    say = sys.__stderr__.write if sys.__stderr__ else str
    with capsys.disabled():
        say(f"\nseed {seed}\n")
        for number in range(MOMENTS):
            job = list(jobs)[number % len(jobs)]
            kind = ("INT", "INT to the group", "TERM")[(number // len(jobs) + number) % 3]
            moment = drawn.uniform(0, lasts[job])
            head = lake.nessie.head("main")
            began = time.monotonic()
            ended = _disturbed(jobs[job], kind, moment)
            if ended == "ended before":
                lasts[job] = time.monotonic() - began
                _down(tmp_path, job)
            new = _since(lake, head)
            say(f"{job}: {kind} after {moment:.1f} s: {ended}, {len(new)} published\n")
            assert len(new) <= 1
            counts[ended] = counts.get(ended, 0) + 1
        for job, words in jobs.items():
            say(f"{job} again: {_undisturbed(words):.1f} s\n")
            _down(tmp_path, job)
        say(f"{counts}\n")


def _since(lake: Lakehouse, head: str) -> list[str]:
    found: list[str] = []
    for entry in lake.nessie.log("main"):
        if entry.hash == head:
            return found
        found.append(entry.message)
    raise AssertionError(f"{head} is not in main's log")


def _undisturbed(words: list[str]) -> float:
    with command(*words) as process:
        process.wait_for(process.is_armed)
        began = time.monotonic()
        code, said = process.ended()
        assert code == 0, said
        return time.monotonic() - began


def _disturbed(words: list[str], kind: str, moment: float) -> str:
    number = signal.SIGTERM if kind == "TERM" else signal.SIGINT
    with command(*words) as process:
        process.wait_for(process.is_armed)
        with suppress(subprocess.TimeoutExpired):
            process.process.wait(moment)
        if process.process.poll() is None and "group" in kind:
            os.killpg(process.pid, number)
        else:
            process.send(number)
        if process.process.wait(PATIENCE_SECONDS) == 0:
            return "ended before"
        began = time.monotonic()
        require_stopped(process, number)
        assert time.monotonic() - began < 30
        return f"{128 + number}"


def _down(folder: Path, job: str) -> None:
    if job == "up":
        _undisturbed(["down", "--dir", str(folder / "another")])
