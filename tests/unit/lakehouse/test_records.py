"""The order of stored attempts."""

import os
from itertools import count
from pathlib import Path

from asgard.common.names import RunId
from asgard.common.settings import load_settings
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.records import RunRecords


def test_runs_of_one_second_are_listed_by_the_order_of_their_starts(tmp_path: Path) -> None:
    settings = load_settings({"project_dir": str(tmp_path), "nessie_uri": "http://127.0.0.1:1"}, environment={})
    records, ticks = RunRecords(Lakehouse(settings).storage), count(1)

    def start(run_id: str, attempt: int) -> None:
        assert records.reserve(RunId(run_id), {}) == attempt
        (path,) = tmp_path.rglob(f"{run_id}/{attempt}.start.json")
        os.utime(path, (tick := next(ticks), tick))  # file systems tell times a few milliseconds apart

    in_order = [f"20260101t000000-{name}" for name in ("ff", "00", "a0", "0f")]
    for run_id in ["20260101t000001-00", *in_order]:
        start(run_id, 1)
    records.write_outcome(RunId(in_order[0]), 1, {"status": "failed"})
    start(in_order[1], 2)
    found = [(each.run_id, each.attempt) for each in records.attempts()]
    assert found == [
        ("20260101t000001-00", 1),
        (in_order[3], 1),
        (in_order[2], 1),
        (in_order[1], 2),
        (in_order[1], 1),
        (in_order[0], 1),
    ]
    assert [each.run_id for each in records.attempts(limit=2)] == ["20260101t000001-00", in_order[3]]
