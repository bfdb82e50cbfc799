"""The sync of a view whose table is on S3."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from tests.conftest import Fresh
from tests.support.online import OnlineView
from tests.support.s3 import Bucket

from asgard.common.names import BranchName
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import Content, drop, put, put_namespace
from asgard.serving.sync.plan import Mode
from asgard.serving.sync.verify import verify

START = datetime(2024, 1, 1, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("customer_id", pa.int64()),
        ("event_timestamp", pa.timestamp("us", "UTC")),
        ("created_at", pa.timestamp("us", "UTC")),
        ("amount", pa.float64()),
        ("visits", pa.int32()),
    ]
)


class S3View(OnlineView):
    """A view of a table that PyIceberg writes to a bucket, and that main names."""

    def __init__(self, lake: Lakehouse, name: str, bucket: Bucket, folder: Path) -> None:
        settings = replace(lake.settings, s3_endpoint=bucket.endpoint, aws_region="eu-central-1")
        super().__init__(Lakehouse(settings), name)
        self._name, self._is_new = name, True
        self._catalog = SqlCatalog(
            "s3",
            uri=f"sqlite:///{folder}/catalog.db",
            warehouse="s3://landing/warehouse",
            **{"s3.endpoint": bucket.endpoint, "s3.region": "eu-central-1"},
        )
        self._catalog.create_namespace("gold")
        self._table = self._catalog.create_table(f"gold.{name}", SCHEMA)

    def append(self, rows: Any) -> None:
        self._table.append(self._arrow(rows))
        self._name_it()

    def replace(self, rows: Any) -> None:
        self._table.overwrite(self._arrow(rows))
        self._name_it()

    def close(self) -> None:
        """Its bucket goes: so the table leaves main, too."""
        self._catalog.close()
        nessie = self.lake.nessie
        nessie.commit(BranchName("main"), nessie.head("main"), [drop(("gold", self._name))], "drop it")

    def _arrow(self, rows: Any) -> pa.Table:
        moments = [START + timedelta(days=row[1]) for row in rows]
        columns = [[row[0] for row in rows], moments, moments, [row[2] for row in rows], [row[3] for row in rows]]
        return pa.table([pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA)

    def _name_it(self) -> None:
        snapshot = self._table.current_snapshot()
        assert snapshot is not None
        raw = {"metadataLocation": self._table.metadata_location, "snapshotId": snapshot.snapshot_id}
        ids = {"schemaId": 0, "specId": 0, "sortOrderId": 0, "type": "ICEBERG_TABLE"}
        if not self._is_new:
            ids["id"] = self.content().id
        operation = put(("gold", self._name), Content("ICEBERG_TABLE", raw | ids), is_new=self._is_new)
        nessie = self.lake.nessie
        if not nessie.has_namespace("main", "gold"):
            nessie.commit(BranchName("main"), nessie.head("main"), [put_namespace("gold")], "create it")
        nessie.commit(BranchName("main"), nessie.head("main"), [operation], "write")
        self._is_new = False


@pytest.fixture
def online(lake: Lakehouse, fresh: Fresh, bucket: Bucket, tmp_path: Path) -> Iterator[S3View]:
    made = S3View(lake, fresh.table("gold").name, bucket, tmp_path)
    yield made
    made.close()


def test_a_table_on_s3_is_synced_and_verified_and_what_was_collected_is_compared(
    online: S3View, bucket: Bucket
) -> None:
    online.append([(1, 0, 10.0, 1), (2, 0, 20.0, 2), (3, 0, 30.0, 3)])
    assert online.sync().mode is Mode.REBUILD
    online.expect_equal()
    online.append([(2, 1, 21.0, 3), (4, 1, 40.0, 4)])
    done = online.sync()
    assert (done.mode, done.counted.entities) == (Mode.CHANGES, 2)
    online.expect_equal()
    before = set(bucket.objects)
    online.replace([(1, 0, 10.0, 1), (4, 2, 41.0, 5), (5, 2, 50.0, 1)])
    done = online.sync()
    assert (done.mode, done.counted.deleted) == (Mode.CHANGES, 2)
    online.expect_equal()
    assert verify(online.lake, online.store, online.view, lambda _line: None).is_equal

    for gone in (".parquet", ".metadata.json"):
        before = set(bucket.objects)
        online.replace([(1, 0, 10.0, 1), (6, 2, float(len(before)), 1)])
        for name in before:
            if name.endswith(gone):
                del bucket.objects[name]
        assert online.sync().counted.written > 0
        online.expect_equal()
        online.append([(7, 3, float(len(before)), 1)])
        assert online.sync().mode is Mode.CHANGES
        online.expect_equal()
