"""The Write-Audit-Publish run on a real Nessie and Spark."""

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tests.conftest import Fresh
from tests.support.runs import declared, rows_of, run_work, values, write_rows

from asgard.common.errors import DeclarationError, RunError, UnknownTableError, UsageError
from asgard.common.names import TableName, check_run_id, parse_audit_branch
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse, identifier
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.lineage.tree import lineage
from asgard.lakehouse.runs.attempt import Attempt, Isolation
from asgard.lakehouse.runs.history import list_runs
from asgard.lakehouse.runs.records import RunRecords
from asgard.lakehouse.runs.run import RunAuditFailedError, Status
from asgard.validation.checks import between, expression, not_null, references, unique
from asgard.validation.rules import AfterWrite


def test_a_published_run_leaves_rows_a_commit_and_a_record(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    name = fresh.table()
    table = declared(name, checks=[not_null("id")], owner="data-team", description="Ids.", tags=["a", "b"])
    result = write_rows(lake, table, values(spark, "id bigint", [[1], [2]]))

    assert result.status is Status.PUBLISHED
    assert rows_of(lake, name) == [(1,), (2,)]
    entry = next(iter(lake.nessie.log("main")))
    assert entry.hash == result.commit
    assert entry.properties["asgard.run-id"] == result.run_id
    assert entry.properties["asgard.record-sha256"] == RunRecords(lake.storage).digest(result.run_id, 1)
    assert {"asgard.code-version", "asgard.user", "asgard.dirty", "asgard.job"} <= set(entry.properties)
    record = RunRecords(lake.storage).attempts(result.run_id)[0]
    assert record.record["writes"][str(name)]["rows_added"] == 2
    assert record.outcome["status"] == "published"
    properties = TableState.load(lake.content(name, "main").metadata_location, lake.settings).properties
    assert properties["asgard.owner"] == "data-team"
    assert properties["comment"] == "Ids."
    assert properties["asgard.tags"] == "a,b"
    assert not [ref for ref in lake.nessie.references("audit_") if result.run_id in ref.name]


def test_every_data_snapshot_says_where_it_comes_from(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    name = fresh.table()
    result = write_rows(lake, declared(name), values(spark, "id bigint", [[1]]))
    summary = spark.table(f"lake.{name}.snapshots").collect()[0].summary
    assert summary["asgard.run-id"] == result.run_id
    assert {"asgard.job", "asgard.code-version", "asgard.dirty", "asgard.user"} <= set(summary)


def test_a_failed_audit_publishes_nothing_and_keeps_the_branch(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    name = fresh.table()
    table = declared(name, checks=[between("id", 0, 10)])
    write_rows(lake, table, values(spark, "id bigint", [[1]]))
    head = lake.nessie.head("main")

    with pytest.raises(RunAuditFailedError) as caught:
        write_rows(lake, table, values(spark, "id bigint", [[99]]))

    assert lake.nessie.head("main") == head
    assert rows_of(lake, name) == [(1,)]
    result = caught.value.result
    assert result.branch is not None
    assert rows_of(lake, name, ref=result.branch) == [(99,)]
    assert caught.value.exit_code == 3
    assert "between(id)" in caught.value.message
    run = list_runs(lake, run_id=result.run_id)[0].to_json()
    assert run["status"] == "audit failed"
    assert run["checks"][0]["measured"]["max"] == 99


def test_many_tables_publish_together_or_not_at_all(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    good, bad = declared(fresh.table()), declared(fresh.table(), checks=[not_null("id")])

    def work(attempt: Attempt) -> None:
        attempt.write(good, values(spark, "id bigint", [[1]]))
        attempt.write(bad, values(spark, "id bigint", [[None]]))

    with pytest.raises(RunAuditFailedError):
        run_work(lake, work)
    for table in (good, bad):
        with pytest.raises(UnknownTableError):
            rows_of(lake, table.name)

    def both(attempt: Attempt) -> None:
        attempt.write(good, values(spark, "id bigint", [[1]]))
        attempt.write(bad, values(spark, "id bigint", [[2]]))

    before = len(list(lake.nessie.log("main")))
    run_work(lake, both)
    assert len(list(lake.nessie.log("main"))) == before + 1
    assert (rows_of(lake, good.name), rows_of(lake, bad.name)) == ([(1,)], [(2,)])


def test_a_run_reads_its_own_writes_and_records_what_else_it_read(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    source, middle, last = declared(fresh.table()), declared(fresh.table()), declared(fresh.table())
    first = write_rows(lake, source, values(spark, "id bigint", [[1], [2]]))

    def work(attempt: Attempt) -> None:
        attempt.write(middle, attempt.read(source.name).where("id > 1"))
        attempt.write(last, attempt.read(middle.name).selectExpr("id * 10 AS id"))

    result = run_work(lake, work)
    assert rows_of(lake, last.name) == [(20,)]
    reads = RunRecords(lake.storage).attempts(result.run_id)[0].record["reads"]
    assert list(reads) == [str(source.name)]
    assert reads[str(source.name)]["snapshot_id"] == first.tables[str(source.name)]["snapshot_id"]


def test_a_run_that_changes_nothing_publishes_nothing(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table(), mode="merge", keys=["id"])
    rows = values(spark, "id bigint, v string", [[1, "a"]])
    write_rows(lake, table, rows)
    head = lake.nessie.head("main")
    assert write_rows(lake, table, rows).status is Status.UNCHANGED
    assert run_work(lake, lambda _attempt: None).status is Status.UNCHANGED
    assert lake.nessie.head("main") == head


def test_the_same_run_id_publishes_once(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table(), mode="append")
    run_id = check_run_id("20260101t000000-once-" + table.name.name[2:])
    # an id whose time lies in the past is found as well: the log is read back to it
    first = write_rows(lake, table, values(spark, "id bigint", [[1]]), run_id=run_id)
    again = write_rows(lake, table, values(spark, "id bigint", [[1]]), run_id=run_id)
    assert (first.status, again.status) == (Status.PUBLISHED, Status.ALREADY_PUBLISHED)
    assert again.commit == first.commit
    assert rows_of(lake, table.name) == [(1,)]


def test_the_same_run_id_started_twice_at_the_same_time_has_one_effect(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    table = declared(fresh.table(), mode="append")
    write_rows(lake, table, values(spark, "id bigint", [[0]]))
    run_id = check_run_id("20260101t000000-twice-" + table.name.name[2:])
    inner = []

    def work(attempt: Attempt) -> None:
        attempt.write(table, values(spark, "id bigint", [[1]]))
        if not inner:  # a second process with the same run id overtakes this one
            inner.append(None)
            inner.append(write_rows(lake, table, values(spark, "id bigint", [[1]]), run_id=run_id))

    outer = run_work(lake, work, run_id)
    assert inner[1] is not None
    assert {inner[1].status, outer.status} == {Status.PUBLISHED, Status.ALREADY_PUBLISHED}
    assert inner[1].attempt != outer.attempt
    assert rows_of(lake, table.name) == [(0,), (1,)]


def test_a_run_that_lost_its_table_to_another_computes_again(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    table = declared(fresh.table(), mode="merge", keys=["id"])
    write_rows(lake, table, values(spark, "id bigint, n bigint", [[1, 0]]))
    attempts = []

    def increment(attempt: Attempt) -> None:
        attempts.append(attempt.number)
        attempt.write(table, attempt.read(table.name).selectExpr("id", "n + 1 AS n"))
        if len(attempts) == 1:
            run_work(lake, lambda other: other.write(table, other.read(table.name).selectExpr("id", "n + 1 AS n")))

    result = run_work(lake, increment)
    assert result.status is Status.PUBLISHED
    assert attempts == [1, 2]
    assert rows_of(lake, table.name) == [(1, 2)]
    branches = [parse_audit_branch(ref.name) for ref in lake.nessie.references("audit_")]
    assert result.run_id not in [owner[0] for owner in branches if owner]


def test_runs_on_different_tables_do_not_meet(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    mine, other = declared(fresh.table()), declared(fresh.table())

    def work(attempt: Attempt) -> None:
        attempt.write(mine, values(spark, "id bigint", [[1]]))
        if attempt.number == 1:
            write_rows(lake, other, values(spark, "id bigint", [[2]]))

    assert run_work(lake, work).attempt == 1
    assert (rows_of(lake, mine.name), rows_of(lake, other.name)) == ([(1,)], [(2,)])


def test_two_runs_that_both_create_a_table_in_a_new_layer_both_land(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    layer = fresh.table().name
    mine, other = declared(TableName(layer, "mine")), declared(TableName(layer, "other"))

    def work(attempt: Attempt) -> None:
        attempt.write(mine, values(spark, "id bigint", [[1]]))
        if attempt.number == 1:
            write_rows(lake, other, values(spark, "id bigint", [[2]]))

    assert run_work(lake, work).attempt == 1  # only the namespace was made twice: no reason to compute again
    assert (rows_of(lake, mine.name), rows_of(lake, other.name)) == ([(1,)], [(2,)])


@pytest.mark.parametrize(("isolation", "attempts"), [(Isolation.SNAPSHOT, 1), (Isolation.SERIALIZABLE, 2)])
def test_an_input_that_moves_matters_as_the_isolation_says(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, isolation: Isolation, attempts: int
) -> None:
    source, target = declared(fresh.table()), declared(fresh.table())
    write_rows(lake, source, values(spark, "id bigint", [[1]]))

    def work(attempt: Attempt) -> None:
        attempt.write(target, attempt.read(source.name))
        if attempt.number == 1:
            write_rows(lake, source, values(spark, "id bigint", [[2]]))

    assert run_work(lake, work, isolation=isolation).attempt == attempts
    assert rows_of(lake, target.name) == [(attempts,)]


def test_a_table_that_a_check_read_may_not_move(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    parent = declared(fresh.table())
    child = declared(fresh.table(), checks=[references("id", str(parent.name))])
    write_rows(lake, parent, values(spark, "id bigint", [[1]]))

    def work(attempt: Attempt) -> None:
        attempt.write(child, values(spark, "id bigint", [[1]]))
        if attempt.number == 1:
            write_rows(lake, parent, values(spark, "id bigint", [[7]]))

    with pytest.raises(RunAuditFailedError):  # the second attempt sees that the parent is gone
        run_work(lake, work)


def test_a_branch_that_moved_after_its_audit_is_refused(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = declared(fresh.table(), checks=[between("id", 0, 10)])
    write_rows(lake, table, values(spark, "id bigint", [[1]]))
    head = lake.nessie.head("main")
    seen: list[Attempt] = []

    def tamper(name: str) -> None:
        if name == "after-audit":
            values(spark, "id bigint", [[999]]).writeTo(identifier(table.name, seen[0].branch)).append()

    monkeypatch.setattr("asgard.lakehouse.runs.run.failpoint", tamper)

    def work(attempt: Attempt) -> None:
        seen.append(attempt)
        attempt.write(table, values(spark, "id bigint", [[2]]))

    with pytest.raises(RunError, match="moved from"):
        run_work(lake, work)
    assert lake.nessie.head("main") == head


def test_a_check_that_raises_fails_the_audit(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    late = AfterWrite(lambda: F.expr("no_such_function(id) > 1"))  # else it would be refused before the write
    table = declared(fresh.table(), checks=[expression("broken", late).warn(), unique("id")])
    with pytest.raises(RunAuditFailedError) as caught:
        write_rows(lake, table, values(spark, "id bigint", [[1]]))
    verdict = caught.value.result.verdict
    assert verdict is not None
    broken, other = verdict.outcome.tables[0].results
    assert broken.blocks
    assert broken.error
    assert "\tat " not in broken.error
    assert other.passed


def test_a_check_on_a_column_that_does_not_exist_is_refused_before_the_write(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    head = lake.nessie.head("main")
    with pytest.raises(DeclarationError, match="'idd'"):
        write_rows(lake, declared(fresh.table(), checks=[not_null("idd")]), values(spark, "id bigint", [[1]]))
    assert lake.nessie.head("main") == head


def test_an_attempt_is_sealed_before_its_audit(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table())
    kept: list[Attempt] = []

    def work(attempt: Attempt) -> None:
        kept.append(attempt)
        attempt.write(table, values(spark, "id bigint", [[1]]))

    run_work(lake, work)
    with pytest.raises(RunError, match="sealed"):
        kept[0].write(table, values(spark, "id bigint", [[2]]))


def test_a_foreign_change_on_the_branch_is_never_published(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    mine, other = declared(fresh.table()), declared(fresh.table(), checks=[not_null("id")])
    write_rows(lake, other, values(spark, "id bigint", [[1]]))
    head = lake.nessie.head("main")

    def work(attempt: Attempt) -> None:
        attempt.write(mine, values(spark, "id bigint", [[1]]))
        values(spark, "id bigint", [[None]]).writeTo(identifier(other.name, attempt.branch)).append()

    with pytest.raises(RunError, match=f"did not make: put {other.name}"):
        run_work(lake, work)
    assert lake.nessie.head("main") == head


def test_a_merge_that_only_creates_its_table_is_audited_too(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table(), mode="merge", keys=["id"], on_empty="fail")
    with pytest.raises(RunAuditFailedError, match="not_empty"):
        write_rows(lake, table, values(spark, "id bigint", []))


def test_a_table_that_a_check_read_may_not_move_also_when_the_run_wrote_it_without_a_change(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    parent = declared(fresh.table(), mode="merge", keys=["id"])
    child = declared(fresh.table(), checks=[references("id", str(parent.name))])
    rows = values(spark, "id bigint", [[1]])
    write_rows(lake, parent, rows)
    replaced = declared(parent.name)

    def work(attempt: Attempt) -> None:
        attempt.write(parent, rows if attempt.number == 1 else attempt.read(parent.name))
        attempt.write(child, rows)
        if attempt.number == 1:
            write_rows(lake, replaced, values(spark, "id bigint", [[7]]))

    with pytest.raises(RunAuditFailedError):
        run_work(lake, work)


def test_a_run_id_of_the_future_is_refused(lake: Lakehouse) -> None:
    with pytest.raises(UsageError, match="a time in the future"):
        run_work(lake, lambda _attempt: None, "29990101t000000-x")


def test_what_is_taken_out_of_a_declaration_leaves_the_table(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    name = fresh.table()
    for owner in ("data-team", ""):
        write_rows(lake, declared(name, owner=owner, tags=["kept"]), values(spark, "id bigint", [[1]]))
    properties = TableState.load(lake.content(name, "main").metadata_location, lake.settings).properties
    assert "asgard.owner" not in properties
    assert properties["asgard.tags"] == "kept"


def test_lineage_names_the_files_of_every_ingest(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table("bronze"), mode="append")

    def ingest(path: str) -> None:
        def work(attempt: Attempt) -> None:
            attempt.write(table, values(spark, "id bigint", [[1]]))
            attempt.details["files"] = [{"path": path}]

        run_work(lake, work)

    ingest("first.csv")
    ingest("second.csv")
    assert lineage(lake, table.name, resolve(lake, None)).files == ("first.csv", "second.csv")
