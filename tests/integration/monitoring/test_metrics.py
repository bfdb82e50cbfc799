"""Metrics of real runs: what they published is what is counted."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from tests.conftest import Fresh
from tests.support.runs import declared, values
from tests.support.runs import write_rows as publish

from asgard import Daily, Pipeline, TimeRange
from asgard.common.errors import AsgardError
from asgard.common.settings import load_settings
from asgard.jobs import backfill_job
from asgard.jobs.counted import counted
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.runs.run import RunAuditFailedError, RunRequest, execute
from asgard.monitoring.events import EventLog
from asgard.monitoring.metrics import Totals, count
from asgard.validation.checks import not_null, null_rate, row_count

ENVIRONMENT = "metrics-test"


@pytest.fixture
def counting_lake(lake: Lakehouse, tmp_path: Path) -> Iterator[Lakehouse]:
    """The lake, in an environment of its own, so that no other test counts in it."""
    settings = replace(lake.settings, environment=ENVIRONMENT, metrics_textfile=tmp_path / "asgard.prom")
    before, lake.settings = lake.settings, settings
    yield lake
    lake.settings = before


def totals(lake: Lakehouse) -> Totals:
    return count(EventLog(lake.storage).events(datetime.now(UTC)), ENVIRONMENT)


def values_of(found: Totals, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The series of a metric in this environment whose labels start with these; keyed by the others."""
    return {
        key[len(labels) : -1]: value
        for definition, series in found.values.items()
        if definition.name == name
        for key, value in series.items()
        if key[: len(labels)] == labels and key[-1] == ENVIRONMENT
    }


def write_counted(lake: Lakehouse, table: Table, rows: DataFrame, job: str) -> None:
    def said(_line: str) -> None:
        raise AssertionError(_line)

    with counted(lake, job, said) as note:
        note(execute(lake, RunRequest(job), lambda attempt: attempt.write(table, rows)))


def test_what_a_run_published_is_counted(counting_lake: Lakehouse, fresh: Fresh) -> None:
    lake, name, job = counting_lake, fresh.table("gold"), f"job_{fresh.table().name}"
    table = declared(name, mode="append", checks=[row_count(1), null_rate("email", 0.9).warn(), not_null("id")])
    ddl = "id bigint, email string, score double"
    publish(lake, table, values(lake.spark, ddl, [(n, None, None) for n in range(90)]))  # by no counted job
    before = datetime.now(UTC).timestamp()
    rows = [(n, None if n < 3 else "x", float("nan") if n == 0 else 1.0) for n in range(10)]
    write_counted(lake, table, values(lake.spark, ddl, rows), job)
    found = totals(lake)
    assert values_of(found, "asgard_rows_written_total", str(name), "main") == {(): 10}
    assert values_of(found, "asgard_feature_null_rate", str(name), "main") == {
        ("id",): 0,
        ("email",): 0.3,
        ("score",): 0,
    }
    assert values_of(found, "asgard_checks_total", str(name)) == {(): 3}
    assert values_of(found, "asgard_checks_failed_total", str(name)) == {("error",): 0}
    assert values_of(found, "asgard_job_success_total", job) == {(): 1}
    (published,) = values_of(found, "asgard_table_last_publish_timestamp_seconds", str(name), "main").values()
    assert before - 1 <= published <= datetime.now(UTC).timestamp() + 1
    file = lake.settings.metrics_textfile
    assert file is not None
    labels = f'environment="{ENVIRONMENT}",job_name="{job}",warehouse="{lake.settings.warehouse}"'
    assert f"asgard_job_success_total{{{labels}}} 1.0" in file.read_text()


def test_a_failed_audit_is_a_failure_and_writes_nothing(counting_lake: Lakehouse, fresh: Fresh) -> None:
    lake, name, job = counting_lake, fresh.table("gold"), f"job_{fresh.table().name}"
    table = declared(name, mode="append", checks=[not_null("id"), not_null("email").warn()])
    with pytest.raises(RunAuditFailedError):
        write_counted(lake, table, values(lake.spark, "id bigint, email string", [(None, None)]), job)
    found = totals(lake)
    assert values_of(found, "asgard_job_failure_total", job) == {(): 1}
    assert values_of(found, "asgard_job_success_total", job) == {(): 0}
    assert values_of(found, "asgard_checks_failed_total", str(name)) == {("error",): 1, ("warn",): 1}
    assert values_of(found, "asgard_rows_written_total", str(name), "main") == {(): 0}
    assert values_of(found, "asgard_feature_null_rate", str(name), "main") == {}
    assert values_of(found, "asgard_table_last_publish_timestamp_seconds", str(name), "main") == {}


def test_a_backfill_counts_once_with_all_its_runs_or_none(counting_lake: Lakehouse, fresh: Fresh) -> None:
    lake, source, target = counting_lake, fresh.table("bronze"), fresh.table("gold")
    publish(lake, declared(source, mode="append"), values(lake.spark, "id bigint", [(1,), (2,)]))
    pipeline = Pipeline("counted_shop")
    pipeline.source(str(source))

    @pipeline.table(str(target), inputs={"raw": str(source)})
    def copied(raw: DataFrame) -> DataFrame:
        """The same rows."""
        return raw.select("id", F.lit(None).cast("string").alias("nothing"))

    before = values_of(totals(lake), "asgard_job_success_total", "backfill")[()]
    for _ in range(2):  # the second finds nothing to do, and that is a success too
        backfill_job.run(backfill_job.Params(), lake, pipeline, lambda _line: None)
    found = totals(lake)
    assert values_of(found, "asgard_job_success_total", "backfill") == {(): before + 2}
    assert values_of(found, "asgard_rows_written_total", str(target), "main") == {(): 2}
    assert values_of(found, "asgard_feature_null_rate", str(target), "main") == {("id",): 0, ("nothing",): 1}


def test_what_a_backfill_left_is_counted_until_nothing_is(
    counting_lake: Lakehouse, fresh: Fresh, tmp_path: Path
) -> None:
    lake, source, days = counting_lake, fresh.table("bronze"), fresh.table("silver")
    pipeline = Pipeline(f"left_{source.name}", start="2024-01-01", end="2024-01-05")
    pipeline.source(str(source), columns="at timestamp", interval=Daily("at"))
    broken = tmp_path / "broken"
    broken.touch()

    @pipeline.table(str(days), inputs={"raw": str(source)}, interval=Daily("at"))
    def by_day(raw: DataFrame, interval: TimeRange) -> DataFrame:
        if broken.exists():
            raise ValueError("not yet")
        return raw.where((F.col("at") >= F.lit(interval.start)) & (F.col("at") < F.lit(interval.end)))

    def left_after(day: int | None = None, **params: bool) -> dict[str, float]:
        if day is not None:
            rows = values(lake.spark, "at timestamp", [[datetime(2024, 1, day, tzinfo=UTC)]])
            publish(lake, pipeline[source], rows)
        with suppress(AsgardError):
            backfill_job.run(backfill_job.Params(**params), lake, pipeline, lambda _line: None)
        found = values_of(totals(lake), "asgard_stale_intervals", pipeline.name, str(days))
        assert {target for _, target in found} == {"main"}
        assert len(found) == 7
        return {condition: value for (condition, _), value in found.items() if value}

    assert left_after(day=1) == {"missing": 4}  # it failed
    broken.unlink()
    assert left_after() == {}
    assert left_after(day=2) == {"stale by data": 1}
    assert left_after(stale=True) == {}


def test_a_warehouse_without_events_has_known_jobs_only(tmp_path: Path) -> None:
    settings = load_settings({"project_dir": str(tmp_path), "nessie_uri": "http://127.0.0.1:1"}, environment={})
    assert values_of(totals(Lakehouse(settings)), "asgard_job_success_total") == {
        (job,): 0 for job in ("backfill", "batch-predict", "ingest", "online-sync", "train")
    }
