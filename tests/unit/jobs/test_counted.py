"""Every execution of a job is counted once, also one that is refused before its own work begins."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from asgard.cli.app import main
from asgard.common.errors import UsageError
from asgard.common.settings import load_settings
from asgard.jobs.counted import counted
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.monitoring.events import EventLog, JobEvent, Outcome

NOWHERE = "http://127.0.0.1:1"
"""A port at which nobody listens."""


@pytest.fixture
def lake(tmp_path: Path) -> Lakehouse:
    """A lakehouse of which only the warehouse's folder is there."""
    return Lakehouse(load_settings({"project_dir": str(tmp_path), "nessie_uri": NOWHERE}), "asgard test")


def events(lake: Lakehouse) -> list[JobEvent]:
    return EventLog(lake.storage).events(datetime.now(UTC))


@pytest.mark.parametrize(
    ("job", "arguments"),
    [
        ("backfill", ["-p", "gone.py"]),
        ("ingest", ["bronze.customers", "customers.csv", "-p", "gone.py"]),
        ("train", ["-p", "gone.py", "-m", "churn"]),
        ("batch-predict", ["-m", "churn"]),
        ("online-sync", []),
        ("online-sync", ["--drop", "customers"]),
    ],
)
def test_what_is_refused_at_the_door_is_a_failed_execution(
    lake: Lakehouse, tmp_path: Path, job: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main([job, *arguments, "--dir", str(tmp_path), "--set", f"nessie_uri={NOWHERE}"])
    assert code != 0
    assert [(each.job, each.outcome) for each in events(lake)] == [(job, Outcome.FAILED)]


def test_a_block_in_a_block_of_the_same_job_is_a_part_of_it(lake: Lakehouse) -> None:
    said: list[str] = []
    with counted(lake, "train", said.append), counted(lake, "train", said.append), counted(lake, "ingest", said.append):
        pass
    with pytest.raises(UsageError), counted(lake, "train", said.append), counted(lake, "train", said.append):
        raise UsageError("no")
    found = sorted((each.job, str(each.outcome)) for each in events(lake))
    assert found == [("ingest", "succeeded"), ("train", "failed"), ("train", "succeeded")]
    assert not said
