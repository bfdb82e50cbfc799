"""What is missing, stale or in doubt after the ordinary events of a lakehouse, and what a backfill does about it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.conftest import Fresh
from tests.support.runs import rows_of, values, write_rows

from asgard import Daily, Monthly, Pipeline, TimeRange
from asgard.cli.app import main
from asgard.common.errors import AsgardError, UsageError
from asgard.common.names import RunId, TableName
from asgard.jobs import backfill_job
from asgard.jobs.backfill_job import Params
from asgard.lakehouse.catalog.files import TableHead
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.freshness.interval_state import STATE_PROPERTY
from asgard.lakehouse.freshness.planning import Plan
from asgard.lakehouse.runs.history import list_runs

NOW = datetime(2024, 3, 10, tzinfo=UTC)


def day(month: int, number: int) -> datetime:
    return datetime(2024, month, number, 12, tzinfo=UTC)


class Shop:
    """bronze.raw (by day) -> silver.clean (daily) -> gold.week (7 days up to each day), gold.month, gold.total."""

    def __init__(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh, folder: Path, **options: Any) -> None:
        self.lake, self.spark, self.lookback = lake, spark, 0
        self.marker = folder / "fail-from"
        suffix = fresh.table().name[2:]
        self.options = {"start": "2024-01-01", "end": "2024-03-01", **options}
        self.names = {
            name: TableName(layer, f"{name}_{suffix}")
            for layer, name in (
                ("bronze", "raw"),
                ("silver", "clean"),
                ("gold", "week"),
                ("gold", "month"),
                ("gold", "total"),
            )
        }
        self.pipeline = self.declare()

    def declare(self, price: str = "amount", **options: Any) -> Pipeline:
        names, marker = {key: str(name) for key, name in self.names.items()}, self.marker
        shop = Pipeline("shop", **{**self.options, **options})
        shop.source(names["raw"], columns="id bigint, at timestamp, amount bigint", interval=Daily("at"))

        @shop.table(names["clean"], inputs={"raw": names["raw"]}, interval=Daily("at", lookback=self.lookback))
        def clean(raw: DataFrame, interval: TimeRange) -> DataFrame:
            if marker.exists() and interval.end > datetime.fromisoformat(marker.read_text()):
                raise ValueError("not today")
            return raw.where((F.col("at") >= F.lit(interval.start)) & (F.col("at") < F.lit(interval.end))).selectExpr(
                "id", "at", f"{price} AS amount"
            )

        @shop.table(names["week"], inputs={"clean": names["clean"]}, interval=Daily("day"))
        def week(clean: DataFrame, interval: TimeRange) -> DataFrame:
            from datetime import timedelta

            days = clean.sparkSession.sql(
                f"SELECT explode(sequence(timestamp'{interval.start:%Y-%m-%d}', timestamp'{interval.end:%Y-%m-%d}' "
                "- interval 1 day, interval 1 day)) AS day"
            )
            since = interval.start - timedelta(days=6)
            rows = clean.where((F.col("at") >= F.lit(since)) & (F.col("at") < F.lit(interval.end)))
            near = (F.col("at") < F.col("day") + F.expr("interval 1 day")) & (
                F.col("at") >= F.col("day") - F.expr("interval 6 days")
            )
            return days.join(rows, near).groupBy("day").agg(F.sum("amount").alias("amount"))

        @shop.table(names["month"], inputs={"clean": names["clean"]}, interval=Monthly("month"))
        def month(clean: DataFrame, interval: TimeRange) -> DataFrame:
            rows = clean.where((F.col("at") >= F.lit(interval.start)) & (F.col("at") < F.lit(interval.end)))
            return rows.groupBy(F.date_trunc("month", "at").alias("month")).agg(F.sum("amount").alias("amount"))

        @shop.table(names["total"], inputs={"clean": names["clean"]})
        def total(clean: DataFrame) -> DataFrame:
            return clean.agg(F.sum("amount").alias("amount"))

        return shop

    def ingest(self, *rows: tuple[int, datetime, int]) -> None:
        frame = values(self.spark, "id bigint, at timestamp, amount bigint", [list(row) for row in rows])
        write_rows(self.lake, self.pipeline[self.names["raw"]], frame)

    def backfill(self, **params: Any) -> list[str]:
        lines: list[str] = []
        backfill_job.run(Params(now=NOW, **params), self.lake, self.pipeline, lines.append)
        return lines

    def plan(self, **params: Any) -> Plan:
        return backfill_job.plan(self.lake, self.pipeline, Params(now=NOW, **params))

    def found(self, **params: Any) -> dict[str, list[str]]:
        """Of each table, its findings in order: condition and interval."""
        by_name = {name: key for key, name in self.names.items()}
        found: dict[str, list[str]] = {}
        for each in self.plan(**params).findings:
            found.setdefault(by_name[each.table], []).append(f"{each.condition} {each.interval}")
        return found

    def rows(self, name: str) -> list[Any]:
        return rows_of(self.lake, self.names[name])


@pytest.fixture
def shop(lake: Lakehouse, spark: SparkSession, fresh: Fresh, tmp_path: Path) -> Shop:
    made = Shop(lake, spark, fresh, tmp_path)
    made.ingest((1, day(1, 5), 10), (2, day(1, 20), 20), (3, day(2, 5), 30))
    made.backfill()
    assert made.plan() == Plan(())
    return made


def test_a_late_row_makes_stale_exactly_what_read_its_day(shop: Shop) -> None:
    shop.ingest((4, day(1, 20), 5))
    week = [f"stale by input 2024-01-{number}/2024-01-{number + 1}" for number in range(20, 27)]
    assert shop.found() == {
        "clean": ["stale by data 2024-01-20/2024-01-21"],
        "week": week,
        "month": ["stale by input 2024-01-01/2024-02-01"],
        "total": ["stale by input None"],
    }
    landed = list_runs(shop.lake, limit=1)[0].attempt.run_id
    lines = shop.backfill()
    cause = f"({shop.names['raw']}: run {landed})"
    assert f"{shop.names['clean']}: 2024-01-20 to 2024-01-21 stale by data {cause}; --stale computes it again" in lines
    assert shop.rows("total") == [(60,)]
    shop.backfill(stale=True)
    assert shop.plan() == Plan(())
    assert shop.rows("total") == [(65,)]
    assert sorted(shop.rows("month"))[0][1] == 35


def written(shop: Shop, **params: Any) -> dict[str, str]:
    """The intervals that a backfill wrote of each table; "" of one without intervals."""
    by_name = {str(name): key for key, name in shop.names.items()}
    results = backfill_job.run(Params(now=NOW, **params), shop.lake, shop.pipeline, lambda _line: None)
    return {by_name[name]: write["intervals"] for result in results for name, write in result.tables.items()}


def test_a_day_that_comes_out_equal_stops_there(shop: Shop) -> None:
    before = {name: shop.lake.content(shop.names[name], "main").snapshot_id for name in ("week", "month", "total")}
    (result,) = backfill_job.run(
        Params(now=NOW, select=(str(shop.names["clean"]),), window=TimeRange.parse("2024-01-19", "2024-01-22")),
        shop.lake,
        shop.pipeline,
        lambda _line: None,
    )
    wrote = result.tables[str(shop.names["clean"])]
    assert (wrote["intervals"], wrote["rows_added"], wrote["rows_removed"]) == ("2024-01-19/2024-01-22", 0, 0)
    assert shop.plan() == Plan(())
    assert shop.backfill(stale=True) == ["nothing is missing"]
    assert before == {name: shop.lake.content(shop.names[name], "main").snapshot_id for name in before}
    assert shop.rows("clean") == shop.rows("raw")


def test_of_a_stretch_only_the_day_that_changed_is_followed(shop: Shop) -> None:
    shop.ingest((4, day(1, 20), 5))
    days = TimeRange.parse("2024-01-01", "2024-02-01")
    clean, readers = str(shop.names["clean"]), sorted(str(shop.names[name]) for name in ("week", "month", "total"))
    note = f"not selected, and stale afterwards where what they read changes: {', '.join(readers)}"
    assert shop.plan(select=(clean,), window=days).notes == (note,)
    assert written(shop, select=(clean,), window=days) == {"clean": "2024-01-01/2024-02-01"}
    assert shop.found()["week"] == [f"stale by data 2024-01-{each}/2024-01-{each + 1}" for each in range(20, 27)]
    assert written(shop, stale=True) == {
        "week": "2024-01-20/2024-01-27",
        "month": "2024-01-01/2024-02-01",
        "total": "",
    }
    assert shop.plan() == Plan(())


def test_a_month_that_the_end_cut_is_computed_once_the_end_is_later(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, tmp_path: Path
) -> None:
    shop = Shop(lake, spark, fresh, tmp_path, end="2024-02-15")
    shop.ingest((1, day(1, 5), 10), (2, day(2, 5), 20), (3, day(2, 20), 30))
    shop.backfill()
    assert shop.plan() == Plan(())
    assert [row[1] for row in shop.rows("month")] == [10, 20]
    shop.options["end"] = "2024-03-01"
    shop.pipeline = shop.declare()
    assert shop.found()["month"] == ["partial 2024-02-01/2024-03-01"]
    shop.backfill()
    assert [row[1] for row in shop.rows("month")] == [10, 50]
    assert shop.plan() == Plan(())


def test_a_range_is_widened_to_whole_months_and_names_what_it_leaves(shop: Shop) -> None:
    shop.ingest((4, day(1, 20), 5))
    window = TimeRange.parse("2024-01-20", "2024-01-22")
    lines = shop.backfill(select=(f"{shop.names['clean']}+",), window=window)
    month, week = shop.names["month"], shop.names["week"]
    assert f"{month} is computed for 2024-01-01/2024-02-01: whole intervals of one month" in lines
    assert f"{week} may become stale for 2024-01-22/2024-01-28: it reads what this range computes" in lines
    assert [row[1] for row in shop.rows("month")] == [35, 30]
    assert shop.found() == {"week": [f"stale by data 2024-01-{each}/2024-01-{each + 1}" for each in range(22, 27)]}


def test_what_a_lookback_restates_reaches_every_table(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, tmp_path: Path
) -> None:
    shop = Shop(lake, spark, fresh, tmp_path, end="2024-02-01")
    shop.lookback = 2
    shop.pipeline = shop.declare()
    shop.ingest((1, day(1, 5), 10), (2, day(1, 30), 20))
    shop.backfill()
    shop.ingest((3, day(1, 31), 100), (4, day(2, 1), 1000))
    shop.options["end"] = "2024-02-02"
    shop.pipeline = shop.declare()
    assert written(shop)["clean"] == "2024-01-30/2024-02-02"
    assert [row[1] for row in shop.rows("month")] == [130, 1000]
    assert shop.rows("total") == [(1130,)]
    assert shop.plan() == Plan(())


def test_changed_code_is_named_and_computed_if_asked(shop: Shop) -> None:
    shop.pipeline = shop.declare("amount * 2")
    found = shop.found()
    assert set(found) == set(shop.names) - {"raw"}
    assert found["clean"][0] == "stale by code 2024-01-01/2024-01-02"
    assert found["month"] == ["stale by input 2024-01-01/2024-02-01", "stale by input 2024-02-01/2024-03-01"]
    lines = shop.backfill()
    assert "nothing is missing" not in lines
    assert f"{shop.names['clean']}: 2024-01-01 to 2024-03-01 stale by code; --changed computes it again" in lines
    assert shop.rows("total") == [(60,)]
    assert written(shop, changed=True)["month"] == "2024-01-01/2024-03-01"
    assert shop.rows("total") == [(120,)]
    assert shop.plan() == Plan(())
    shop.options["owner"] = "somebody else"
    shop.pipeline = shop.declare("amount * 2")
    assert {each.partition(" 2024")[0] for found in shop.found().values() for each in found} == {
        "documentation changed",
        "documentation changed None",
    }
    assert shop.plan(stale=True).runs == ()


def test_a_foreign_delete_puts_its_interval_in_doubt(shop: Shop) -> None:
    shop.lake.spark.sql(f"DELETE FROM lake.silver.`{shop.names['clean'].name}@main` WHERE id = 2")
    deleted = shop.lake.content(shop.names["clean"], "main").snapshot_id
    found = shop.found()
    assert found["clean"] == ["in doubt 2024-01-20/2024-01-21"]
    assert found["month"] == ["stale by data 2024-01-01/2024-02-01"]
    head = shop.lake.nessie.head("main")
    lines = shop.backfill(select=(str(shop.names["month"]),))
    assert shop.lake.nessie.head("main") == head
    clean, month = shop.names["clean"], shop.names["month"]
    why = f"({clean}: snapshot {deleted} of no recorded run)"
    assert f"{month}: 2024-01-01 to 2024-02-01 stale by data {why}; --stale computes it again" in lines
    doubt = f"{clean}: 2024-01-20 to 2024-01-21 in doubt (snapshot {deleted}); --stale computes it again"
    assert doubt in shop.backfill(select=(str(clean),))
    shop.backfill(stale=True)
    assert shop.rows("clean") == shop.rows("raw")
    assert shop.rows("total") == [(60,)]
    assert shop.plan() == Plan(())


def test_a_doubt_stays_until_its_interval_is_computed(shop: Shop) -> None:
    shop.lake.spark.sql(f"DELETE FROM lake.silver.`{shop.names['clean'].name}@main` WHERE id = 2")
    window = TimeRange.parse("2024-02-05", "2024-02-06")
    shop.backfill(select=(str(shop.names["clean"]),), window=window)
    assert shop.found()["clean"] == ["in doubt 2024-01-20/2024-01-21"]


def test_what_others_did_can_be_accepted(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    clean, folder = str(shop.names["clean"]), ["--dir", str(shop.lake.settings.project_dir)]
    assert main(["accept", clean, "--why", "x", *folder]) == 2
    assert f"nothing to accept of {clean}" in capsys.readouterr().err
    before = TableHead.load(shop.lake.content(shop.names["clean"], "main").metadata_location, shop.lake.settings)
    shop.lake.spark.sql(f"DELETE FROM lake.silver.`{shop.names['clean'].name}@main` WHERE id = 2")
    assert main(["accept", clean, "--why", "a customer asked for it", *folder]) == 0
    found = shop.found()
    assert "clean" not in found
    assert found["month"] == ["stale by data 2024-01-01/2024-02-01"]
    shop.backfill(stale=True)
    assert shop.rows("total") == [(40,)]
    assert shop.plan() == Plan(())
    record = next(run.attempt.record for run in list_runs(shop.lake, limit=9) if run.attempt.start["job"] == "accept")
    assert record["details"]["accepted"]["why"] == "a customer asked for it"
    after = TableHead.load(shop.lake.content(shop.names["clean"], "main").metadata_location, shop.lake.settings)
    own = {"asgard.state", "nessie.commit.id"}
    assert after.properties.keys() == before.properties.keys()
    assert {name for name, text in after.properties.items() if before.properties[name] != text} == own


def test_a_lost_state_counts_as_unknown_and_can_be_computed_again(shop: Shop) -> None:
    head = TableHead.load(shop.lake.content(shop.names["clean"], "main").metadata_location, shop.lake.settings)
    path = f"intervals/{head.properties[STATE_PROPERTY].rpartition(':')[2]}.json.gz"
    shop.lake.storage.delete(path)
    plan = shop.plan()
    assert {each.condition for each in plan.findings if each.table == shop.names["clean"]} == {"unknown"}
    (note,) = plan.notes
    assert note.startswith(f"{path} below _asgard/ in the warehouse is missing")
    assert written(shop, changed=True) == {"clean": "2024-01-01/2024-03-01"}
    assert shop.plan() == Plan(())
    assert shop.rows("clean") == shop.rows("raw")


class TestRunIds:
    def test_other_work_under_a_published_run_id_is_refused(self, shop: Shop) -> None:
        run_id = RunId(f"20240301t000000-{shop.names['clean'].name[6:]}")
        shop.options["end"] = "2024-03-11"
        shop.pipeline = shop.declare()
        select = (str(shop.names["clean"]),)
        shop.marker.write_text("2024-03-06T00:00:00Z")
        with pytest.raises(AsgardError, match="not today"):
            shop.backfill(select=select, run_id=run_id, intervals_per_run=5)
        assert shop.found()["clean"][0] == "missing 2024-03-06/2024-03-07"
        with pytest.raises(UsageError, match="intervals_per_run was 5, and is 10 now"):
            shop.backfill(select=select, run_id=run_id, intervals_per_run=10)
        shop.marker.unlink()
        shop.backfill(select=select, run_id=run_id, intervals_per_run=5)
        assert "clean" not in shop.found()
        assert shop.backfill(select=select, run_id=run_id, intervals_per_run=5) == [
            f"run {run_id} was published already"
        ]

    def test_a_restart_computes_what_was_asked_first(self, shop: Shop) -> None:
        run_id = RunId(f"20240301t000000-{shop.names['clean'].name[6:]}")
        shop.options["end"] = "2024-12-31"
        shop.pipeline = shop.declare()
        select = (str(shop.names["clean"]),)
        shop.marker.write_text("2024-03-01T00:00:00Z")
        with pytest.raises(AsgardError, match="not today"):
            shop.backfill(select=select, run_id=run_id)
        shop.marker.unlink()
        later = Params(now=datetime(2024, 3, 20, tzinfo=UTC), select=select, run_id=run_id)
        (result,) = backfill_job.run(later, shop.lake, shop.pipeline, lambda _line: None)
        assert result.tables[str(shop.names["clean"])]["intervals"] == "2024-03-01/2024-03-10"
