"""Faults 43 and 44: Spark's tasks are killed and run again, with their rows in other partitions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import Fresh
from tests.support.online import OnlineView
from tests.support.processes import environment

from asgard.lakehouse.catalog.lake import Lakehouse

PATIENCE_SECONDS = 240


@pytest.fixture
def online(lake: Lakehouse, fresh: Fresh) -> OnlineView:
    """A registered view that Redis has; then rows changed, came and went."""
    made = OnlineView(lake, fresh.table("gold").name)
    made.append([(customer, 0, float(customer), customer) for customer in range(1, 150)])
    made.register()
    made.sync()
    made.replace([(customer, 0, -float(customer), customer) for customer in range(50, 199)])
    return made


def sync_by_spark(online: OnlineView, root: Path, master: str, killed: Path) -> "subprocess.CompletedProcess[str]":
    """A sync whose first task to write something is killed."""
    command = [sys.executable, "-m", "tests.support.sync_worker", str(online.lake.settings.project_dir), master]
    given = environment(root, ASGARD_FAILPOINT=f"between-batches:kill-once:{killed}")
    given["PYTHONPATH"] = os.pathsep.join([str(root), given.get("PYTHONPATH", "")])
    return subprocess.run(
        [*command, online.view.name],
        cwd=root,
        env=given,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_a_task_that_is_killed_and_run_again_writes_the_same(
    online: OnlineView, repository_root: Path, tmp_path: Path
) -> None:
    done = sync_by_spark(online, repository_root, "local[2,4]", tmp_path / "killed")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "killed").exists()
    online.expect_equal()


def test_a_sync_whose_task_is_not_run_again_is_ended_by_the_next(
    online: OnlineView, repository_root: Path, tmp_path: Path
) -> None:
    before = online.store.synced(online.view.name).watermark
    done = sync_by_spark(online, repository_root, "local[2]", tmp_path / "killed")
    assert done.returncode != 0
    assert "A Python worker ended before it had processed its rows" in done.stderr
    assert online.store.synced(online.view.name).watermark == before
    online.sync()
    online.expect_equal()
