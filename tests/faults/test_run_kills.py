"""Faults 1-7: a run is killed at every step; a re-run with its id ends as if nothing had happened."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import Fresh
from tests.support.processes import environment
from tests.support.runs import rows_of
from tests.support.waiting import PATIENCE_SECONDS, wait_until
from tests.support.worker import ROWS, start_worker, two_tables

from asgard.cli.app import main
from asgard.common.names import TableName, check_run_id
from asgard.common.settings import Settings
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.history import list_runs
from asgard.lakehouse.runs.run import RunRequest, Status, execute


@pytest.mark.parametrize(
    ("fault", "failpoint", "published"),
    [
        (1, "after-branch", False),
        (3, "between-tables", False),
        (4, "after-write", False),
        (5, "after-audit", False),
        (5, "before-publish", False),
        (6, "after-publish", True),
        (7, "before-cleanup", True),
    ],
)
def test_a_killed_run_has_one_effect(
    lake: Lakehouse,
    project: Settings,
    repository_root: Path,
    fresh: Fresh,
    fault: int,
    failpoint: str,
    published: bool,
) -> None:
    tables = (fresh.table(), fresh.table())
    run_id = f"20260101t000000-kill-{tables[0].name[2:]}"
    head = lake.nessie.head("main")

    worker = start_worker(project, repository_root, run_id, tables, failpoint=f"{failpoint}:kill")
    assert worker.wait(PATIENCE_SECONDS) == -signal.SIGKILL

    assert (lake.nessie.head("main") != head) is published
    expect_one_effect(lake, run_id, tables, already=published)


def test_a_run_killed_in_the_middle_of_a_write_has_one_effect(
    lake: Lakehouse, project: Settings, repository_root: Path, fresh: Fresh, tmp_path: Path
) -> None:
    tables = (fresh.table(), fresh.table())
    run_id = f"20260101t000000-kill-{tables[0].name[2:]}"
    head = lake.nessie.head("main")
    block = tmp_path / "half-way"
    worker = start_worker(project, repository_root, run_id, tables, block=str(block))
    wait_until(block.exists, "the write is half-way")
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(PATIENCE_SECONDS)

    assert lake.nessie.head("main") == head
    expect_one_effect(lake, run_id, tables, already=False)


def test_a_killed_revert_publishes_nothing_and_can_be_run_again(
    lake: Lakehouse, project: Settings, repository_root: Path, fresh: Fresh
) -> None:
    tables = (fresh.table(), fresh.table())
    execute(lake, RunRequest("test"), two_tables(*tables))
    run = execute(lake, RunRequest("test"), two_tables(*tables))
    head = lake.nessie.head("main")
    command = [sys.executable, "-m", "asgard.cli", "revert", run.run_id, "--dir", str(project.project_dir)]
    killed = subprocess.run(
        command,
        cwd=repository_root,
        env=environment(repository_root, ASGARD_FAILPOINT="before-publish:kill"),
        check=False,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )
    assert killed.returncode == -signal.SIGKILL
    assert lake.nessie.head("main") == head
    assert list_runs(lake, run_id=run.run_id)[0].status == "published"
    assert main(command[3:]) == 0
    assert list_runs(lake, run_id=run.run_id)[0].status == "reverted"
    for table in tables:
        assert rows_of(lake, table) == sorted(((number,) for number in range(ROWS)), key=repr)


def expect_one_effect(lake: Lakehouse, run_id: str, tables: tuple[TableName, TableName], *, already: bool) -> None:
    result = execute(lake, RunRequest("test", check_run_id(run_id)), two_tables(*tables))
    assert result.status is (Status.ALREADY_PUBLISHED if already else Status.PUBLISHED)
    for table in tables:
        assert rows_of(lake, table) == sorted(((number,) for number in range(ROWS)), key=repr)
    commits = [entry for entry in lake.nessie.log("main") if entry.properties.get("asgard.run-id") == run_id]
    assert len(commits) == 1
    published = [run for run in list_runs(lake, run_id=check_run_id(run_id)) if run.status == "published"]
    assert len(published) == 1
