"""Write modes, schema changes and bad input (faults 20-31, 33), on real tables."""

from datetime import UTC, datetime

import pytest
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.runs import days, declared, rows_of, values, write_rows

from asgard import Daily, Monthly
from asgard.common.errors import AsgardError, ContractError, DeclarationError, InputDataError, UsageError
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import published_at, read_at, resolve
from asgard.lakehouse.runs.run import RunAuditFailedError
from asgard.validation.checks import between, not_null, unique

EVENTS = "id bigint, at timestamp"


def day(number: int, hour: int = 0) -> datetime:
    return datetime(2024, 1, number, hour, tzinfo=UTC)


class TestIntervals:
    def test_a_rerun_with_fewer_rows_clears_the_old_ones(
        self, lake: Lakehouse, spark: SparkSession, fresh: Fresh
    ) -> None:
        table = declared(fresh.table(), interval=Daily("at"))
        first = values(spark, EVENTS, [[1, day(1)], [2, day(1, 5)], [3, day(2)]])
        write_rows(lake, table, first, days("2024-01-01", "2024-01-03"))
        write_rows(lake, table, values(spark, EVENTS, [[1, day(1)]]), days("2024-01-01", "2024-01-02"))
        assert rows_of(lake, table.name, "id") == [(1,), (3,)]

    def test_a_day_without_rows_any_more_is_emptied(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        table = declared(fresh.table(), interval=Daily("at"))
        rows = values(spark, EVENTS, [[1, day(1)], [2, day(2)]])
        write_rows(lake, table, rows, days("2024-01-01", "2024-01-03"))
        write_rows(lake, table, rows.where("id = 1"), days("2024-01-02", "2024-01-03"))
        assert rows_of(lake, table.name, "id") == [(1,)]

    def test_rows_of_other_intervals_are_left_to_them(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        table = declared(fresh.table(), interval=Daily("at"))
        rows = values(spark, EVENTS, [[1, day(1)], [2, day(2)], [3, day(3)]])
        write_rows(lake, table, rows, days("2024-01-02", "2024-01-03"))
        assert rows_of(lake, table.name, "id") == [(2,)]

    def test_a_row_without_a_time_belongs_to_no_interval_and_fails_the_audit(
        self, lake: Lakehouse, spark: SparkSession, fresh: Fresh
    ) -> None:
        table = declared(fresh.table(), interval=Daily("at"))
        with pytest.raises(RunAuditFailedError, match=r"not_null\(at\)"):
            write_rows(lake, table, values(spark, EVENTS, [[1, day(1)], [2, None]]), days("2024-01-01", "2024-01-02"))

    def test_intervals_are_utc_across_a_daylight_saving_change(
        self, lake: Lakehouse, spark: SparkSession, fresh: Fresh
    ) -> None:
        table = declared(fresh.table(), interval=Daily("at"))
        # Berlin changed to summer time on 2024-03-31 at 01:00 UTC; 01:30+02:00 is still the day before in UTC
        texts = ["2024-03-31T00:30:00+01:00", "2024-03-31T01:30:00+01:00", "2024-03-31T03:30:00+02:00"]
        rows = spark.createDataFrame([(t,) for t in texts], "text string").selectExpr("text", "timestamp(text) AS at")
        write_rows(lake, table, rows, days("2024-03-31", "2024-04-01"))
        assert rows_of(lake, table.name, "text") == [(texts[1],), (texts[2],)]

    def test_the_done_intervals_are_a_property_of_the_table(
        self, lake: Lakehouse, spark: SparkSession, fresh: Fresh
    ) -> None:
        table = declared(fresh.table(), interval=Daily("at"))
        for first, last in (("2024-01-01", "2024-01-02"), ("2024-01-05", "2024-01-07"), ("2024-01-02", "2024-01-04")):
            write_rows(lake, table, values(spark, EVENTS, [[1, day(1)]]), days(first, last))
        properties = {row.key: row.value for row in spark.sql(f"SHOW TBLPROPERTIES lake.{table.name}").collect()}
        assert properties["asgard.intervals"] == "2024-01-01/2024-01-04,2024-01-05/2024-01-07"

    @pytest.mark.parametrize("kind", ["date", "timestamp_ntz"])
    def test_interval_columns_may_be_dates_or_naive(
        self, lake: Lakehouse, spark: SparkSession, fresh: Fresh, kind: str
    ) -> None:
        table = declared(fresh.table(), interval=Monthly("at"))
        rows = spark.sql(f"SELECT * FROM VALUES (1, {kind} '2024-01-31'), (2, {kind} '2024-02-01') AS v(id, at)")
        write_rows(lake, table, rows, days("2024-01-01", "2024-03-01"))
        write_rows(lake, table, rows.where("id = 9"), days("2024-02-01", "2024-03-01"))
        assert rows_of(lake, table.name, "id") == [(1,)]

    def test_an_interval_column_that_is_text_is_refused(
        self, lake: Lakehouse, spark: SparkSession, fresh: Fresh
    ) -> None:
        table = declared(fresh.table(), interval=Daily("at"), partitioned_by=["at"])
        with pytest.raises(DeclarationError, match="must be a timestamp, or a date"):
            write_rows(lake, table, values(spark, "at string", [["x"]]), days("2024-01-01", "2024-01-02"))


class TestModes:
    def test_merge_updates_and_inserts_by_key(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        table = declared(fresh.table(), mode="merge", keys=["id"])
        write_rows(lake, table, values(spark, "id bigint, v string", [[1, "a"], [2, "b"]]))
        write_rows(lake, table, values(spark, "id bigint, v string", [[2, "B"], [3, None]]))
        assert rows_of(lake, table.name) == [(1, "a"), (2, "B"), (3, None)]

    def test_merge_of_two_rows_with_one_key_is_refused_in_words(
        self, lake: Lakehouse, spark: SparkSession, fresh: Fresh
    ) -> None:
        table = declared(fresh.table(), mode="merge", keys=["id"])
        write_rows(lake, table, values(spark, "id bigint, v string", [[1, "a"]]))
        with pytest.raises(InputDataError, match="same key") as caught:
            write_rows(lake, table, values(spark, "id bigint, v string", [[1, "x"], [1, "y"]]))
        assert "org.apache" not in str(caught.value)

    def test_merge_of_a_new_key_given_twice_is_refused_too(
        self, lake: Lakehouse, spark: SparkSession, fresh: Fresh
    ) -> None:
        table = declared(fresh.table(), mode="merge", keys=["id"])
        with pytest.raises(InputDataError, match=r"same key.*'id': 7"):
            write_rows(lake, table, values(spark, "id bigint, v string", [[7, "x"], [7, "x"]]))

    def test_replace_leaves_only_the_new_rows(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        table = declared(fresh.table())
        for number in (1, 2):
            write_rows(lake, table, values(spark, "id bigint", [[number]]))
        assert rows_of(lake, table.name) == [(2,)]

    def test_an_empty_input_passes_or_fails_as_declared(
        self, lake: Lakehouse, spark: SparkSession, fresh: Fresh
    ) -> None:
        nothing = values(spark, "id bigint", [])
        write_rows(lake, declared(fresh.table()), nothing)
        with pytest.raises(RunAuditFailedError, match="not_empty"):
            write_rows(lake, declared(fresh.table(), on_empty="fail"), nothing)

    def test_duplicates_by_key_are_found_also_when_one_key_has_a_third_of_the_rows(
        self, lake: Lakehouse, spark: SparkSession, fresh: Fresh
    ) -> None:
        table = declared(fresh.table(), checks=[unique("id")])
        rows = spark.range(30_000).selectExpr("IF(id % 3 = 0, 0, id) AS id")
        with pytest.raises(RunAuditFailedError) as caught:
            write_rows(lake, table, rows)
        verdict = caught.value.result.verdict
        assert verdict is not None
        assert verdict.outcome.tables[0].results[0].failing_rows == 10_000


class TestSchemas:
    def test_an_added_column_is_null_for_older_rows(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        table = declared(fresh.table(), mode="append")
        write_rows(lake, table, values(spark, "id bigint", [[1]]))
        write_rows(lake, table, values(spark, "id bigint, v string", [[2, "x"]]))
        assert rows_of(lake, table.name, "id", "v") == [(1, None), (2, "x")]

    def test_a_nested_field_may_be_added(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        table = declared(fresh.table(), mode="append")
        write_rows(lake, table, spark.sql("SELECT named_struct('a', 1) AS s"))
        write_rows(lake, table, spark.sql("SELECT named_struct('a', 2, 'b', 3) AS s"))
        assert rows_of(lake, table.name, "s.a", "s.b") == [(1, None), (2, 3)]

    def test_a_dropped_column_is_refused(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        table = declared(fresh.table())
        write_rows(lake, table, values(spark, "id bigint, v string", [[1, "x"]]))
        with pytest.raises(ContractError, match="lack columns that the table has: v"):
            write_rows(lake, table, values(spark, "id bigint", [[2]]))

    def test_a_declared_rename_keeps_the_old_rows(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        name = fresh.table()
        write_rows(lake, declared(name, mode="append"), values(spark, "id bigint, v string", [[1, "x"]]))
        renamed = declared(name, mode="append", renames={"v": "value"})
        for number in (2, 3):
            write_rows(lake, renamed, values(spark, "id bigint, value string", [[number, "y"]]))
        assert rows_of(lake, name, "id", "value") == [(1, "x"), (2, "y"), (3, "y")]

    def test_a_wider_type_widens_the_column_and_a_narrower_one_is_written_as_it_is(
        self, lake: Lakehouse, spark: SparkSession, fresh: Fresh
    ) -> None:
        table = declared(fresh.table(), mode="append")
        for kind in ("int", "bigint", "int"):
            write_rows(lake, table, values(spark, f"id {kind}", [[1]]))
        assert spark.table(f"lake.{table.name}").schema.simpleString() == "struct<id:bigint>"

    def test_a_change_of_kind_is_refused(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        table = declared(fresh.table())
        write_rows(lake, table, values(spark, "id bigint", [[1]]))
        with pytest.raises(ContractError, match="is bigint in the table but string in the rows"):
            write_rows(lake, table, values(spark, "id string", [["x"]]))

    def test_a_frozen_contract_takes_no_change(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        table = declared(fresh.table(), contract="frozen")
        write_rows(lake, table, values(spark, "id bigint", [[1]]))
        with pytest.raises(ContractError, match=r"frozen.*add v string"):
            write_rows(lake, table, values(spark, "id bigint, v string", [[1, "x"]]))

    def test_an_overflow_on_a_declared_cast_is_an_error_and_not_a_null(
        self, lake: Lakehouse, spark: SparkSession, fresh: Fresh
    ) -> None:
        table = declared(fresh.table(), columns="id int")
        with pytest.raises(AsgardError, match="overflow") as caught:
            write_rows(lake, table, values(spark, "id bigint", [[2**40]]))
        assert "\tat " not in str(caught.value)

    def test_columns_that_the_declaration_names_must_be_there(
        self, lake: Lakehouse, spark: SparkSession, fresh: Fresh
    ) -> None:
        table = declared(fresh.table(), columns="id bigint, v string")
        with pytest.raises(DeclarationError, match=r"lack \['v'\]"):
            write_rows(lake, table, values(spark, "id bigint", [[1]]))

    def test_odd_column_names_are_only_names(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        odd = "a b; DROP TABLE x --"
        table = declared(fresh.table(), mode="append", checks=[not_null(odd)])
        rows = values(spark, "id bigint", [[1]]).withColumnRenamed("id", odd)
        write_rows(lake, table, rows)
        write_rows(lake, table, rows.selectExpr("*", "1 AS `second ``one`"))
        assert spark.table(f"lake.{table.name}").columns == [odd, "second `one"]

    def test_odd_names_of_nested_fields_are_only_names(
        self, lake: Lakehouse, spark: SparkSession, fresh: Fresh
    ) -> None:
        odd = "a:int>) USING iceberg LOCATION '/tmp/x' --"
        table = declared(fresh.table(), mode="append")
        write_rows(lake, table, spark.sql(f"SELECT named_struct('first-name', 1, \"{odd}\", array(2)) AS s"))
        fields = spark.table(f"lake.{table.name}").schema["s"].dataType
        assert fields.names == ["first-name", odd]  # type: ignore[attr-defined]

    def test_nan_infinity_and_null_come_back_as_they_were(
        self, lake: Lakehouse, spark: SparkSession, fresh: Fresh
    ) -> None:
        table = declared(fresh.table())
        numbers = [float("inf"), float("-inf"), float("nan"), None, -0.0]
        write_rows(lake, table, values(spark, "x double", [[number] for number in numbers]))
        assert [repr(row[0]) for row in rows_of(lake, table.name)] == sorted(map(repr, numbers))


class TestTimeTravel:
    def test_a_state_is_found_by_commit_and_time(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        table = declared(fresh.table())
        first = write_rows(lake, table, values(spark, "id bigint", [[1]]))
        moment = next(iter(lake.nessie.log("main"))).committed
        write_rows(lake, table, values(spark, "id bigint", [[2]]))

        assert first.commit is not None
        at = resolve(lake, first.commit)
        assert resolve(lake, first.commit[:16]) == at
        assert published_at(lake, moment) == at
        assert [row.id for row in read_at(lake, table.name, at).collect()] == [1]
        assert rows_of(lake, table.name) == [(2,)]

    def test_what_is_not_there_is_said(self, lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
        table = declared(fresh.table())
        write_rows(lake, table, values(spark, "id bigint", [[1]]))
        with pytest.raises(UsageError, match="no such reference"):
            resolve(lake, "no_such_branch")
        with pytest.raises(UsageError, match="Nothing was published"):
            resolve(lake, "1999-01-01")
        with pytest.raises(UsageError, match="has no commit"):
            resolve(lake, "ab" * 16)


def test_an_interval_that_the_tables_own_partitions_do_not_fit_is_refused(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    name = fresh.table()
    rows = values(spark, EVENTS, [[1, day(1)]])
    write_rows(lake, declared(name, interval=Monthly("at")), rows, days("2024-01-01", "2024-02-01"))
    with pytest.raises(ContractError, match=r"partitioned by month\(at\)"):
        write_rows(lake, declared(name, interval=Daily("at")), rows, days("2024-01-01", "2024-01-02"))


def test_files_older_than_a_rename_are_audited_by_their_new_name(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    name = fresh.table()
    write_rows(lake, declared(name, mode="append"), values(spark, "v bigint", [[1], [100]]).coalesce(1))
    check = between("value", 0, 50).over("table")
    renamed = declared(name, mode="append", renames={"v": "value"}, checks=[check])
    rows = values(spark, "value bigint", [[number] for number in range(39)])
    with pytest.raises(RunAuditFailedError) as caught:  # only the old file breaks the bounds, so only it is read
        write_rows(lake, renamed, rows)
    verdict = caught.value.result.verdict
    assert verdict is not None
    found = verdict.outcome.tables[0].results[0]
    assert found.error is None
    assert (found.failing_rows, found.checked_rows, found.scanned_files) == (1, 41, 1)
    assert [row["value"] for row in found.sample] == [100]
    assert any("expected low=0, high=50" in line for line in caught.value.details)
