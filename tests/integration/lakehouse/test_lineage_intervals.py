"""Lineage of single intervals, down to files and up to readers, against a list of which file has rows of which day."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.conftest import Fresh
from tests.support.runs import declared, run_work, values

from asgard import Daily, Monthly, Pipeline, TimeRange
from asgard.cli.app import main
from asgard.common.names import TableName
from asgard.ingest.uningest import uningest
from asgard.jobs import backfill_job, ingest_job
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.registrations import Registration, Registrations
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.declaring.periods import parse_period
from asgard.lakehouse.freshness.stretch import Stretch, micros
from asgard.lakehouse.lineage.asked import rows_of_period
from asgard.lakehouse.lineage.backward import InputRead, IntervalNode, backward
from asgard.lakehouse.lineage.forward import Downstream, forward
from asgard.lakehouse.lineage.sources import sources_of
from asgard.lakehouse.lineage.states import States
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.records import RunRecords

FIRST, LAST = date(2024, 1, 1), date(2024, 2, 9)
DAYS = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
NOW = datetime(2024, 3, 10, tzinfo=UTC)


class Shop:
    """Files -> bronze.raw -> silver.clean (daily) -> gold.week (7 days), gold.month, silver.latest (a merge).

    Attributes:
        files: the oracle: the day of each row of each file that landed.
    """

    def __init__(self, lake: Lakehouse, spark: SparkSession, folder: Path) -> None:
        self.lake, self.spark, self.folder = lake, spark, folder
        suffix = Fresh().table().name[2:]
        layers = {"raw": "bronze", "clean": "silver", "week": "gold", "month": "gold", "latest": "silver"}
        self.names = {name: TableName(layer, f"{name}_{suffix}") for name, layer in layers.items()}
        self.files: dict[str, list[date]] = {}
        self.pipeline = self._declare()

    def _declare(self) -> Pipeline:
        names = {key: str(name) for key, name in self.names.items()}
        shop = Pipeline("shop", start=FIRST, end=LAST + timedelta(days=1))
        shop.source(names["raw"], columns="id bigint, at timestamp, amount bigint", interval=Daily("at"))

        @shop.table(names["clean"], inputs={"raw": names["raw"]}, interval=Daily("at"))
        def clean(raw: DataFrame, interval: TimeRange) -> DataFrame:
            return _between(raw, interval.start, interval.end).select("id", "at", "amount")

        @shop.table(names["week"], inputs={"clean": names["clean"]}, interval=Daily("day"))
        def week(clean: DataFrame, interval: TimeRange) -> DataFrame:
            days = clean.sparkSession.sql(
                f"SELECT explode(sequence(timestamp'{interval.start:%Y-%m-%d}', timestamp'{interval.end:%Y-%m-%d}' "
                "- interval 1 day, interval 1 day)) AS day"
            )
            rows = _between(clean, interval.start - timedelta(days=6), interval.end)
            near = (F.col("at") < F.col("day") + F.expr("interval 1 day")) & (
                F.col("at") >= F.col("day") - F.expr("interval 6 days")
            )
            return days.join(rows, near).groupBy("day").agg(F.sum("amount").alias("amount"))

        @shop.table(names["month"], inputs={"clean": names["clean"]}, interval=Monthly("month"))
        def month(clean: DataFrame, interval: TimeRange) -> DataFrame:
            rows = _between(clean, interval.start, interval.end)
            return rows.groupBy(F.date_trunc("month", "at").alias("month")).agg(F.sum("amount").alias("amount"))

        @shop.table(names["latest"], inputs={"clean": names["clean"]}, mode="merge", keys=["id"])
        def latest(clean: DataFrame) -> DataFrame:
            return clean.select("id", "amount")

        return shop

    def ingest(self, **files: list[date]) -> None:
        paths = []
        for name, days in files.items():
            path = self.folder / f"{name}.csv"
            first = 1000 * len(self.files)
            lines = [f"{first + number},{day}T12:00:00Z,{number}" for number, day in enumerate(days)]
            path.write_text("\n".join(["id,at,amount", *lines]) + "\n")
            self.files[str(path)] = days
            paths.append(str(path))
        ingest_job.run(ingest_job.Params(self.pipeline[self.names["raw"]], tuple(paths)), self.lake, _silent)

    def backfill(self, **params: Any) -> None:
        backfill_job.run(backfill_job.Params(now=NOW, **params), self.lake, self.pipeline, _silent)

    def rows_of(self, *days: date) -> dict[str, int]:
        """The oracle: how many rows of some days each file has."""
        counts = {name: sum(day in days for day in content) for name, content in self.files.items()}
        return {name: count for name, count in counts.items() if count}

    def states(self) -> States:
        return States(self.lake, resolve(self.lake, None))

    def _stretch(self, states: States, name: str, period: str) -> Stretch:
        facts = {each: states.now(each) for each in self.names.values()}
        return rows_of_period(self.names[name], facts, parse_period(period))

    def backward(self, name: str, period: str, states: States | None = None) -> IntervalNode:
        states = states or self.states()
        return backward(states, self.names[name], [self._stretch(states, name, period)])

    def forward(self, name: str, period: str) -> Downstream:
        states = self.states()
        return forward(states, self.names[name], [self._stretch(states, name, period)])

    def readers(self, found: Downstream) -> dict[str, tuple[int, tuple[str, ...], int]]:
        by_name = {name: key for key, name in self.names.items()}
        return {by_name[each.table]: (each.level, each.intervals, each.outdated) for each in found.readers}

    def asgard(self, *arguments: str) -> int:
        return main([*arguments, "--dir", str(self.lake.settings.project_dir)])


def _silent(_line: str) -> None:
    pass


def _between(rows: DataFrame, start: datetime, end: datetime) -> DataFrame:
    return rows.where((F.col("at") >= F.lit(start)) & (F.col("at") < F.lit(end)))


def _only(reads: tuple[InputRead, ...]) -> InputRead:
    (read,) = reads
    return read


def _node(read: InputRead) -> IntervalNode:
    assert read.node is not None
    return read.node


def _sources(node: IntervalNode) -> dict[str, int | None]:
    assert node.sources is not None
    assert node.sources.is_exact
    return {each.name: each.rows for each in node.sources.files}


def _folded(days: list[date]) -> tuple[str, ...]:
    """Days that follow each other."""
    return (str(days[0]) if len(days) == 1 else f"{days[0]}..{days[-1]}",)


@pytest.fixture(scope="module")
def shop(lake: Lakehouse, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Two ingests and a backfill; only the last test of this file changes it."""
    shop = Shop(lake, spark, tmp_path_factory.mktemp("shop"))
    daily = {f"d{day:%Y%m%d}": [day, day] for day in DAYS if day.day != 25}
    shop.ingest(**daily, extra=[date(2024, 1, 20)])
    shop.ingest(both=[date(2024, 1, 25), date(2024, 1, 26), date(2024, 1, 25)])
    shop.backfill()
    return shop


def test_each_week_comes_from_the_files_of_its_days(shop: Shop) -> None:
    states = shop.states()
    for day in DAYS:
        node = shop.backward("week", str(day), states)
        window = [each for each in DAYS if day - timedelta(days=6) <= each <= day]
        read = _only(node.inputs)
        clean = _node(read)
        assert (node.count, node.intervals, len(node.computed)) == (1, (str(day),), 1)
        assert (read.snapshot, read.readers) == (None, 1)
        assert (clean.count, clean.intervals, clean.is_exact) == (len(window), _folded(window), True)
        before = [day - timedelta(days=back) for back in range(6, 0, -1) if day - timedelta(days=back) < FIRST]
        assert clean.unrecorded == (_folded(before) if before else ())
        assert _sources(_node(_only(clean.inputs))) == shop.rows_of(*window)


def test_a_month_and_a_range_come_from_all_of_their_days(shop: Shop) -> None:
    january = [day for day in DAYS if day.month == 1]
    node = _node(_only(shop.backward("month", "2024-01").inputs))
    assert (node.count, node.intervals) == (31, ("2024-01-01..2024-01-31",))
    assert _sources(_node(_only(node.inputs))) == shop.rows_of(*january)
    both = shop.backward("month", "2024-01..2024-02")
    assert both.intervals == ("2024-01..2024-02",)
    assert _sources(_node(_only(_node(_only(both.inputs)).inputs))) == shop.rows_of(*DAYS)
    few = shop.backward("clean", "2024-01-24..2024-01-26")
    assert _sources(_node(_only(few.inputs))) == shop.rows_of(*(date(2024, 1, number) for number in (24, 25, 26)))
    assert _sources(shop.backward("raw", "2024-01-20T12")) == shop.rows_of(date(2024, 1, 20))
    assert _sources(shop.backward("raw", "2024-01-20T11")) == {}


def test_forward_names_all_that_read_a_day(shop: Shop) -> None:
    for day in (FIRST, date(2024, 1, 20), date(2024, 1, 31), LAST):
        weeks = [each for each in DAYS if day <= each <= day + timedelta(days=6)]
        assert shop.readers(shop.forward("raw", str(day))) == {
            "clean": (1, (str(day),), 0),
            "week": (2, _folded(weeks), 0),
            "month": (2, (f"{day:%Y-%m}",), 0),
            "latest": (2, (), 0),
        }
    found = shop.forward("clean", "2024-01-30..2024-02-01")
    assert shop.readers(found)["month"] == (1, ("2024-01..2024-02",), 0)
    assert shop.readers(found)["week"] == (1, ("2024-01-30..2024-02-07",), 0)
    assert shop.readers(shop.forward("week", "2024-01-05")) == {}


def test_where_only_the_run_is_known_its_files_are_named_at_most(shop: Shop) -> None:
    table = TableState.load(shop.lake.content(shop.names["raw"], "main").metadata_location, shop.lake.settings)
    day = date(2024, 1, 25)
    start = micros(datetime(day.year, day.month, day.day, tzinfo=UTC))
    stretch = [Stretch("at", start, start + 86_400_000_000, nulls=False)]
    records = RunRecords(shop.lake.storage)
    exact, rough = sources_of(records, table, stretch), sources_of(records, table, stretch, most_rows=0)
    assert {each.name: each.rows for each in exact.files} == shop.rows_of(day)
    assert not rough.is_exact
    assert rough.unnamed is None
    assert {each.name for each in rough.files} == {name for name in shop.files if name.endswith("both.csv")}


def test_what_is_no_interval_is_refused_with_those_there_are(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    for name, period, message, hint in (
        ("week", "2024-01-05T07", "not a whole number of intervals", "2024-01-05"),
        ("month", "2024-01-05", "each is one month of month", "2024-01"),
        ("week", "2024-02-09..2024-02-12", "no rows computed for 2024-02-10..2024-02-12", "2024-01-01..2024-02-09"),
        ("latest", "2024-01-05", "has no intervals", "Leave --interval out"),
        ("week", "soon", "'soon' is not a period", "2024-01-05..2024-01-07"),
    ):
        assert shop.asgard("lineage", str(shop.names[name]), "--interval", period) == 2
        error = capsys.readouterr().err
        assert message in error
        assert hint in error
    assert shop.asgard("lineage", str(shop.names["week"]), "--interval", "2024-01-05", "--key", "id=1") == 2


def test_the_command_folds_and_json_is_complete(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    month, day = str(shop.names["month"]), "2024-01-20"
    assert shop.asgard("lineage", month, "--interval", "2024-01") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{month}  2024-01"
    assert any(f"{shop.names['clean']}  31 intervals 2024-01-01..2024-01-31" in line for line in lines)
    count = len(shop.rows_of(*(each for each in DAYS if each.month == 1)))
    assert lines[-1].strip() == f"{count} files, both.csv .. extra.csv, 64 rows; --files lists them"
    assert shop.asgard("lineage", month, "--interval", "2024-01", "--files") == 0
    assert sum("  file " in line for line in capsys.readouterr().out.splitlines()) == count
    assert shop.asgard("lineage", month, "--files") == 0
    assert sum("  file " in line for line in capsys.readouterr().out.splitlines()) == len(shop.files)
    assert shop.asgard("lineage", month) == 0
    assert f"{len(shop.files)} files, both.csv .. extra.csv; --files lists them" in capsys.readouterr().out
    assert shop.asgard("lineage", month, "--interval", "2024-01", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    raw = answer["inputs"][0]["lineage"]["inputs"][0]["lineage"]
    assert len(raw["sources"]["files"]) == count
    assert shop.asgard("lineage", str(shop.names["raw"]), "--interval", day, "--downstream") == 0
    out = capsys.readouterr().out
    assert f"{shop.names['week']}  7 intervals 2024-01-20..2024-01-26, from {shop.names['clean']}" in out
    assert shop.asgard("lineage", str(shop.names["raw"]), "--interval", day, "--downstream", "--json") == 0
    assert {each["table"] for each in json.loads(capsys.readouterr().out)["readers"]} == {
        str(shop.names[name]) for name in ("clean", "week", "month", "latest")
    }


def test_views_and_predictions_of_what_read_a_day_are_named(
    shop: Shop, spark: SparkSession, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    week, commit = shop.names["week"], shop.lake.nessie.head("main")
    content = shop.lake.content(week, "main")
    name, location, snapshot = f"v_{week.name}", content.metadata_location, content.snapshot_id
    view = Registration("view", name, 1, week, {}, False, "main", commit, location, snapshot, {})
    Registrations(shop.lake.storage).add(view)
    request.addfinalizer(lambda: Registrations(shop.lake.storage).add(replace(view, number=2, removed=True)))
    predictions = TableName("gold", f"{week.name}_predictions")

    def predict(attempt: Attempt) -> None:
        view = {"table": str(week), "snapshot_id": snapshot - 1}
        attempt.details["prediction"] = {"versions": [{"model": "churn@1.2.0", "views": [view]}]}
        attempt.write(declared(predictions), values(spark, "id bigint", [[1]]))

    run_work(shop.lake, predict)
    assert [each.to_json() for each in shop.forward("raw", "2024-01-05").consumers] == [
        {
            "kind": "predictions",
            "name": f"{predictions} by churn@1.2.0",
            "table": str(week),
            "snapshot_id": snapshot - 1,
            "current": False,
        },
        {"kind": "view", "name": name, "table": str(week), "snapshot_id": snapshot, "current": True},
    ]
    assert shop.asgard("lineage", str(week), "--interval", "2024-01-05", "--downstream") == 0
    assert f"  view {name}  reads {week} at snapshot {snapshot}, the current one" in capsys.readouterr().out


def test_what_changed_since_is_said_and_comes_from_what_was_read(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = shop.lake
    day = date(2024, 1, 20)
    window = [day - timedelta(days=back) for back in range(5, -2, -1)]
    before = shop.rows_of(*window)
    shop.ingest(late=[day])
    read = _only(shop.backward("week", "2024-01-21").inputs)
    assert read.snapshot is None
    still, changed = _node(read).inputs
    assert (still.snapshot, still.readers, changed.readers) == (None, 6, 1)
    assert changed.snapshot is not None
    assert _sources(_node(still)) | _sources(_node(changed)) == before
    readers = shop.readers(shop.forward("raw", str(day)))
    assert readers["clean"] == (1, (str(day),), 1)
    assert readers["week"] == (2, ("2024-01-20..2024-01-26",), 0)
    shop.backfill(stale=True)
    clean = _node(_only(shop.backward("week", "2024-01-21").inputs))
    assert len(clean.computed) == 2
    assert _sources(_node(_only(clean.inputs))) == shop.rows_of(*window)

    # Rows are taken out: the data files of their days are written again, by a run that ingested none of the others.
    uningest(lake, shop.pipeline[shop.names["raw"]], "extra.csv", _silent)
    del shop.files[str(shop.folder / "extra.csv")]
    assert _sources(shop.backward("raw", str(day))) == shop.rows_of(day)
    table = TableState.load(lake.content(shop.names["raw"], "main").metadata_location, lake.settings)
    rough = sources_of(RunRecords(lake.storage), table, shop.backward("raw", str(day)).stretches, most_rows=0)
    assert shop.rows_of(day).keys() <= {each.name for each in rough.files}

    lake.spark.sql(f"DELETE FROM lake.silver.`{shop.names['clean'].name}@main` WHERE at < timestamp'2024-01-02'")
    assert shop.backward("clean", "2024-01-01..2024-01-03").doubtful == ("2024-01-01",)
    assert shop.asgard("lineage", str(shop.names["clean"]), "--interval", "2024-01-01..2024-01-03") == 0
    assert "in doubt, changed by others than recorded runs: 2024-01-01" in capsys.readouterr().out
    assert shop.asgard("tables") == 0
    assert f"not made by any run: {shop.names['clean']}, 1 snapshot since run" in capsys.readouterr().err

    lake.spark.sql(
        f"INSERT INTO lake.bronze.`{shop.names['raw'].name}@main` (id, at, amount) VALUES (9, timestamp'2024-01-02', 9)"
    )
    sources = shop.backward("raw", "2024-01-02").sources
    assert sources is not None
    assert (sources.unnamed, len(sources.foreign)) == (1, 1)
    assert {each.name: each.rows for each in sources.files} == shop.rows_of(date(2024, 1, 2))
    read = _only(shop.backward("clean", "2024-01-02").inputs)
    assert read.snapshot is not None
    assert _sources(_node(read)) == shop.rows_of(date(2024, 1, 2))

    lake.spark.sql(f"ALTER TABLE lake.silver.`{shop.names['clean'].name}@main` UNSET TBLPROPERTIES ('asgard.state')")
    older = shop.backward("clean", "2024-01-05..2024-01-06")
    assert (older.has_state, older.computed, older.unknown) == (False, (), ("2024-01-05..2024-01-06",))
    assert shop.asgard("lineage", str(shop.names["clean"]), "--interval", "2024-01-05") == 0
    assert "computed by a version before 0.2, from what is not recorded: 2024-01-05" in capsys.readouterr().out
    found = shop.forward("raw", "2024-01-05")
    assert (found.readers, found.unknown) == ((), (shop.names["clean"],))
