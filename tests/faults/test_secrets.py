"""Fault 56: canary secrets in every secret setting, and none of them in anything that a run leaves behind."""

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import psutil
import pytest
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.runs import rows_of, values, write_rows
from tests.support.shop import at, make_shop, names
from tests.support.waiting import PATIENCE_SECONDS

from asgard.cli.app import main
from asgard.common.names import RunId, TableName, audit_branch
from asgard.common.settings import DEFINITIONS, Settings
from asgard.lakehouse.catalog.lake import Lakehouse

ORDERS = "id bigint, at timestamp, amount decimal(10,2)"
LEAKY = """
import os
from asgard import Pipeline
leaky = Pipeline("leaky")

@leaky.table("silver.{name}", inputs={{}})
def target():
    raise ValueError("can't log in with " + os.environ["ASGARD_JDBC_PASSWORD"])
"""


@pytest.fixture
def canary() -> str:
    return f"canary-{secrets.token_hex(6)}"


@pytest.fixture
def environment(canary: str) -> dict[str, str]:
    """Every secret setting with a canary of its own that begins alike; the addresses with one as password."""
    found = {}
    for definition in DEFINITIONS:
        if definition.is_secret:
            secret = f"{canary}-{definition.name}"
            is_address = definition.name.endswith("_url")
            found[definition.variable] = f"redis://user:{secret}@localhost:1/0" if is_address else secret
    assert {"ASGARD_NESSIE_TOKEN", "ASGARD_AWS_SECRET_ACCESS_KEY", "ASGARD_JDBC_PASSWORD"} <= set(found)
    return found


def test_no_secret_is_in_anything_that_runs_of_the_command_line_leave_behind(
    lake: Lakehouse,
    project: Settings,
    repository_root: Path,
    spark: SparkSession,
    fresh: Fresh,
    tmp_path: Path,
    canary: str,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs: dict[str, tuple[RunId, dict[str, TableName], subprocess.Popen[str]]] = {}
    for name, amount, options in (("good", 10, ["--json"]), ("bad", 1000, [])):
        suffix = fresh.table().name[2:]
        shop, tables, run_id = make_shop(suffix), names(suffix), RunId(f"20260101t000000-{name}-{suffix}")
        order = values(spark, ORDERS, [[1, at(1, 5), Decimal(amount)]])
        write_rows(lake, shop[tables["bronze"]], order)
        path = tmp_path / f"shop_{suffix}.py"
        path.write_text(f"from tests.support.shop import make_shop\nshop = make_shop({suffix!r})\n")
        arguments = [
            "backfill",
            "-p",
            str(path),
            "-s",
            "silver.*",
            "--run-id",
            run_id,
            "--dir",
            str(project.project_dir),
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "asgard.cli", *arguments, *options],
            cwd=repository_root,
            env={**os.environ, **environment, "LOG_LEVEL": "INFO"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        runs[name] = (run_id, tables, process)
    with command_lines_with(canary) as shown:
        said = {name: finished(process) for name, (_, _, process) in runs.items()}
    assert not shown
    assert [runs[name][2].returncode for name in ("good", "bad")] == [0, 3], said

    (good, tables, _), (bad, refused, _) = runs["good"], runs["bad"]
    assert json.loads(said["good"][0])["runs"][0]["run_id"] == good
    assert "between(amount)" in said["bad"][1]
    assert rows_of(lake, tables["silver"], "id") == [(1,)]
    assert not lake.nessie.contents("main", [refused["silver"]])

    texts = [text for pair in said.values() for text in pair]
    for variable, secret in environment.items():
        monkeypatch.setenv(variable, secret)
    for asked in (["runs", good], ["runs", bad], ["tables"], ["settings"], ["lineage", str(tables["silver"])]):
        for options in ([], ["--json"]):
            assert main([*asked, *options, "--dir", str(project.project_dir)]) == 0
            texts += capsys.readouterr()
    for branch in ("main", audit_branch(bad, 1)):
        texts += [str(entry) for _, entry in zip(range(50), lake.nessie.log(branch), strict=False)]
    assert all(any(run_id in text for text in texts) for run_id in (good, bad))
    assert not [text for text in texts if canary in text]

    warehouse = Path(lake.settings.warehouse.removeprefix("file://"))
    for run_id, kinds in ((good, {"record", "metadata"}), (bad, {"record", "metadata"})):
        assert {kind(path) for path in holding(warehouse, run_id)} >= kinds  # so a canary would be found, too
    assert list(holding(project.project_dir, canary)) == []


def test_a_secret_in_the_users_own_error_is_taken_out(
    lake: Lakehouse,
    project: Settings,
    fresh: Fresh,
    tmp_path: Path,
    canary: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = fresh.table()
    path = tmp_path / f"leaky_{table.name}.py"
    path.write_text(LEAKY.format(name=table.name))
    run_id = f"20260101t000000-leaky-{table.name[2:]}"
    monkeypatch.setenv("ASGARD_JDBC_PASSWORD", canary)
    assert main(["backfill", "-p", str(path), "--run-id", run_id, "--dir", str(project.project_dir)]) == 1
    said = capsys.readouterr()
    assert "can't log in with ***" in said.err
    assert main(["runs", run_id, "--json", "--dir", str(project.project_dir)]) == 0
    told = capsys.readouterr()
    assert "can't log in with ***" in told.out
    assert not [text for text in (*said, *told) if canary in text]
    assert list(holding(project.project_dir, canary)) == []


@contextmanager
def command_lines_with(text: str) -> Iterator[set[str]]:
    """Every command line of this machine that has a text in it while the block runs."""
    found: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            for process in psutil.process_iter(["cmdline"]):
                line = " ".join(process.info["cmdline"] or [])
                found.update([line] if text in line else [])

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


def test_a_password_in_an_address_is_not_shown(
    project: Settings, canary: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = ["--dir", str(project.project_dir)]
    for variable in ("NESSIE_URI", "ASGARD_PUSHGATEWAY_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(variable, f"http://someone:{canary}@127.0.0.1:9")
    assert main(["settings", "--json", *here]) == 0
    assert main(["tables", *here]) == 1
    said = capsys.readouterr()
    assert "someone:***@127.0.0.1:9" in said.out
    assert "***@127.0.0.1:9" in said.err
    assert canary not in said.out + said.err


def finished(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """What a process said on its two streams."""
    try:
        return process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def holding(folder: Path, text: str) -> Iterator[Path]:
    """The files below a folder that have a text in them, or in their name."""
    for path in folder.rglob("*"):
        if text in str(path) or (path.is_file() and text.encode() in path.read_bytes()):
            yield path


def kind(path: Path) -> str:
    """What a file of the warehouse is."""
    if "_asgard" in path.parts:
        return "record" if "runs" in path.parts else "other"
    return "metadata" if path.name.endswith(".metadata.json") else "other"
