"""Ingest from S3, at the HTTP boundary."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import Fresh
from tests.support.runs import rows_of
from tests.support.s3 import Bucket

from asgard.common.errors import InputDataError
from asgard.jobs.ingest_job import IngestResult, Params, bronze_table, run
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.run import Status


def ingest(lake: Lakehouse, bucket: Bucket, table: object, *sources: str) -> IngestResult:
    settings = replace(lake.settings, s3_endpoint=bucket.endpoint, aws_region="eu-central-1")
    return run(Params(bronze_table(str(table)), sources), Lakehouse(settings))


def test_folders_globs_and_objects(lake: Lakehouse, bucket: Bucket, fresh: Fresh) -> None:
    table = fresh.table("bronze")
    bucket.objects = {
        "in/a.csv": b"id\n1\n",
        "in/deep/b.csv": b"id\n2\n3\n",
        "in/_c.csv": b"id\n4\n",
        "in/deep/odd #1?+.csv": b"id\n5\n",
    }
    first = ingest(lake, bucket, table, "s3://landing/in/")
    assert [entry.source for entry in first.landed.entries] == [
        "s3://landing/in/a.csv", "s3://landing/in/deep/b.csv", "s3://landing/in/deep/odd #1?+.csv"
    ]  # fmt: skip
    second = ingest(lake, bucket, table, "s3a://landing/in/*.csv", "s3://landing/in/**/b.csv")
    assert [entry.source for entry in second.landed.entries] == ["s3://landing/in/_c.csv"]
    assert ingest(lake, bucket, table, "s3://landing/in/a.csv").run.status is Status.UNCHANGED
    assert rows_of(lake, table, "id") == [(n,) for n in range(1, 6)]
    with pytest.raises(InputDataError, match="matches no file"):
        ingest(lake, bucket, table, "s3://landing/nowhere/")


def test_parquet(lake: Lakehouse, bucket: Bucket, fresh: Fresh, tmp_path: Path) -> None:
    moments = pa.array([1_704_103_200_123_456_000] * 30_000).cast(pa.timestamp("ns"))
    pq.write_table(
        pa.table({"id": list(range(1, 30_001)), "at": moments}), tmp_path / "x.parquet", row_group_size=7_000
    )
    bucket.objects = {"x.parquet": (tmp_path / "x.parquet").read_bytes()}
    table = fresh.table("bronze")
    result = ingest(lake, bucket, table, "s3://landing/x.parquet")
    assert (result.landed.rows, result.landed.misfits) == (30_000, 0)
    frame = lake.frame(table, "main")
    assert frame.where("id = _source_row AND at = timestamp '2024-01-01 10:00:00.123456'").count() == 30_000


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_an_object_that_is_replaced_meanwhile(
    lake: Lakehouse, bucket: Bucket, fresh: Fresh, tmp_path: Path, name: str
) -> None:
    def content(number: int) -> bytes:
        if name == "x.csv":
            return f"id\n{number}\n".encode()
        pq.write_table(pa.table({"id": [number]}), tmp_path / name)
        return (tmp_path / name).read_bytes()

    bucket.objects = {name: content(1)}
    settings = replace(lake.settings, s3_endpoint=bucket.endpoint, aws_region="eu-central-1")

    def replace_it(line: str) -> None:
        if line.startswith("columns: "):
            bucket.objects = {name: content(2)}

    table = fresh.table("bronze")
    with pytest.raises(InputDataError, match=f"s3://landing/{name} changed while it was being ingested"):
        run(Params(bronze_table(str(table)), (f"s3://landing/{name}",)), Lakehouse(settings), replace_it)
    assert lake.nessie.content("main", table) is None


def test_a_bucket_that_does_not_answer(lake: Lakehouse, fresh: Fresh) -> None:
    with pytest.raises(InputDataError, match="can't be listed") as caught:
        ingest(lake, Bucket("http://127.0.0.1:9"), fresh.table("bronze"), "s3://landing/x.csv")
    assert "AWS_" in caught.value.hint
