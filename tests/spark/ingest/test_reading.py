"""Files as a table's rows, through Spark's workers: nothing lost, row numbers right, Parquet's oddities."""

import csv
import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from asgard.common.errors import AsgardError, ContractError, InputDataError
from asgard.common.settings import load_settings
from asgard.common.spark_utils import explain
from asgard.ingest import text as text_module
from asgard.ingest import workers
from asgard.ingest.columns import TableColumns
from asgard.ingest.files import find_files, hash_files
from asgard.ingest.formats import Format, TextOptions, format_of
from asgard.ingest.own_columns import CORRUPT, RAW, SOURCE_FILE, SOURCE_ROW
from asgard.ingest.reading import Reading


def read(
    spark: SparkSession,
    *paths: Path,
    known: TableColumns | None = None,
    kind: Format | None = None,
    say: list[str] | None = None,
    allow_missing: bool = False,
    **options: Any,
) -> DataFrame:
    files = hash_files(find_files(list(map(str, paths)), kind, load_settings({}, environment={}), lambda _line: None))
    kind = kind or format_of(files[0].name) or Format.CSV
    reading = Reading("bronze.x", kind, TextOptions(**options), allow_missing=allow_missing)
    lines = say if say is not None else []
    return reading.rows(spark, files, known or TableColumns(), lines.append)


def rows(frame: DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """The rows in their files' order, with `_raw` and `_corrupt` only where they are asked for."""
    ordered = frame.orderBy(SOURCE_FILE, SOURCE_ROW)
    wanted = columns or [name for name in frame.columns if name not in (RAW, CORRUPT, SOURCE_FILE, SOURCE_ROW)]
    return [tuple(row) for row in ordered.select(*(f"`{name}`" for name in wanted)).collect()]


def write(path: Path, text: str | bytes) -> Path:
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def on_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even small files are surveyed on Spark's workers, each a task."""
    monkeypatch.setattr(text_module, "_AT_ONCE", 0)
    monkeypatch.setattr(workers, "_SMALLEST", 1)
    monkeypatch.setattr(workers, "_LARGEST", 1)


class TestDelimited:
    def test_types_are_inferred_and_said(self, spark: SparkSession, tmp_path: Path) -> None:
        path = write(
            tmp_path / "x.csv", "id,code,price,day,at,yes,nothing\n1,007,1.5,2024-01-31,2024-01-31T10:00Z,true,\n"
        )
        said: list[str] = []
        frame = read(spark, path, say=said)
        assert frame.dtypes == [
            ("id", "bigint"), ("code", "string"), ("price", "double"), ("day", "date"), ("at", "timestamp"),
            ("yes", "boolean"), ("nothing", "string"), (RAW, "map<string,string>"), (CORRUPT, "string"),
            (SOURCE_FILE, "string"), (SOURCE_ROW, "bigint"),
        ]  # fmt: skip
        assert said == [
            "columns: id bigint, code string, price double, day date, at timestamp, yes boolean, nothing string"
        ]

    @pytest.mark.usefixtures("on_workers")
    def test_row_numbers_are_the_records_of_each_file(self, spark: SparkSession, tmp_path: Path) -> None:
        write(tmp_path / "a.csv", 'id,note\r\n1,"two\r\nlines"\r\n\r\n2,"a ""quote"""\r\nbad\r\n3,ü')
        write(tmp_path / "b.csv.gz", "\ufeffnote,id\nx,4\n,5\n")
        frame = read(spark, tmp_path)
        a, b = f"{tmp_path}/a.csv", f"{tmp_path}/b.csv.gz"
        assert rows(frame, "id", "note", CORRUPT, SOURCE_FILE, SOURCE_ROW) == [
            (1, "two\r\nlines", None, a, 1),
            (2, 'a "quote"', None, a, 2),
            (None, None, "bad", a, 3),
            (3, "ü", None, a, 4),
            (4, "x", None, b, 1),
            (5, None, None, b, 2),
        ]

    def test_what_does_not_fit_is_kept(self, spark: SparkSession, tmp_path: Path) -> None:
        known = TableColumns({"id": "int", "price": "decimal(5,2)", "at": "timestamp"})
        path = write(tmp_path / "x.csv", "id,price,at\n1,1.5,2024-01-01\n3000000000,1.239,soon\n,,\n")
        assert rows(read(spark, path, known=known), "id", "price", "at", RAW) == [
            (1, Decimal("1.50"), datetime(2024, 1, 1), None),
            (None, None, None, {"id": "3000000000", "price": "1.239", "at": "soon"}),
            (None, None, None, None),
        ]

    def test_options(self, spark: SparkSession, tmp_path: Path) -> None:
        path = write(tmp_path / "x.txt", "1;NA;'a;b'\n2;x;''\n".encode("utf-16"))
        frame = read(
            spark, path, kind=Format.CSV, delimiter=";", quote="'", header=False, encoding="utf-16",
            null_values=("NA", ""),
        )  # fmt: skip
        assert rows(frame, "column_1", "column_2", "column_3") == [(1, None, "a;b"), (2, "x", "")]

    def test_without_a_header_the_columns_are_the_tables(self, spark: SparkSession, tmp_path: Path) -> None:
        path = write(tmp_path / "x.tsv", "1\ta\n2\tb\tc\n")
        known = TableColumns({"id": "bigint", "name": "string"})
        assert rows(read(spark, path, known=known, header=False), "id", "name", CORRUPT) == [
            (1, "a", None), (None, None, "2\tb\tc")
        ]  # fmt: skip
        with pytest.raises(InputDataError, match=r"has 2 fields, but .* has 1 columns"):
            read(spark, path, known=TableColumns({"id": "bigint"}), header=False)

    def test_a_wrong_delimiter_is_noticed(self, spark: SparkSession, tmp_path: Path) -> None:
        path = write(tmp_path / "x.csv", "id;name\n1;a\n")
        with pytest.raises(InputDataError, match="starts with one field, 'id;name'") as caught:
            read(spark, path)
        assert caught.value.hint == "Say --delimiter, perhaps ';'; or ',' if it has one column."
        assert rows(read(spark, path, delimiter=",")) == [("1;a",)]

    def test_headers_that_are_no_names(self, spark: SparkSession, tmp_path: Path) -> None:
        path = write(tmp_path / "x.csv", 'Sales ($),a,a,,_raw,"`x`; DROP TABLE y",größe\n1,2,3,4,5,6,7\n')
        frame = read(spark, path)
        assert frame.columns[:7] == ["Sales", "a", "a_2", "column_4", "_raw_", "x_DROP_TABLE_y", "größe"]
        assert rows(frame) == [(1, 2, 3, 4, 5, 6, 7)]

    def test_a_new_column_gets_a_type_and_known_ones_keep_theirs(self, spark: SparkSession, tmp_path: Path) -> None:
        path = write(tmp_path / "x.csv", "ID,age\n1,7\n")
        said: list[str] = []
        frame = read(spark, path, known=TableColumns({"id": "string"}), say=said)
        assert frame.dtypes[:2] == [("id", "string"), ("age", "bigint")]
        assert said == ["new columns: age bigint"]

    def test_a_dropped_column(self, spark: SparkSession, tmp_path: Path) -> None:
        path = write(tmp_path / "x.csv", "id\n1\n")
        known = TableColumns({"id": "int", "name": "string"})
        with pytest.raises(ContractError, match=r"x\.csv lacks name"):
            read(spark, path, known=known)
        assert rows(read(spark, path, known=known, allow_missing=True)) == [(1, None)]

    def test_files_without_rows(self, spark: SparkSession, tmp_path: Path) -> None:
        known = TableColumns({"id": "int"})
        header, empty = write(tmp_path / "header.csv", "id\n"), write(tmp_path / "none.csv", "")
        assert rows(read(spark, header, known=known)) == []
        assert rows(read(spark, empty, known=known)) == []
        assert rows(read(spark, empty, header, write(tmp_path / "some.csv", "id\n1\n"))) == [(1,)]
        with pytest.raises(InputDataError, match="contains no row, so no types can be inferred"):
            read(spark, header)
        with pytest.raises(InputDataError, match="contain no columns"):
            read(spark, empty)

    def test_a_column_that_is_all_null_in_one_of_the_files(self, spark: SparkSession, tmp_path: Path) -> None:
        write(tmp_path / "a.csv", "id,n\n1,\n")
        write(tmp_path / "b.csv", "id,n\n2,5\n")
        frame = read(spark, tmp_path)
        assert dict(frame.dtypes)["n"] == "bigint"
        assert rows(frame) == [(1, None), (2, 5)]

    @pytest.mark.usefixtures("on_workers")
    @pytest.mark.parametrize(
        ("name", "data", "message"),
        [
            ("x.csv", b"id\n1\n\xff\n", "is not utf-8: byte 0xff at offset 5"),
            ("x.csv", b'id\n1\n"2\n', "record 2 opens a quote that never closes"),
            ("x.csv.gz", gzip.compress(b"id\n" + b"1\n" * 10_000, mtime=0)[:-9], "is a truncated gzip"),
        ],
    )
    def test_errors_of_the_workers_come_in_words(
        self, spark: SparkSession, tmp_path: Path, name: str, data: bytes, message: str
    ) -> None:
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(AsgardError, match=message) as caught:
            read(spark, path)
        assert isinstance(caught.value, InputDataError)
        assert caught.value.hint

    def test_a_file_that_changes_between_hash_and_write(self, spark: SparkSession, tmp_path: Path) -> None:
        path = write(tmp_path / "x.csv", "id\n1\n")
        frame = read(spark, path)
        write(path, "id\n2\n")
        with pytest.raises(Exception, match="changed") as caught:
            frame.collect()
        assert explain(caught.value, "Reading").message.endswith("was being ingested: nothing was published.")

    @settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        table=st.lists(
            st.tuples(*[st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)] * 3),
            min_size=1,
            max_size=40,
        ),
        end=st.sampled_from(["\n", "\r\n"]),
        zipped=st.booleans(),
    )
    def test_any_text_survives(
        self, spark: SparkSession, tmp_path: Path, table: Sequence[Sequence[str | None]], end: str, zipped: bool
    ) -> None:
        def field(value: str | None) -> str:
            return "" if value is None else '"' + value.replace('"', '""') + '"'

        text = end.join([",".join(("a", "b", "c")), *(",".join(map(field, row)) for row in table)])
        path = write(tmp_path / f"x.csv{'.gz' if zipped else ''}", text)
        frame = read(spark, path, known=TableColumns(dict.fromkeys("abc", "string")))
        assert rows(frame) == list(table)
        assert rows(frame, SOURCE_ROW) == [(place,) for place in range(1, len(table) + 1)]
        path.unlink()

    def test_a_file_of_pythons_own_csv_writer(self, spark: SparkSession, tmp_path: Path) -> None:
        table = [("1", 'a"b'), ("2", "x\ny"), ("3", "a,b"), ("4", "")]
        with (tmp_path / "x.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("id", "t"), *table])
        found = rows(read(spark, tmp_path / "x.csv"))
        assert found == [(int(number), text or None) for number, text in table]


class TestNumbers:
    def test_digits_that_a_double_lacks_are_kept_whatever_the_format(self, spark: SparkSession, tmp_path: Path) -> None:
        large = [2**53, 2**53 + 1, 2**63 - 1]
        texts = "".join(f"{number}\n" for number in large)
        objects = "".join(f'{{"v": {number}}}\n' for number in large)
        paths = [
            write(tmp_path / "a.csv", f"v\n{texts}"),
            write(tmp_path / "a.tsv", f"v\n{texts}"),
            write(tmp_path / "a.jsonl", objects),
            write(tmp_path / "a.json", f"[{','.join(objects.splitlines())}]"),
        ]
        for kind in (pa.int64(), pa.decimal128(38, 0), pa.string()):
            values = [str(number) if kind == pa.string() else number for number in large]
            paths.append(tmp_path / f"{kind}.parquet")
            pq.write_table(pa.table({"v": pa.array(values, kind)}), paths[-1])
        for path in paths:
            frame = read(spark, path, known=TableColumns({"v": "double"}))
            assert rows(frame, "v", RAW) == [
                (2.0**53, None), (None, {"v": str(2**53 + 1)}), (None, {"v": str(2**63 - 1)})
            ], path  # fmt: skip


class TestJson:
    @pytest.mark.usefixtures("on_workers")
    @pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.json"])
    def test_objects(self, spark: SparkSession, tmp_path: Path, name: str) -> None:
        objects = [{"id": 1, "tags": ["a", {"b": 1.10}]}, {"id": 2, "name": "ü\n", "tags": None}, {"id": 3}]
        lines = "\n".join(json.dumps(each) for each in objects)
        path = write(tmp_path / name, lines if "jsonl" in name else json.dumps(objects, indent=2))
        frame = read(spark, path)
        assert dict(frame.dtypes)["id"] == "bigint"
        assert rows(frame, "id", "tags", "name", SOURCE_ROW) == [
            (1, '["a",{"b":1.1}]', None, 1), (2, None, "ü\n", 2), (3, None, None, 3)
        ]  # fmt: skip

    def test_json_says_itself_what_is_a_string(self, spark: SparkSession, tmp_path: Path) -> None:
        path = write(
            tmp_path / "x.jsonl", '{"zip": "12345", "n": 5, "at": "2024-01-31T10:00:00Z", "m": 1}\n{"m": "2"}\n'
        )
        frame = read(spark, path)
        assert frame.dtypes[:4] == [("zip", "string"), ("n", "bigint"), ("at", "timestamp"), ("m", "string")]

    def test_broken_lines_are_kept(self, spark: SparkSession, tmp_path: Path) -> None:
        path = write(tmp_path / "x.jsonl", '{"id": 1}\n{"id": \n{"id": "x"}\n')
        assert rows(read(spark, path, known=TableColumns({"id": "int"})), "id", RAW, CORRUPT, SOURCE_ROW) == [
            (1, None, None, 1), (None, None, '{"id": ', 2), (None, {"id": "x"}, None, 3)
        ]  # fmt: skip

    def test_keys_may_lack_in_some_files_but_not_in_all(self, spark: SparkSession, tmp_path: Path) -> None:
        known = TableColumns({"id": "int", "name": "string"})
        write(tmp_path / "a.jsonl", '{"id": 1}\n')
        with pytest.raises(ContractError, match="lacks name"):
            read(spark, tmp_path, known=known)
        write(tmp_path / "b.jsonl", '{"name": "x", "age": 7}\n')
        assert rows(read(spark, tmp_path, known=known)) == [(1, None, None), (None, "x", 7)]

    def test_keys_that_would_be_one_column(self, spark: SparkSession, tmp_path: Path) -> None:
        path = write(tmp_path / "x.jsonl", '{"a b": 1}\n{"a_b": 2}\n')
        assert rows(read(spark, path), "a_b", "a_b_2") == [(1, None), (None, 2)]


class TestParquet:
    def test_nanoseconds_of_pandas(self, spark: SparkSession, tmp_path: Path) -> None:
        moments = pa.array([0, 1_704_103_200_123_456_000, 1_704_103_200_123_456_789, None])
        table = pa.table(
            {"at": moments.cast(pa.timestamp("ns")), "zoned": moments.cast(pa.timestamp("ns", "Europe/Berlin"))}
        )
        pq.write_table(table, tmp_path / "x.parquet")
        exact, cut = datetime(1970, 1, 1), datetime(2024, 1, 1, 10, 0, 0, 123456)
        text = "2024-01-01 10:00:00.123456789"
        assert rows(read(spark, tmp_path / "x.parquet"), "at", "zoned", RAW) == [
            (exact, exact, None), (cut, cut, None), (cut, cut, {"at": text, "zoned": text}), (None, None, None)
        ]  # fmt: skip

    def test_times_of_all_kinds_become_utc(self, spark: SparkSession, tmp_path: Path) -> None:
        moment = datetime(2024, 3, 31, 2, 30, 0, 1000)
        micros = pa.array([moment], pa.timestamp("us"))
        zoned = pa.array([moment.replace(tzinfo=UTC)], pa.timestamp("us", "Asia/Kolkata"))
        table = pa.table({"local": micros, "millis": pa.array([moment], pa.timestamp("ms")), "zoned": zoned})
        pq.write_table(table, tmp_path / "a.parquet")
        pq.write_table(pa.table({"local": micros}), tmp_path / "b.parquet", use_deprecated_int96_timestamps=True)
        frame = read(spark, tmp_path / "a.parquet")
        assert {kind for name, kind in frame.dtypes if not name.startswith("_")} == {"timestamp"}
        assert rows(frame) == [(moment, moment, moment)]
        assert rows(read(spark, tmp_path / "b.parquet")) == [(moment,)]

    def test_row_numbers_across_row_groups_and_files(self, spark: SparkSession, tmp_path: Path) -> None:
        odd = tmp_path / "a b%20#[1]{x}ü?.parquet"
        pq.write_table(pa.table({"n": list(range(1, 101))}), odd, row_group_size=7)
        pq.write_table(pa.table({"n": list(range(1, 11))}), tmp_path / "c.parquet")
        session = spark.newSession()
        session.conf.set("spark.sql.files.maxPartitionBytes", "500")
        session.conf.set("spark.sql.files.openCostInBytes", "100")
        frame = read(session, tmp_path)
        assert frame.rdd.getNumPartitions() > 2
        found = rows(frame, "n", SOURCE_ROW, SOURCE_FILE)
        assert all(number == row for number, row, _ in found)
        assert [sum(name == str(path) for *_, name in found) for path in (odd, tmp_path / "c.parquet")] == [100, 10]

    def test_files_with_different_columns_and_types(self, spark: SparkSession, tmp_path: Path) -> None:
        pq.write_table(pa.table({"id": pa.array([1], pa.int32()), "v": [1.5]}), tmp_path / "a.parquet")
        pq.write_table(pa.table({"V": [2.5], "id": pa.array([2**40]), "new": ["x"]}), tmp_path / "b.parquet")
        frame = read(spark, tmp_path, known=TableColumns({"id": "int"}))
        assert rows(frame, "id", "v", "new", RAW) == [
            (1, 1.5, None, None), (None, 2.5, "x", {"id": str(2**40)})
        ]  # fmt: skip

    def test_names_nested_values_and_numbers(self, spark: SparkSession, tmp_path: Path) -> None:
        table = pa.table({
            "Sales ($)": pa.array([Decimal("1.50")], pa.decimal128(10, 2)), "a.b": [[1, 2]], "`c": [{"x": "y"}],
            "u": pa.array([2**63 + 1], pa.uint64()), "f": pa.array([float("nan")]),
            "d": pa.array(["k"]).dictionary_encode(),
        })  # fmt: skip
        pq.write_table(table, tmp_path / "x.parquet")
        frame = read(spark, tmp_path / "x.parquet")
        assert frame.columns[:6] == ["Sales", "a_b", "c", "u", "f", "d"]
        ((sales, listed, struct, unsigned, nan, text),) = rows(frame)
        assert (sales, listed, struct["x"], unsigned, text) == (Decimal("1.50"), [1, 2], "y", 2**63 + 1, "k")
        assert nan != nan

    def test_files_that_spark_would_pass_over(self, spark: SparkSession, tmp_path: Path) -> None:
        moments = pa.array([1_704_103_200_123_456_789, None])
        table = pa.table(
            {
                "at": moments.cast(pa.timestamp("ns")),
                "local": moments.cast(pa.timestamp("ns")).cast(pa.timestamp("us"), safe=False),
                "u": pa.array([1, 2**64 - 1], pa.uint64()),
                "s": pa.array(["x", None], pa.large_string()).dictionary_encode(),
                "n": [{"x": [1, None]}, None],
                "b": pa.array([b"ab", None], pa.binary(2)),
                "day": pa.array([0, None], pa.date64()),
            }
        )
        pq.write_table(table, tmp_path / "_x.parquet")
        pq.write_table(table, tmp_path / "x.parquet")
        hidden, plain = read(spark, tmp_path / "_x.parquet"), read(spark, tmp_path / "x.parquet")
        assert hidden.dtypes == plain.dtypes
        assert rows(hidden, *hidden.columns[:8], SOURCE_ROW) == rows(plain, *plain.columns[:8], SOURCE_ROW)
        assert hidden.columns[7] == RAW

    def test_an_empty_file(self, spark: SparkSession, tmp_path: Path) -> None:
        pq.write_table(pa.table({"id": pa.array([], pa.int64())}), tmp_path / "x.parquet")
        frame = read(spark, tmp_path / "x.parquet")
        assert frame.dtypes[0] == ("id", "bigint")
        assert rows(frame) == []

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            (pa.table({"t": pa.array([1], pa.time64("us"))}), "column t is time64.us., a time of day"),
            (pa.table({"id": [1], "ID": [2]}), "differ only in case"),
        ],
    )
    def test_what_spark_can_not_read(self, spark: SparkSession, tmp_path: Path, table: pa.Table, message: str) -> None:
        pq.write_table(table, tmp_path / "x.parquet")
        with pytest.raises(InputDataError, match=message):
            read(spark, tmp_path / "x.parquet")

    @pytest.mark.parametrize("data", [b"", b"PAR1", b"id\n1\n", gzip.compress(b"PAR1", mtime=0)])
    def test_what_is_no_parquet(self, spark: SparkSession, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "x.parquet").write_bytes(data)
        with pytest.raises(InputDataError, match=r"x\.parquet is not a readable Parquet file"):
            read(spark, tmp_path / "x.parquet")
