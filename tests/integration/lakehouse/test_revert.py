"""Undo of one run: rows, what is known of the intervals, ledgers, what becomes stale, and what is refused.

The oracles: rows that PyIceberg reads at a commit, without Asgard or Spark; and a model in Python for the random walk.
"""

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table import StaticTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.conftest import Fresh
from tests.support.customer_views import gold, put, registered, view_of
from tests.support.failpoints import FAILPOINTS, at_failpoints
from tests.support.foreign import Foreign, local
from tests.support.runs import days, declared, run_work, values, write_rows
from tests.support.worker import ROWS, two_tables

from asgard import Daily, Monthly, Pipeline, TimeRange
from asgard.cli.app import main
from asgard.common.errors import ServiceError, UsageError
from asgard.common.names import RunId, TableName, ledger_name
from asgard.jobs import backfill_job, ingest_job
from asgard.jobs.backfill_job import Params
from asgard.jobs.counted import PublishedRuns
from asgard.lakehouse.catalog.files import TableHead
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.history import list_runs
from asgard.lakehouse.runs.revert import revert
from asgard.lakehouse.runs.run import RunAuditFailedError, RunResult, Status
from asgard.model.ledger.holds import _problem_of_run
from asgard.validation.checks import between, row_count, unique

NOW = datetime(2024, 3, 10, tzinfo=UTC)


def day(number: int, month: int = 1) -> datetime:
    return datetime(2024, month, number, 12, tzinfo=UTC)


def quiet(_line: str) -> None:
    pass


def undo(lake: Lakehouse, run: RunResult | str, **options: Any) -> RunResult:
    return revert(lake, RunId(run if isinstance(run, str) else run.run_id), quiet, **options)


def rows_at(lake: Lakehouse, name: TableName, ref: str = "main") -> list[dict[str, Any]] | None:
    """The oracle: a table's rows on a ref, read by PyIceberg; None if it is not there."""
    foreign = Foreign(lake)
    try:
        location = foreign.content(ref, name)["metadataLocation"]
    except (OSError, IndexError):
        return None
    rows = StaticTable.from_metadata(location).scan().to_arrow().to_pylist()
    return sorted(rows, key=lambda row: json.dumps(row, default=str, sort_keys=True))


class Shop:
    """bronze.raw -> silver.clean (daily) -> gold.month, gold.total."""

    def __init__(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        self.lake, self.spark = lake, spark
        suffix = fresh.table().name[2:]
        layers = {"raw": "bronze", "clean": "silver", "month": "gold", "total": "gold"}
        self.names = {name: TableName(layer, f"{name}_{suffix}") for name, layer in layers.items()}
        self.pipeline = self.declare()

    def declare(self, factor: int = 1) -> Pipeline:
        names = {key: str(name) for key, name in self.names.items()}
        shop = Pipeline("shop", start="2024-01-01", end="2024-03-01")
        shop.source(names["raw"], columns="id bigint, at timestamp, amount bigint", interval=Daily("at"))

        @shop.table(
            names["clean"], inputs={"raw": names["raw"]}, interval=Daily("at"), checks=[unique("id").over("table")]
        )
        def clean(raw: DataFrame, interval: TimeRange) -> DataFrame:
            inside = raw.where((F.col("at") >= F.lit(interval.start)) & (F.col("at") < F.lit(interval.end)))
            return inside.selectExpr("id", "at", f"amount * {factor} AS amount")

        @shop.table(names["month"], inputs={"clean": names["clean"]}, interval=Monthly("month"))
        def month(clean: DataFrame, interval: TimeRange) -> DataFrame:
            rows = clean.where((F.col("at") >= F.lit(interval.start)) & (F.col("at") < F.lit(interval.end)))
            return rows.groupBy(F.date_trunc("month", "at").alias("month")).agg(F.sum("amount").alias("amount"))

        @shop.table(names["total"], inputs={"clean": names["clean"]}, checks=[row_count(1, 1)])
        def total(clean: DataFrame) -> DataFrame:
            return clean.agg(F.sum("amount").alias("amount"))

        return shop

    def land(self, *rows: tuple[int, datetime, int]) -> RunResult:
        frame = values(self.spark, "id bigint, at timestamp, amount bigint", rows)
        return write_rows(self.lake, self.pipeline[self.names["raw"]], frame)

    def backfill(self, *names: str, **params: Any) -> RunResult:
        select = tuple(str(self.names[name]) for name in names)
        (result,) = backfill_job.run(Params(select, now=NOW, **params), self.lake, self.pipeline, quiet)
        return result

    def found(self) -> dict[str, list[str]]:
        """What a plan finds of each table: condition and interval."""
        by_name = {name: key for key, name in self.names.items()}
        found: dict[str, list[str]] = {}
        for each in backfill_job.plan(self.lake, self.pipeline, Params(now=NOW)).findings:
            found.setdefault(by_name[each.table], []).append(f"{each.condition} {each.interval}")
        return found

    def rows(self) -> dict[str, Any]:
        return {key: rows_at(self.lake, name) for key, name in self.names.items()}

    def records(self, name: str) -> dict[int, Any]:
        from asgard.lakehouse.freshness.facts import facts_of

        state = facts_of(self.lake, [self.names[name]], "main")[self.names[name]].state
        return dict(state.records) if state else {}


@pytest.fixture(scope="module")
def shops() -> list[Shop]:
    return []


@pytest.fixture
def shop(lake: Lakehouse, spark: SparkSession, fresh: Fresh, shops: list[Shop]) -> Shop:
    """Three orders, all computed: the shop of the test before, if that one has undone all that it did."""
    if not shops or shops[-1].found() or len(shops[-1].rows()["raw"]) > 3:
        made = Shop(lake, spark, fresh)
        made.land((1, day(5), 10), (2, day(20), 20), (3, day(5, 2), 30))
        made.backfill()
        assert made.found() == {}
        shops.append(made)
    return shops[-1]


def test_a_restated_interval_is_as_before_and_downstream_is_stale_exactly_as_computed(
    shop: Shop, lake: Lakehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    before, records = shop.rows(), shop.records("clean")
    landed = shop.land((4, day(20), 5))
    restated = shop.backfill("clean", stale=True)
    assert set(shop.found()) == {"month", "total"}
    between = shop.rows()
    computed = shop.backfill("month", stale=True)  # January; total is still as computed before

    result = undo(lake, restated, pipeline=shop.pipeline, why="a wrong price")
    assert result.tables[str(shop.names["clean"])]["rows_added"] == 1
    assert shop.rows()["clean"] == before["clean"] != between["clean"]
    assert shop.records("clean") == records
    # total was computed before the run: its files are back. January was computed from the run's rows.
    assert shop.found() == {
        "clean": ["stale by data 2024-01-20/2024-01-21"],
        "month": ["stale by data 2024-01-01/2024-02-01"],
        "total": ["stale by input None"],
    }
    undo(lake, computed)
    undo(lake, landed)
    assert shop.found() == {}
    assert shop.rows() == before

    folder = ["--dir", str(lake.settings.project_dir)]
    assert main(["runs", restated.run_id, *folder]) == 0
    assert f"reverted by {result.run_id}" in capsys.readouterr().out
    assert main(["runs", result.run_id, *folder]) == 0
    assert f"reverts run {restated.run_id}: a wrong price" in capsys.readouterr().out
    stands = PublishedRuns(lambda: lake.nessie, print)
    assert (stands("main", restated.run_id), stands("main", result.run_id)) == (False, True)
    withdrawn = f"run {restated.run_id}, which made it, was reverted by run {result.run_id}"
    assert (_problem_of_run(lake, restated.run_id), _problem_of_run(lake, result.run_id)) == (withdrawn, "")
    assert main(["history", str(shop.names["clean"]), "--json", *folder]) == 0
    states = json.loads(capsys.readouterr().out)["states"]
    assert [(each["job"], each["mode"], each["rows_added"], each["rows_removed"], each["rows"]) for each in states] == [
        ("revert", "revert", 1, 2, 3),
        ("backfill", "overwrite_interval", 2, 1, 4),
        ("backfill", "overwrite_interval", 3, 0, 3),
    ]
    assert [each["reverts"] or each["reverted_by"] for each in states] == [restated.run_id, result.run_id, ""]


def test_the_first_backfill_of_new_tables_is_undone_and_can_be_done_again(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    shop = Shop(lake, spark, fresh)
    shop.land((1, day(5), 10), (2, day(20), 20))
    first = shop.backfill(window=TimeRange(day(1).replace(hour=0), day(10).replace(hour=0)))
    assert first.tables.keys() == {str(shop.names[name]) for name in ("clean", "month", "total")}
    missing = shop.found()
    result = undo(lake, first, pipeline=shop.pipeline)
    assert all(write["dropped"] for write in result.tables.values())
    assert {name: rows for name, rows in shop.rows().items() if rows is not None}.keys() == {"raw"}
    assert missing != shop.found()
    assert {each.split()[0] for found in shop.found().values() for each in found} == {"missing"}
    again = shop.backfill()
    assert [row["amount"] for row in shop.rows()["total"]] == [30]
    with pytest.raises(UsageError, match=f"Run {first.run_id} was reverted already, by run {result.run_id}"):
        undo(lake, first)
    with pytest.raises(UsageError, match="The run dropped"):
        undo(lake, result)
    assert undo(lake, again).status is Status.PUBLISHED


def test_an_interval_that_was_missing_is_missing_again_and_others_stay(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    later = Shop(lake, spark, fresh)
    later.land((1, day(5), 10), (2, day(6), 20), (3, day(7), 30))
    for number in (5, 6, 7):
        window = TimeRange(day(number).replace(hour=0), day(number + 1).replace(hour=0))
        run = later.backfill("clean", window=window)
        if number == 6:
            sixth = run
    undo(lake, sixth)
    assert [row["id"] for row in later.rows()["clean"]] == [1, 3]
    intervals = TableHead.load(lake.content(later.names["clean"], "main").metadata_location, lake.settings).properties[
        "asgard.intervals"
    ]
    assert intervals == "2024-01-05/2024-01-06,2024-01-07/2024-01-08"
    assert "missing 2024-01-06/2024-01-07" in later.found()["clean"]
    assert "missing 2024-01-07/2024-01-08" not in later.found()["clean"]


def test_a_merge_is_undone_unless_its_files_were_rewritten(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table(), mode="merge", keys=["id"])

    def merge(*rows: tuple[int, int]) -> RunResult:
        return write_rows(lake, table, values(spark, "id bigint, amount bigint", rows))

    merge((1, 1), (2, 2))
    before = rows_at(lake, table.name)
    second = merge((2, 20), (3, 30))
    third = merge((3, 300))
    with pytest.raises(UsageError, match="can't be reverted alone") as refused:
        undo(lake, second)
    assert f"run {third.run_id}" in " ".join(refused.value.details)
    undo(lake, third)
    assert rows_at(lake, table.name) == [{"id": 1, "amount": 1}, {"id": 2, "amount": 20}, {"id": 3, "amount": 30}]
    reverted = undo(lake, second)
    assert rows_at(lake, table.name) == before
    undo(lake, reverted)  # the undo of an undo: the rows are there again, and so is the run
    assert rows_at(lake, table.name) == [{"id": 1, "amount": 1}, {"id": 2, "amount": 20}, {"id": 3, "amount": 30}]
    assert [run.status for run in list_runs(lake, run_id=second.run_id)] == ["published"]
    undo(lake, second)
    assert rows_at(lake, table.name) == before


def test_an_ingest_is_undone_with_its_ledger_so_that_its_file_lands_again(
    lake: Lakehouse, fresh: Fresh, tmp_path: Path
) -> None:
    name = fresh.table("bronze")
    ledger = ledger_name(name)

    def ingest(file: str, *ids: int) -> RunResult:
        path = tmp_path / file
        path.write_text("id\n" + "".join(f"{each}\n" for each in ids))
        return ingest_job.run(ingest_job.Params(ingest_job.bronze_table(str(name)), (str(path),)), lake).run

    def ids() -> list[int]:
        return sorted(row["id"] for row in rows_at(lake, name) or ())

    first = ingest("a.csv", 1, 2)
    undo(lake, first)
    assert (rows_at(lake, name), rows_at(lake, ledger)) == (None, None)
    first = ingest("a.csv", 1, 2)  # another time, into a new table
    second, third = ingest("b.csv", 3), ingest("c.csv", 4)
    assert undo(lake, second).tables[str(name)]["rows_removed"] == 1
    assert ids() == [1, 2, 4]
    again = ingest("b.csv", 3)
    assert again.status is Status.PUBLISHED
    with pytest.raises(UsageError, match="reverted already"):
        undo(lake, second)

    # Taken out, and landed again: what was taken out can't come back beside it.
    from asgard.ingest.uningest import uningest

    taken = uningest(lake, ingest_job.bronze_table(str(name)), "c.csv", quiet).run
    ingest("c.csv", 4)
    with pytest.raises(UsageError, match="can't be reverted alone") as refused:
        undo(lake, taken)
    assert "landed " in " ".join(refused.value.details)
    with pytest.raises(UsageError, match="can't be reverted alone") as refused:
        undo(lake, third)
    assert f"run {taken.run_id}" in " ".join(refused.value.details)
    assert ids() == [1, 2, 3, 4]


def test_runs_that_can_not_be_undone_say_why(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table(), mode="append", checks=[between("id", 0, 9)])

    def refusal(run_id: str) -> str:
        with pytest.raises(UsageError) as refused:
            undo(lake, run_id)
        return refused.value.message

    with pytest.raises(UsageError, match="There is no run 20240101t000000-none"):
        undo(lake, "20240101t000000-none")
    write_rows(lake, table, values(spark, "id bigint", [[1]]))
    unchanged = run_work(lake, lambda _attempt: None)
    assert refusal(unchanged.run_id) == f"Run {unchanged.run_id} wrote nothing, so there is nothing to revert."
    with pytest.raises(RunAuditFailedError) as failed:
        write_rows(lake, table, values(spark, "id bigint", [[10]]))
    assert "(status: audit failed)" in refusal(failed.value.result.run_id)
    Foreign(lake).append("main", table.name, pa.table({"id": pa.array([9], pa.int64())}))
    folder = ["--dir", str(lake.settings.project_dir)]
    assert main(["accept", str(table.name), "--why", "mine", *folder]) == 0
    accepted = list_runs(lake, limit=1)[0].attempt.run_id
    assert "accepted what others wrote" in refusal(accepted)
    chunk = f"20240102t000000-{table.name.name[2:]}"
    write_rows(lake, table, values(spark, "id bigint", [[4]]), run_id=f"{chunk}-2024010100")
    assert f"was published in 1 runs, the newest first: {chunk}-2024010100" in refusal(chunk)
    Foreign(lake).drop("main", table.name)
    with pytest.raises(UsageError) as dropped:
        undo(lake, f"{chunk}-2024010100")
    assert dropped.value.details == (f"{table.name}: the table was dropped since",)


def test_a_dry_run_names_whom_it_concerns_and_checks_can_refuse(
    shop: Shop, lake: Lakehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ["--dir", str(lake.settings.project_dir)]
    landed = shop.land((4, day(20), 5))
    restated = shop.backfill("clean", stale=True)
    total = shop.backfill("total", stale=True)
    head, before = lake.nessie.head("main"), shop.rows()
    assert main(["revert", restated.run_id, "--dry-run", "--json", *folder]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["tables"] == [
        {
            "table": str(shop.names["clean"]),
            **{"rows_out": 2, "rows_back": 1, "files_out": 1, "files_back": 1},
            "intervals": ["2024-01-20/2024-01-21"],
            **{"dropped": False, "left_empty": False, "columns_that_stay": []},
        }
    ]
    assert shown["effects"]["readers"] == [
        {"run_id": total.run_id, "job": "backfill", "wrote": [str(shop.names["total"])]}
    ]
    assert shown["effects"]["stale"] == [{"table": str(shop.names["total"]), "intervals": [], "runs": [total.run_id]}]
    assert (lake.nessie.head("main"), shop.rows()) == (head, before)

    stricter = Pipeline("shop")
    stricter.source(str(shop.names["clean"]))

    @stricter.table(str(shop.names["total"]), inputs={"raw": str(shop.names["clean"])}, checks=[row_count(5, 9)])
    def few(raw: DataFrame) -> DataFrame:
        return raw

    with pytest.raises(RunAuditFailedError, match="row_count"):
        undo(lake, total, pipeline=stricter)
    with pytest.raises(UsageError, match="declares none of the tables"):
        undo(lake, total, pipeline=Pipeline("other"))
    assert shop.rows() == before
    assert undo(lake, total, pipeline=shop.pipeline).status is Status.PUBLISHED
    undo(lake, restated)
    undo(lake, landed)


def test_what_others_did_is_named_and_nothing_is_lost(shop: Shop, lake: Lakehouse, spark: SparkSession) -> None:
    clean = shop.names["clean"]
    shop.land((4, day(20), 5), (5, day(21), 6))
    restated = shop.backfill("clean", stale=True)
    branch = f"{clean.layer}.`{clean.name}@main`"

    # Rows that a stranger adds stay, and the interval stays in doubt.
    spark.sql(f"INSERT INTO lake.{branch} VALUES (99, timestamp'2024-01-21 10:00:00', 1)")
    reverted = undo(lake, restated)
    assert [row["id"] for row in shop.rows()["clean"] if row["id"] > 3] == [99]
    assert "missing 2024-01-21/2024-01-22" not in shop.found()["clean"]
    assert "in doubt 2024-01-21/2024-01-22" in shop.found()["clean"]
    undo(lake, reverted)
    before = shop.rows()

    # A file that must come back is gone.
    month = shop.backfill("month", stale=True)
    (gone,) = month_files(lake, shop.names["month"], "2024-01", but=month)
    moved = gone.rename(gone.with_suffix(".away"))
    with pytest.raises(ServiceError, match=f"1 of 1 files of {shop.names['month']} that would come back are gone"):
        undo(lake, month)
    moved.rename(gone)
    undo(lake, month)
    assert shop.rows() == before

    # A stranger rewrote a file, then deleted rows by delete files.
    spark.sql(f"DELETE FROM lake.{branch} WHERE id = 4")
    snapshot = lake.content(clean, "main").snapshot_id
    with pytest.raises(UsageError, match="can't be reverted alone") as refused:
        undo(lake, restated)
    assert f"files of the run were changed since by snapshot {snapshot} of no recorded run" in refused.value.details[0]
    spark.sql(f"ALTER TABLE lake.{branch} SET TBLPROPERTIES ('write.delete.mode' = 'merge-on-read')")
    spark.sql(
        f"INSERT INTO lake.{branch} VALUES (98, timestamp'2024-01-22 10:00:00', 1), (97, timestamp'2024-01-22', 1)"
    )
    spark.sql(f"DELETE FROM lake.{branch} WHERE id = 98")
    with pytest.raises(UsageError) as refused:
        undo(lake, restated)
    assert "delete files" in refused.value.details[0]
    assert main(["history", str(clean), "--dir", str(lake.settings.project_dir)]) == 0


def month_files(lake: Lakehouse, name: TableName, month: str, *, but: RunResult) -> list[Path]:
    """The files of a month that were live before a run."""
    table = StaticTable.from_metadata(Foreign(lake).content("main", name)["metadataLocation"])
    made = next(each for each in table.snapshots() if each.snapshot_id == but.tables[str(name)]["snapshot_id"])
    files = table.scan(snapshot_id=made.parent_snapshot_id).plan_files()
    return [local(each.file.file_path) for each in files if f"month_month={month}" in each.file.file_path]


def test_a_table_that_a_view_reads_is_not_dropped(
    lake: Lakehouse, fresh: Fresh, capsys: pytest.CaptureFixture[str]
) -> None:
    table = gold(fresh)
    put(lake, table, [(1, 1, 2.0, 3)])
    made = list_runs(lake, limit=1)[0].attempt.run_id
    view = view_of(table)
    registered(lake, view)
    assert main(["revert", made, "--dir", str(lake.settings.project_dir)]) == 0
    told = capsys.readouterr()
    assert "no row is left: it stays, empty" in told.out
    assert f"registered with these rows: view {view.name}" in told.err
    assert rows_at(lake, table.name) == []


def test_a_revert_that_dies_anywhere_publishes_nothing_and_can_be_run_again(
    lake: Lakehouse, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = fresh.table(), fresh.table()
    work, own_id = two_tables(first, second), RunId(f"20240101t000000-{first.name[2:]}")
    run_work(lake, work)
    before = (rows_at(lake, first), rows_at(lake, second))
    run = run_work(lake, work)

    class Died(BaseException):
        pass

    for moment in FAILPOINTS[: FAILPOINTS.index("after-publish") + 1]:

        def die(name: str, moment: str = moment) -> None:
            if name == moment:
                raise Died

        assert len(rows_at(lake, first) or ()) == len(rows_at(lake, second) or ()) == 2 * ROWS
        with monkeypatch.context() as patched:
            at_failpoints(patched, die)
            with pytest.raises(Died):
                undo(lake, run, own_id=own_id)
    assert (rows_at(lake, first), rows_at(lake, second)) == before
    assert undo(lake, run, own_id=own_id).status is Status.ALREADY_PUBLISHED
    with pytest.raises(UsageError, match="reverted already"):
        undo(lake, run)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 20))])
def test_a_walk_of_writes_and_reverts_is_as_a_model_says(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, seed: int
) -> None:
    """The model: each write puts tokens, one for each row; a run can be undone if those it left are there now."""
    drawn, tokens = random.Random(seed), iter(range(1, 10_000))
    daily = declared(fresh.table(), interval=Daily("at"))
    added = declared(fresh.table(), mode="append")
    live: set[tuple[str, int, int]] = set()  # table, day, token
    changes: dict[str, tuple[set[Any], set[Any]]] = {}  # run -> what it put and took
    undone_by: dict[str, str] = {}

    def write(first: int, last: int) -> None:
        rows = {("daily", number, next(tokens)) for number in range(first, last) if drawn.random() < 0.9}
        extra = {("added", 0, next(tokens)) for _ in range(drawn.randrange(3) if changes else 1)}
        window = days(f"2024-01-{first:02}", f"2024-01-{last:02}")

        def work(attempt: Any) -> None:
            frame = values(spark, "id bigint, at timestamp", [(token, day(number)) for _, number, token in rows])
            attempt.write(daily, frame, window)
            for number in range(first, last):
                attempt.keeper.note(daily.name, days(f"2024-01-{number:02}", f"2024-01-{number + 1:02}"), {})
            if extra:
                attempt.write(added, values(spark, "id bigint", [(token,) for _, _, token in extra]))

        taken = {each for each in live if each[0] == "daily" and first <= each[1] < last}
        note(run_work(lake, work).run_id, rows | extra | computed(first, last), taken | known(first, last))

    def computed(first: int, last: int) -> set[Any]:
        return {("computed", number, next(tokens)) for number in range(first, last)}

    def known(first: int, last: int) -> set[Any]:
        return {each for each in live if each[0] == "computed" and first <= each[1] < last}

    def note(run_id: str, put: set[Any], taken: set[Any]) -> None:
        live.difference_update(taken)
        live.update(put)
        changes[run_id] = (put, taken)

    def stands(run_id: str) -> bool:
        return run_id not in undone_by or not stands(undone_by[run_id])

    def undo_one(run_id: str) -> bool:
        put, taken = changes[run_id]
        if not stands(run_id) or put - live or taken & live:
            with pytest.raises(UsageError):
                undo(lake, run_id)
            return False
        undone_by[run_id] = undo(lake, run_id).run_id
        note(undone_by[run_id], taken, put)
        return True

    write(1, 9)
    first = next(iter(changes))
    write(2, 4)
    done = 0
    for _ in range(7):
        if drawn.random() < 0.4:
            begin = drawn.randrange(1, 7)
            write(begin, begin + drawn.randrange(1, 4))
        else:
            done += undo_one(drawn.choice([each for each in changes if each != first]))
        for table, name in ((daily, "daily"), (added, "added")):
            rows = rows_at(lake, table.name) or []
            assert {row["id"] for row in rows} == {token for kind, _, token in live if kind == name}, seed
    assert done
