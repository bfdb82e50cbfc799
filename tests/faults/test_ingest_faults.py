"""Faults 1-5, 14, 36 and 54-56 for ingest: processes that are killed or race, files that change under it."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import Fresh
from tests.support.runs import rows_of

from asgard.common.errors import AsgardError, InputDataError
from asgard.common.names import RunId, TableName
from asgard.common.settings import Settings
from asgard.ingest.formats import Format
from asgard.jobs.ingest_job import Params, bronze_table, run
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.run import Status

PATIENCE_SECONDS = 240


@contextmanager
def process(
    project: Settings, root: Path, table: TableName, *arguments: str, failpoint: str = "", **environment: str
) -> "Iterator[subprocess.Popen[str]]":
    """`asgard ingest` in a process of its own."""
    command = [sys.executable, "-m", "asgard.cli", "ingest", str(table), *arguments]
    started = subprocess.Popen(
        [*command, "--dir", str(project.project_dir)],
        cwd=root,
        env={**os.environ, "ASGARD_FAILPOINT": failpoint, **environment},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield started
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
        started.communicate()


def wait_for(path: Path, worker: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        assert worker.poll() is None, worker.communicate()[1]
        assert time.monotonic() < deadline, f"gave up waiting for {path}"
        time.sleep(0.05)


def parquet(path: Path, *numbers: int) -> Path:
    pq.write_table(pa.table({"id": list(numbers)}), path)
    return path


def csv(path: Path, *numbers: int) -> Path:
    path.write_text("id\n" + "".join(f"{number}\n" for number in numbers))
    return path


@pytest.mark.parametrize("make", [parquet, csv])
@pytest.mark.parametrize("moment", ["columns: ", "wrote bronze."])
def test_a_file_that_changes_while_it_is_ingested_does_not_land(
    lake: Lakehouse, fresh: Fresh, tmp_path: Path, make: Callable[..., Path], moment: str
) -> None:
    table, path = fresh.table("bronze"), make(tmp_path / f"x.{make.__name__}", 1, 2)
    params = Params(bronze_table(str(table)), (str(path),))

    def change(line: str) -> None:
        if line.startswith(moment):
            make(path, 1, 3)

    if make is csv and moment == "wrote bronze.":  # what was written is what was hashed: it may land
        assert run(params, lake, change).landed.entries[0].digest == hashlib.sha256(b"id\n1\n2\n").hexdigest()
        assert rows_of(lake, table, "id") == [(1,), (2,)]
        return
    with pytest.raises(InputDataError, match=r"changed while it was being ingested: nothing was published"):
        run(params, lake, change)
    assert lake.nessie.content("main", table) is None
    assert run(params, lake).landed.rows == 2
    assert rows_of(lake, table, "id") == [(1,), (3,)]


@pytest.mark.parametrize("make", [parquet, csv])
def test_a_file_that_vanishes_is_said(lake: Lakehouse, fresh: Fresh, tmp_path: Path, make: Callable[..., Path]) -> None:
    table, path = fresh.table("bronze"), make(tmp_path / "x.file", 1)

    def remove(line: str) -> None:
        if line.startswith("columns: "):
            path.unlink()

    kind = Format.CSV if make is csv else Format.PARQUET
    with pytest.raises(AsgardError, match=r"x\.file") as caught:
        run(Params(bronze_table(str(table)), (str(path),), format=kind), lake, remove)
    assert "\tat " not in str(caught.value)
    assert lake.nessie.content("main", table) is None


def test_of_two_runs_at_once_one_lands_the_file(
    lake: Lakehouse, project: Settings, repository_root: Path, fresh: Fresh, tmp_path: Path
) -> None:
    table, go = fresh.table("bronze"), tmp_path / "go"
    both, own = csv(tmp_path / "both.csv", 1, 2), csv(tmp_path / "own.csv", 3)
    arguments = (str(both), str(own))
    with process(project, repository_root, table, *arguments, failpoint=f"before-publish:wait:{go}") as slow:
        wait_for(tmp_path / "go.reached", slow)
        assert run(Params(bronze_table(str(table)), (str(both),)), lake).run.status is Status.PUBLISHED
        go.touch()
        _, said = slow.communicate(timeout=PATIENCE_SECONDS)
    assert slow.returncode == 0, said
    assert f"{both}: landed before" in said
    assert rows_of(lake, table, "id") == [(1,), (2,), (3,)]
    ledger = TableName("ledger", f"bronze_{table.name}")
    assert rows_of(lake, ledger, "source", "rows") == [(str(both), 2), (str(own), 1)]


@pytest.mark.parametrize("failpoint", ["between-tables", "after-publish"])
def test_a_killed_ingest_has_one_effect(
    lake: Lakehouse, project: Settings, repository_root: Path, fresh: Fresh, tmp_path: Path, failpoint: str
) -> None:
    table, path = fresh.table("bronze"), csv(tmp_path / "x.csv", 1, 2)
    run_id = RunId(f"20260101t000000-ingest-{table.name[2:]}")
    arguments = (str(path), "--run-id", run_id)
    with process(project, repository_root, table, *arguments, failpoint=f"{failpoint}:kill") as worker:
        assert worker.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    published = failpoint == "after-publish"
    assert (lake.nessie.content("main", table) is not None) is published
    again = run(Params(bronze_table(str(table)), (str(path),), run_id=run_id), lake)
    assert again.run.status is (Status.ALREADY_PUBLISHED if published else Status.PUBLISHED)
    assert rows_of(lake, table, "id") == [(1,), (2,)]


def test_secrets_and_markup_stay_out_of_what_is_said(
    lake: Lakehouse, project: Settings, repository_root: Path, fresh: Fresh, tmp_path: Path
) -> None:
    strange = csv(tmp_path / "a\x1b[31m'; DROP TABLE x; --.csv", 1)
    table = fresh.table("bronze")
    secret = {"ASGARD_JDBC_PASSWORD": "canary-db", "AWS_SECRET_ACCESS_KEY": "canary-s3"}
    with process(project, repository_root, table, str(strange), **secret) as worker:
        _, said = worker.communicate(timeout=PATIENCE_SECONDS)
    assert worker.returncode == 0, said
    assert "\x1b" not in said
    assert rows_of(lake, table, "_source_file") == [(str(strange),)]
    stored = [lake.storage.read(entry.path) or b"" for entry in lake.storage.list("")]
    log = list(lake.nessie.log("main"))
    assert not any(b"canary" in content for content in stored)
    assert "canary" not in said + str(log)
