"""A writer whose clock is behind the table's last change: it waits, says so, and loses nothing."""

import time
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.foreign import Foreign, edited
from tests.support.runs import declared, rows_of, values, write_rows

from asgard.common.errors import EnvironmentSetupError
from asgard.common.names import TableName
from asgard.lakehouse.catalog.clock import wait_until_past
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.run import RunRequest, Status, execute


def written_ahead(lake: Lakehouse, name: TableName, seconds: float) -> None:
    """Publish a table's state once more, as a machine would have made it whose clock is `seconds` ahead."""
    foreign = Foreign(lake)
    content = foreign.content("main", name)
    moment = int((time.time() + seconds) * 1000)

    def shift(metadata: dict[str, Any]) -> None:
        metadata["last-updated-ms"] = moment
        metadata["snapshots"][-1]["timestamp-ms"] = moment
        metadata["snapshot-log"][-1]["timestamp-ms"] = moment

    location = edited(content["metadataLocation"], shift)
    foreign.put("main", (name.layer, name.name), {**content, "metadataLocation": location})


@pytest.mark.parametrize("mode", ["append", "merge", "replace"])
def test_a_clock_a_little_behind_is_waited_for(lake: Lakehouse, spark: SparkSession, fresh: Fresh, mode: str) -> None:
    table, said, computed = declared(fresh.table(), mode=mode, keys=["id"]), list[str](), list[int]()
    write_rows(lake, table, values(spark, "id bigint", [[1]]))
    written_ahead(lake, table.name, 62)

    def work(attempt: Attempt) -> None:
        computed.append(attempt.number)
        attempt.write(table, values(spark, "id bigint, more int", [[2, 2]]))

    table = declared(table.name, mode=mode, keys=["id"], owner="somebody else")
    result = execute(lake, RunRequest("test"), work, said.append)
    assert result.status is Status.PUBLISHED
    assert computed == [1]
    assert rows_of(lake, table.name, "id") == ([(2,)] if mode == "replace" else [(1,), (2,)])
    assert any("The clock of this machine is" in line and str(table.name) in line for line in said)


def test_a_clock_far_behind_is_an_error_before_anything_is_computed(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    table = declared(fresh.table(), mode="append")
    write_rows(lake, table, values(spark, "id bigint", [[1]]))
    written_ahead(lake, table.name, 4 * 3600)
    with pytest.raises(
        EnvironmentSetupError, match=r"The clock of this machine is 14,\d+ s behind the last change of silver"
    ):
        write_rows(lake, table, values(spark, "id bigint", [[2]]))
    assert rows_of(lake, table.name) == [(1,)]


def test_a_clock_that_is_set_back_while_rows_are_computed_is_named(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then Iceberg itself refuses; nobody can wait for what has not happened yet."""
    table = declared(fresh.table(), mode="append")
    write_rows(lake, table, values(spark, "id bigint", [[1]]))
    written_ahead(lake, table.name, 90)
    monkeypatch.setattr("asgard.lakehouse.runs.attempt.wait_until_past", lambda *_: None)
    with pytest.raises(EnvironmentSetupError, match="clock of this machine is behind"):
        write_rows(lake, table, values(spark, "id bigint", [[2]]))
    assert rows_of(lake, table.name) == [(1,)]


def test_it_waits_no_longer_than_needed() -> None:
    now, said = [1_000_000], list[str]()

    def sleep(seconds: float) -> None:
        now[0] += round(seconds * 1000)

    for behind, waited in ((-5_000, 0), (60_000, 0), (60_001, 1_001), (90_000, 31_000), (659_000, 600_000)):
        now[0] = 1_000_000
        wait_until_past(1_000_000 + behind, "silver.t", said.append, now=lambda: now[0], sleep=sleep)
        assert now[0] - 1_000_000 == waited
    with pytest.raises(EnvironmentSetupError, match="660 s behind the last change of silver"):
        wait_until_past(1_000_000 + 660_000, "silver.t", said.append, now=lambda: 1_000_000, sleep=sleep)
    assert len(said) == 3
