"""The memory of a join on one machine is bounded, and beyond it the disk serves."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from asgard.common.errors import EnvironmentSetupError
from asgard.common.settings import Settings, load_settings
from asgard.features.joins import duck
from asgard.features.joins.duck import TIME, join_sql
from asgard.features.pinned import PinnedTable, PinnedView
from asgard.features.views import Feature, feature_view

ROWS = 1_500_000
FEATURES = [Feature(f"f{number}", "bigint") for number in range(8)]
VIEW = feature_view("points", table="gold.points", keys=("customer",), features=FEATURES)


@pytest.fixture
def bounded(tmp_path: Path) -> Settings:
    """Settings with little memory."""
    return replace(load_settings({"project_dir": str(tmp_path)}), duckdb_memory="200m")


def test_the_bound_is_set(bounded: Settings) -> None:
    with duck.connect(bounded) as connection:
        assert connection.execute("SELECT current_setting('memory_limit')").fetchall() == [("200.0 MiB",)]
        folder = connection.execute("SELECT current_setting('temp_directory')").fetchall()[0][0]
        assert Path(folder).is_dir()
    assert not Path(folder).exists()


def test_a_join_larger_than_it_is_right(bounded: Settings) -> None:
    values = ", ".join(f"range * {number + 1} AS f{number}" for number in range(8))
    rows = f"(SELECT range % 1000 AS customer, make_timestamptz(range) AS event_timestamp, {values} FROM range({ROWS}))"
    with duck.connect(bounded) as connection:
        connection.execute(
            f"CREATE TEMP VIEW labels AS "
            f"SELECT range % 1000 AS __key_customer, range + 500 AS {TIME} FROM range({ROWS})"
        )
        names = [[(each.name, each.name) for each in FEATURES]]
        view = PinnedView(VIEW, cast("PinnedTable", None))
        sql = join_sql(lambda _table, _columns: rows, "labels", (TIME, "__key_customer"), [view], names)
        connection.execute(f"CREATE TEMP TABLE joined AS {sql}")
        spilled = connection.execute("SELECT sum(size) FROM duckdb_temporary_files()").fetchall()[0][0]
        assert spilled > 50_000_000
        # The newest row of a label's customer is the label's own, 500 microseconds before it.
        wrong = " OR ".join(f"f{number} != ({TIME} - 500) * {number + 1}" for number in range(8))
        found = connection.execute(f"SELECT count(*), count(f7), count_if({wrong}) FROM joined").fetchall()
    assert found == [(ROWS, ROWS, 0)]


def test_too_little_memory_is_said(bounded: Settings) -> None:
    def gather() -> None:
        with duck.connect(replace(bounded, duckdb_memory="1m")) as connection:
            connection.execute("SELECT list(range), list(hash(range)) FROM range(1000000)").fetchall()

    with pytest.raises(EnvironmentSetupError, match=r"(?s)DuckDB needs more than its 1m.*hint: Raise duckdb_memory"):
        gather()
