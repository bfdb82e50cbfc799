"""Labels as people have them: files whose texts a reader would take for something else, and tables."""

import json
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from tests.conftest import Fresh
from tests.support.customer_views import START, gold, put, registered, view_of

from asgard.common.errors import ContractError, UsageError
from asgard.features import register
from asgard.features.joins.labels import Labels
from asgard.features.pinned import PinnedView
from asgard.features.training_sets.build import SetRequest, build
from asgard.features.views import Feature, feature_view
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.declaring.declaration import declare_table
from asgard.lakehouse.runs.run import RunRequest, execute

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Views = tuple[PinnedView, ...]


@pytest.fixture(scope="module")
def by_code(lake: Lakehouse, spark: "SparkSession") -> Views:
    """A view of which the key is text that looks like numbers and dates."""
    table = declare_table(str(Fresh().table("gold")), mode="append")
    rows = [("007", START, 7.0), ("7", START, 70.0), ("2024-01-01", START, 1.0)]
    frame = spark.createDataFrame(rows, "code string, event_timestamp timestamp, amount double")
    execute(lake, RunRequest("test"), lambda attempt: attempt.write(table, frame), lambda _line: None)
    view = feature_view(
        f"view_{table.name.name}", table=str(table.name), keys="code", features=[Feature("amount", "double")]
    )
    return registered(lake, view)


@pytest.fixture(scope="module")
def by_number(lake: Lakehouse, spark: "SparkSession") -> Views:
    """A view of which the key is a number."""
    table = gold(Fresh())
    put(lake, table, [(1, 0, 1.0, 1)])
    return registered(lake, view_of(table))


def made(lake: Lakehouse, views: Views, path: Path) -> list[tuple[Any, ...]]:
    """The set of a file of labels: amount, time and its type."""
    built = build(lake, SetRequest(views, Labels(str(path))), path.parent / "set.parquet", say=lambda _line: None)
    return duckdb.sql(
        f"SELECT amount, epoch_us(event_timestamp) // 1000000, typeof(event_timestamp) FROM '{built.path}' ORDER BY ALL"
    ).fetchall()


@pytest.mark.parametrize(("separator", "ending"), [(",", "csv"), ("\t", "tsv")])
def test_digits_join_a_text_key_as_they_are_written(
    lake: Lakehouse, by_code: Views, tmp_path: Path, separator: str, ending: str
) -> None:
    path = tmp_path / f"labels.{ending}"
    lines = [("code", "event_timestamp"), *((code, "2024-01-02") for code in ("007", "7", "07", "2024-01-01"))]
    path.write_text("".join(f"{separator.join(line)}\n" for line in lines))
    assert [row[0] for row in made(lake, by_code, path)] == [1.0, 7.0, 70.0, None]


def test_a_csv_is_read_as_everywhere_else(lake: Lakehouse, by_code: Views, tmp_path: Path) -> None:
    """Quotes, doubled and around line breaks, a byte-order mark, CRLF; types as ingest infers, long numbers too."""
    path = tmp_path / "labels.csv"
    lines = (
        "note,code,event_timestamp,y,long,n,yes,day,at,id\r\n",
        '"say ""hi""\r\n, twice",007,2024-01-02,0.5,0.10000000000000001,1,true,2024-01-31,2024-01-31T10:00,00123\r\n',
        ',"7",2024-01-02,"",1,,,,,12345678901234567890\r\n',
    )
    path.write_bytes("".join(lines).encode("utf-8-sig"))
    built = build(lake, SetRequest(by_code, Labels(str(path))), tmp_path / "set.parquet", say=lambda _line: None)
    found = duckdb.sql(f"SELECT note, y, long, n, yes, day, \"at\", id, amount FROM '{built.path}' ORDER BY amount")
    assert list(map(str, found.types)) == [
        "VARCHAR", "DOUBLE", "DOUBLE", "BIGINT", "BOOLEAN", "DATE", "TIMESTAMP", "VARCHAR", "DOUBLE",
    ]  # fmt: skip
    assert found.fetchall() == [
        ('say "hi"\r\n, twice', 0.5, 0.1, 1, True, date(2024, 1, 31), datetime(2024, 1, 31, 10), "00123", 7.0),
        (None, None, 1.0, None, None, None, None, "12345678901234567890", 70.0),
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"code;event_timestamp\n007;2024-01-02\n", "starts with one field, 'code;event_timestamp'"),
        (b"code,event_timestamp\n007,2024-01-02,1\n", "record 1 can't be parsed: '007,2024-01-02,1'"),
        ("code,event_timestamp\n".encode("utf-16"), "its byte-order mark says utf-16-le"),
        (b"", "is empty"),
    ],
)
def test_a_csv_that_can_not_be_taken_apart(
    lake: Lakehouse, by_code: Views, tmp_path: Path, data: bytes, message: str
) -> None:
    (tmp_path / "labels.csv").write_bytes(data)
    with pytest.raises(UsageError, match=message):
        made(lake, by_code, tmp_path / "labels.csv")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("2024-01-02", 0), ("2024-01-02 00:00:01", 1), ("2024-01-02T02:00:00+02:00", 0), ("2024-01-02T00:00:05Z", 5)],
)
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_times_come_out_as_timestamps(
    lake: Lakehouse, by_number: Views, tmp_path: Path, written: str, seconds: int, ending: str
) -> None:
    path = tmp_path / f"labels.{ending}"
    label = {"customer_id": 1, "event_timestamp": written}
    path.write_text(json.dumps(label) + "\n" if ending == "jsonl" else f"customer_id,event_timestamp\n1,{written}\n")
    second = int(START.timestamp()) + 86_400 + seconds
    assert made(lake, by_number, path) == [(1.0, second, "TIMESTAMP WITH TIME ZONE")]


@pytest.mark.parametrize(
    "times",
    [
        ("2024-01-01T00:00:00+01:00", "2024-01-01T00:00:00+02:00"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00"),
        ("2024-01-01T00:00:00Z", "2024-01-01"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_several_zones_are_refused_whatever_the_file(
    lake: Lakehouse, by_number: Views, tmp_path: Path, times: tuple[str, str], ending: str
) -> None:
    path = tmp_path / f"labels.{ending}"
    rows = " UNION ALL ".join(f"SELECT 1 AS customer_id, '{time}' AS event_timestamp" for time in times)
    if ending == "jsonl":
        path.write_text("".join(json.dumps({"customer_id": 1, "event_timestamp": time}) + "\n" for time in times))
    else:
        duckdb.sql(f"COPY ({rows}) TO '{path}'")
    with pytest.raises(UsageError, match="mixes time zones"):
        made(lake, by_number, path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.parquet", b"PAR1 and nothing more"),
        ("labels.jsonl", b'{"customer_id": 1, "event_timestamp": "2024-01-01"}\n{"customer_id": \n'),
        ("labels.csv.gz", b"\x1f\x8b\x08\x00 cut off"),
    ],
)
def test_a_damaged_file(lake: Lakehouse, by_number: Views, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=r"(?s)can't be read: .*hint: (Does its ending|Fetch the file again)"):
        made(lake, by_number, tmp_path / name)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("struct<a: int>", "named_struct('a', 1)"),
        ("map<string, int>", "map('a', 1)"),
        ("binary", "X'01'"),
        ("double", "1.0D"),
        ("array<int>", "array(1)"),
    ],
)
def test_what_names_no_entity_is_refused(
    lake: Lakehouse, spark: "SparkSession", fresh: Fresh, kind: str, value: str
) -> None:
    table = declare_table(str(fresh.table("gold")), mode="append")
    rows = spark.sql(f"SELECT {value} AS code, timestamp'2024-01-01' AS event_timestamp, 1D AS amount, {value} AS tie")
    execute(lake, RunRequest("test"), lambda attempt: attempt.write(table, rows), lambda _line: None)
    given: dict[str, Any] = {"table": str(table.name), "features": [Feature("amount", "double")]}
    said = kind.partition("<")[0]
    with pytest.raises(ContractError, match=f"key code is {said}.*, which can't identify an entity"):
        register.plan(lake, [feature_view("points", keys="code", **given)], resolve(lake, None))
    with pytest.raises(ContractError, match=f"tie-break tie is {said}.*, which has no order" if "<" in kind else "key"):
        register.plan(lake, [feature_view("points", keys="code", tie_break="tie", **given)], resolve(lake, None))
