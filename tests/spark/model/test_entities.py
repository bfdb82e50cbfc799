"""Keys of entities from files and object stores: in their types, or refused in words."""

import csv
import gzip
import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from tests.support.s3 import Bucket

from asgard.common.errors import UsageError
from asgard.common.settings import Settings
from asgard.model.batch import entities as entities_module
from asgard.model.batch.entities import Entities, entities_frame

ONE = {"customer_id": "bigint"}


def read(spark: SparkSession, source: str, types: Mapping[str, str] = ONE, settings: Settings | None = None) -> Any:
    """The keys, in order."""
    attempt: Any = SimpleNamespace(session=spark, lake=SimpleNamespace(settings=settings), say=print)
    frame = entities_frame(attempt, Entities(source), types)
    assert dict(frame.dtypes) == dict(types)
    return sorted(tuple(row) for row in frame.collect())


def test_keys_of_a_csv_get_their_types(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "keys.csv"
    path.write_text(
        "shop,customer_id,why,day\noslo,3,asked,2024-01-02\noslo,3,twice,2024-01-02\nbergen, 5 ,x,2024-02-03\n"
    )
    types = {"customer_id": "bigint", "shop": "string", "day": "date"}
    expected = [(3, "oslo", date(2024, 1, 2)), (5, "bergen", date(2024, 2, 3))]
    for source in (str(path), path.as_uri()):
        assert read(spark, source, types) == expected


def test_keys_behind_a_file_without_rows_are_there_too(spark: SparkSession) -> None:
    tables = [pa.table({"customer_id": pa.array(keys, pa.int64())}) for keys in ([1, 2], [], [3])]
    together = entities_module._together(tables)
    assert [batch.num_rows for batch in together.to_batches()] == [2, 1]
    assert [row[0] for row in spark.createDataFrame(together).collect()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1\nfive\n\n2\n", "1 of 3 keys of keys.csv are not bigint: five"),
        ("1.50\n2.00\n", "1 of 2 keys of keys.csv are not bigint: 1.50"),
        ("1.5\n1\n", "1 of 2 keys of keys.csv are not bigint: 1.5"),
        ("a\nb\nc\nd\n1\n", "4 of 5 keys of keys.csv are not bigint: a, b, c, ..."),
        ('""\n1\n', "1 of 2 keys of keys.csv are not bigint: ''"),
        ("null\n1\n", "1 of 2 keys of keys.csv are not bigint: null"),
        ("99999999999999999999\n", "1 of 1 keys of keys.csv are not bigint: 99999999999999999999"),
        ("", "keys.csv names no entity."),
    ],
)
def test_keys_that_are_none_are_counted_and_named(spark: SparkSession, tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "keys.csv").write_text(f"customer_id\n{rows}")
    with pytest.raises(UsageError) as caught:
        read(spark, str(tmp_path / "keys.csv"))
    assert caught.value.message == message
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_csv_is_read_as_everywhere_else(spark: SparkSession, tmp_path: Path) -> None:
    """Doubled quotes, line breaks in quotes, a byte-order mark, CRLF, gzip, tabs: what ingest reads, too."""
    names = ['say "hi"', "two\r\nlines", "a,b", " x ", "", "a\tb", "\u00fc"]
    types = {"name": "string", "n": "bigint"}
    expected = sorted((name, place) for place, name in enumerate(names))
    for name, delimiter, encoding in (
        ("a.csv", ",", "utf-8-sig"),
        ("b.tsv", "\t", "utf-8"),
        ("c.csv.gz", ",", "utf-8"),
    ):
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
        writer.writerows([("n", "name"), *((f"{place}.0", name) for place, name in enumerate(names))])
        data = text.getvalue().encode(encoding)
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        assert read(spark, str(tmp_path / name), types) == expected
        assert read(spark, (tmp_path / name).as_uri(), types) == expected
    (tmp_path / "d.csv").write_text("n,name\n8,d\n")
    assert read(spark, str(tmp_path / "[ad].csv"), types) == sorted([*expected, ("d", 8)])


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("keys.csv", b"customer_id;why\n1;x\n", "keys.csv can't be read: .* starts with one field, 'customer_id;why'"),
        ("keys.csv", b"customer_id,why\n1,x\n2\n", "keys.csv: record 2 can't be parsed: '2'"),
        ("keys.csv", b"customer_id\n1\n2\r3\n", r"keys.csv: record 2 can't be parsed: '2\\r3'"),
        ("keys.csv", b'customer_id\n"1\n', "keys.csv can't be read: .* opens a quote that never closes"),
        ("keys.csv", b"PK\x03\x04", "is not text: its first bytes are those of a zip archive"),
        ("keys.csv", "customer_id\n1\n".encode("utf-16"), "is not utf-8: its byte-order mark says utf-16-le"),
        ("keys.csv", b"customer_id,customer_id\n1,2\n", "keys.csv names customer_id twice"),
        ("keys.csv", b"", "keys.csv lacks customer_id"),
    ],
)
def test_a_csv_that_can_not_be_taken_apart(
    spark: SparkSession, tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=message) as caught:
        read(spark, str(tmp_path / name))
    assert caught.value.hint
    assert "--" not in caught.value.hint


def test_keys_at_an_address_that_only_spark_reaches(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hadoop's own schemes: its files come here as bytes, and are read by the same reader."""
    (tmp_path / "keys.csv").write_bytes(b'customer_id,why\r\n1,"a ""b""\r\n,"\r\n')
    monkeypatch.setattr(entities_module, "_where", lambda entities: (tmp_path / "keys.csv").as_uri())
    assert read(spark, "viewfs://cluster/keys.csv") == [(1,)]


def test_several_keys_are_named_with_their_columns(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "keys.csv").write_text("customer_id,day\n1,2024-02-30\n")
    with pytest.raises(UsageError, match=r"are not bigint, date: \(customer_id 1, day 2024-02-30\)"):
        read(spark, str(tmp_path / "keys.csv"), {**ONE, "day": "date"})


def test_a_number_of_another_type_is_taken_if_it_is_the_same(spark: SparkSession, tmp_path: Path) -> None:
    whole, broken, days = tmp_path / "whole.parquet", tmp_path / "broken.parquet", tmp_path / "days.parquet"
    pd.DataFrame({"customer_id": [3.0, 4.0]}).to_parquet(whole)
    assert read(spark, str(whole)) == [(3,), (4,)]
    pd.DataFrame({"customer_id": [3.0, 4.5, None]}).to_parquet(broken)
    with pytest.raises(UsageError, match=r"2 of 3 keys of broken\.parquet are not bigint: (4\.5|null|nan)"):
        read(spark, str(broken))
    pd.DataFrame({"customer_id": [date(2024, 1, 1)]}).to_parquet(days)
    with pytest.raises(
        UsageError, match=r"Keys of days.parquet are customer_id date, and can't become customer_id bigint"
    ):
        read(spark, str(days))


def test_what_can_not_be_read_is_said_in_words(spark: SparkSession, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1 and nothing else")
    for source, message in (
        (str(damaged), "damaged.parquet can't be read"),
        ((tmp_path / "gone.csv").as_uri(), "gone.csv can't be read"),
        ("nowhere://bucket/keys.csv", "nowhere://bucket/keys.csv can't be read"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            read(spark, source)
        assert "\tat " not in str(caught.value)
    (tmp_path / "keys.csv").write_text("household\n1\n")
    with pytest.raises(UsageError, match=r"keys.csv lacks customer_id"):
        read(spark, str(tmp_path / "keys.csv"))


def test_keys_on_s3(spark: SparkSession, bucket: Bucket, project: Settings, tmp_path: Path) -> None:
    pq.write_table(pa.table({"customer_id": [7, 8, 8], "why": ["a", "b", "c"]}), tmp_path / "x.parquet")
    bucket.objects = {
        "vip.parquet": (tmp_path / "x.parquet").read_bytes(),
        "vip.csv": b"customer_id,why\n007,a\n8,b\n",
        "odd.csv": b"customer_id\nseven\n",
        "in/a.csv": b"customer_id\n1\n",
        "in/b.csv": b"why,customer_id\nx,2\n",
    }
    settings = replace(project, s3_endpoint=bucket.endpoint, aws_region="eu-central-1")
    for source in ("s3://landing/vip.parquet", "s3a://landing/vip.csv"):
        assert read(spark, source, settings=settings) == [(7,), (8,)]
    assert read(spark, "s3://landing/in/*.csv", settings=settings) == [(1,), (2,)]
    assert read(spark, "s3://landing/vip.csv", {"customer_id": "string"}, settings) == [("007",), ("8",)]
    with pytest.raises(UsageError, match=r"1 of 1 keys of odd.csv are not bigint: seven"):
        read(spark, "s3://landing/odd.csv", settings=settings)
    with pytest.raises(UsageError, match=r"vip.csv lacks household"):
        read(spark, "s3://landing/vip.csv", {"household": "string"}, settings)
