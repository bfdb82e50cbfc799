"""A user's own functions and declarations in real runs: whose line failed, what the rows lack, whose table it is."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.conftest import Fresh
from tests.support.runs import declared, rows_of, run_work, values, write_rows

from asgard import Daily, Pipeline
from asgard.common.errors import AsgardError, DeclarationError, RunError, UsageError
from asgard.common.names import TableName
from asgard.common.spark_utils import explained
from asgard.jobs import backfill_job, ingest_job
from asgard.jobs.backfill_job import Params
from asgard.jobs.reporting import show_runs
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.freshness.facts import read_facts
from asgard.lakehouse.freshness.planning import Step
from asgard.lakehouse.runs.run import RunAuditFailedError, RunResult
from asgard.lakehouse.runs.steps import compute_step
from asgard.lakehouse.runs.takeover import foreign_owner
from asgard.validation.checks import between, expression, length, not_null

HERE = Path(__file__)


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(HERE.read_text().splitlines(), 1) if text in line)


def price(name):  # type: ignore[no-untyped-def] # hints would make it another kind of UDF
    return {"tea": 1}[name]  # the price is not there


def in_batches(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    for batch in batches:
        yield batch[["nowhere"]]  # a batch lacks it


def of_arrow(batches: Iterator[Any]) -> Iterator[Any]:
    for batch in batches:
        raise RuntimeError(f"{batch.num_rows} rows\nare too many")  # no batch pleases it


def of_group(group: pd.DataFrame) -> pd.DataFrame:
    return group.assign(x=1 / group["id"].sum().item().__sub__(3))  # sums to three


FAILING: dict[str, tuple[Callable[[DataFrame], DataFrame], str, str, str]] = {
    "udf": (lambda f: f.select(F.udf(price, "int")(F.lit("coffee"))), "KeyError: 'coffee'", "not there", "price"),
    "udf by Arrow": (
        lambda f: f.select(F.udf(price, "int", useArrow=True)(F.lit("coffee"))),
        "KeyError: 'coffee'",
        "not there",
        "price",
    ),
    "pandas udf": (
        lambda f: f.select(F.pandas_udf(lambda s: s.map(price), "int")(F.lit("milk"))),  # type: ignore[call-overload]
        "KeyError: 'milk'",
        "not there",
        "price",
    ),
    "mapInPandas": (lambda f: f.mapInPandas(in_batches, "id long"), "KeyError: ", "a batch lacks it", "in_batches"),
    "mapInArrow": (lambda f: f.mapInArrow(of_arrow, "id long"), "RuntimeError: ", "no batch pleases it", "of_arrow"),
    "applyInPandas": (
        lambda f: f.groupBy((F.col("id") * 0).alias("zero")).applyInPandas(of_group, "id long"),
        "ZeroDivisionError: ",
        "sums to three",
        "of_group",
    ),
    "rdd": (
        lambda f: f.rdd.map(lambda row: (price("rum"),)).toDF("id long"),
        "KeyError: 'rum'",
        "not there",
        "price",
    ),
    "plain Python": (lambda f: f.limit(price("gin")), "KeyError: 'gin'", "the price is not there", "price"),
    "missing column": (
        lambda f: f.select("nowhere_at_all"),  # an analysis error
        "UNRESOLVED_COLUMN",
        "# an analysis error",
        "",
    ),
}


@pytest.mark.parametrize("case", FAILING)
def test_the_line_that_failed_is_named(spark: SparkSession, tmp_path: Path, case: str) -> None:
    fail, said, marker, function = FAILING[case]
    with pytest.raises(RunError) as caught, explained("Writing silver.a"):
        fail(spark.range(1, 3)).write.parquet(str(tmp_path / "out"))
    message = caught.value.message
    assert message.startswith("Writing silver.a failed: ")
    assert said in message
    assert f"{HERE.name}, line {line_of(marker)}" in message
    assert function in message
    assert "Traceback" not in message
    assert "\n" not in message


def test_a_run_names_table_line_and_error(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    raw, name = fresh.table("bronze"), fresh.table()
    write_rows(lake, declared(raw, mode="append"), values(spark, "id bigint", [[1]]))
    shop = Pipeline("shop")
    shop.source(str(raw))

    @shop.table(str(name), inputs={"raw": str(raw)})
    def broken(raw: DataFrame) -> DataFrame:
        return raw.select(F.udf(price, "int")("id"))

    with pytest.raises(RunError, match=rf"^Writing {name} failed: KeyError: 1 \(.*line \d+, in price\)"):
        backfill_job.run(Params(), lake, shop, lambda _line: None)

    shop = Pipeline("shop")
    shop.source(str(raw))

    @shop.table(str(name), inputs={"raw": str(raw)})
    def misnamed(raw: DataFrame) -> DataFrame:
        return raw.select("idd")  # misspelt

    with pytest.raises(RunError, match=rf"^The function of {name} .*`idd` cannot be resolved.*{HERE.name}, line"):
        backfill_job.run(Params(), lake, shop, lambda _line: None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda raw: raw.toPandas(), "returned pandas.DataFrame, not a Spark DataFrame"),
        (lambda raw: None, r"returned None \(is there a return\?\)"),
        (lambda raw: [raw], "returned list"),
        (lambda raw: raw.id, "returned pyspark.Column"),
    ],
)
def test_what_is_no_spark_dataframe_is_named(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, given: Any, said: str
) -> None:
    raw, name = fresh.table("bronze"), fresh.table()
    write_rows(lake, declared(raw, mode="append"), values(spark, "id bigint", [[1]]))
    shop = Pipeline("shop")
    shop.source(str(raw))
    shop.table(str(name), inputs={"raw": str(raw)})(given)
    with pytest.raises(RunError, match=said):
        run_work(lake, lambda attempt: compute_step(attempt, Step(shop[name], (), "asked for")))


def test_a_mistake_in_a_sql_file_has_its_line(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, tmp_path: Path
) -> None:
    raw = fresh.table("bronze")
    write_rows(lake, declared(raw, mode="append"), values(spark, "id bigint", [[1]]))
    for body, line in (("SELECT id,\n  nowhere\nFROM raw", 5), ("\nSELECT id\nFROM raw WHERE WHERE", 6)):
        shop = Pipeline("shop")
        shop.source(str(raw))
        path = tmp_path / f"{fresh.table().name}.sql"
        path.write_text(f"-- table: silver.{path.stem}\n-- input raw: {raw}\n-- owner: me\n{body}\n")
        shop.sql(path)
        with pytest.raises(RunError, match=rf"^The query of .*{path.stem}\.sql, line {line} failed: "):
            backfill_job.run(Params(), lake, shop, lambda _line: None)


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "a check's column": (
        {"checks": [not_null("nme")]},
        r"check not_null\(nme\) does not fit its rows: There is no column",
    ),
    "a warning's column": ({"checks": [not_null("nme").warn()]}, "There is no column 'nme'"),
    "a check's type": ({"checks": [length("id", 1)]}, r"check length\(id\) does not fit"),
    "an expression's column": (
        {"checks": [expression("net", "amount > 0")]},
        "check net .*`amount` cannot be resolved",
    ),
    "a key": ({"keys": ("idd",), "mode": "merge"}, "is merged by idd, but its rows lack idd"),
    "a key of no merge": ({"keys": ("id", "idd")}, "keys names 'idd', which its rows lack"),
    "a partition": ({"partitioned_by": ("bucket(4, idd)",)}, "partitioned_by names 'idd'"),
    "the interval": ({"interval": Daily("day")}, "interval names 'day'"),
    "a text as interval": ({"interval": Daily("name")}, "The interval column 'name' of .* is string"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_the_rows_lack_is_said_before_anything_is_written(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, case: str
) -> None:
    properties, message = UNFIT[case]
    name = fresh.table()
    table = declared(name, **properties)
    seen: list[bool] = []

    def work(attempt: Any) -> None:
        try:
            attempt.write(table, values(spark, "id bigint, name string", [[1, "a"]]))
        finally:
            seen.append(lake.nessie.content(attempt.branch, name) is None)

    with pytest.raises(DeclarationError, match=message) as refused:
        run_work(lake, work)
    assert refused.value.exit_code == 2
    assert refused.value.hint
    assert seen == [True]


@dataclass
class Owned:
    """A source and a table that pipelines of any name declare alike."""

    lake: Lakehouse
    raw: TableName
    name: TableName
    folder: Path

    def pipeline(self, name: str) -> Pipeline:
        shop = Pipeline(name)
        shop.source(str(self.raw))
        shop.table(str(self.name), inputs={"raw": str(self.raw)})(lambda raw: raw.select("id"))
        return shop

    def backfill(self, name: str, **params: Any) -> list[RunResult]:
        return backfill_job.run(Params(**params), self.lake, self.pipeline(name), lambda _line: None)

    def ingest(self, pipeline: str | None, row: int, **params: Any) -> None:
        file = self.folder / f"{row}.csv"
        file.write_text(f"id\n{row}\n")
        table = self.pipeline(pipeline)[self.raw] if pipeline else ingest_job.bronze_table(str(self.raw))
        ingest_job.run(ingest_job.Params(table, (str(file),), **params), self.lake)

    def owner(self, table: TableName) -> str:
        from asgard.lakehouse.catalog.files import TableState

        content = self.lake.content(table, self.lake.target)
        return TableState.load(content.metadata_location, self.lake.settings).properties.get("asgard.pipeline", "")


@pytest.fixture
def owned(lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> Owned:
    return Owned(lake, fresh.table("bronze"), fresh.table(), tmp_path)


def test_another_pipeline_takes_no_table_over_silently(owned: Owned) -> None:
    owned.ingest("shop", 1)
    owned.backfill("shop")
    assert (owned.owner(owned.raw), owned.owner(owned.name)) == ("shop", "shop")

    owned.ingest("shop", 2)
    others = owned.pipeline("bakery")
    refusal = rf"Pipeline bakery declares tables that another pipeline published: {owned.name} of shop\."
    before = owned.lake.nessie.head(owned.lake.target)
    with pytest.raises(UsageError, match=refusal) as refused:
        owned.backfill("bakery")
    assert "--take-over" in refused.value.hint
    with pytest.raises(UsageError, match=rf"{owned.raw} of shop\."):
        owned.ingest("bakery", 3)
    with pytest.raises(UsageError, match=refusal):  # the guard of every write, whatever job it is
        run_work(owned.lake, lambda attempt: attempt.write(others[owned.name], owned.lake.frame(owned.raw, "main")))
    assert owned.lake.nessie.head(owned.lake.target) == before
    (steps,) = backfill_job.plan(owned.lake, others, Params()).runs
    assert [step.to_json()["belongs_to"] for step in steps] == ["shop"]
    facts = read_facts(owned.lake, [others[owned.name]], owned.lake.target)
    assert foreign_owner(others[owned.name], facts[owned.name].properties) == "shop"
    assert [step.belongs_to for (step,) in backfill_job.plan(owned.lake, owned.pipeline("shop"), Params()).runs] == [""]

    owned.backfill("bakery", take_over=True)
    owned.ingest("bakery", 4, take_over=True)
    assert (owned.owner(owned.raw), owned.owner(owned.name)) == ("bakery", "bakery")
    with pytest.raises(UsageError, match=rf"{owned.name} of bakery\."):  # the way back asks again
        owned.backfill("shop")
    owned.backfill("bakery")
    owned.ingest(None, 5)  # no pipeline declares it: it asks nobody, and changes no owner
    assert owned.owner(owned.raw) == "bakery"
    assert rows_of(owned.lake, owned.raw, "id") == [(1,), (2,), (4,), (5,)]


def test_a_table_without_owner_is_adopted(owned: Owned, spark: SparkSession) -> None:
    owned.ingest(None, 1)
    write_rows(owned.lake, declared(owned.name), values(spark, "id bigint", [[7]]))
    assert (owned.owner(owned.raw), owned.owner(owned.name)) == ("", "")
    owned.ingest("bakery", 2)
    owned.backfill("bakery")
    assert (owned.owner(owned.raw), owned.owner(owned.name)) == ("bakery", "bakery")


def test_failed_warnings_are_shown(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, name = fresh.table("bronze"), fresh.table()
    write_rows(lake, declared(raw, mode="append"), values(spark, "id bigint, x int", [[1, None], [2, 50], [3, 7]]))
    shop = Pipeline("shop")
    shop.source(str(raw))
    checks = [not_null("x").warn(), between("x", 0, 10).warn(), not_null("id")]
    shop.table(str(name), inputs={"raw": str(raw)}, checks=checks, on_empty="fail")(lambda raw: raw)

    (step,) = backfill_job.plan(lake, shop, Params()).runs[0]
    (result,) = backfill_job.run(Params(), lake, shop, lambda _line: None)
    assert result.verdict is not None
    (audited,) = result.verdict.outcome.tables
    assert step.to_json()["checks"] == [check.name for check in audited.results]
    assert len(audited.results) == 4

    capsys.readouterr()
    show_runs([result], as_json=False)
    shown = capsys.readouterr()
    assert "2 of 4 passed, 2 warnings" in shown.out
    assert (
        f"warning: {name}: not_null(x): measured null_rate=0.3333333333333333; expected max_nulls=0, 1 of 3 rows fail"
        in shown.err
    )
    assert f"warning: {name}: between(x): " in shown.err
    assert "expected low=0, high=10, 1 of 3 rows fail" in shown.err
    show_runs([result], as_json=True)
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    assert [(each["table"], each["name"], each["failing_rows"]) for each in told["warnings"]] == [
        (str(name), "not_null(x)", 1),
        (str(name), "between(x)", 1),
    ]
    assert told["warnings"][1]["bounds"] == {"low": 0, "high": 10}


def test_a_failed_audit_tells_the_warnings_beside_it(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table(), checks=[not_null("id"), not_null("x").warn()])
    with pytest.raises(RunAuditFailedError) as failed:
        write_rows(lake, table, values(spark, "id bigint, x int", [[None, None]]))
    told = "\n".join(failed.value.details)
    assert f"also a warning: {table.name}: not_null(x): measured" in told
    assert isinstance(failed.value, AsgardError)
