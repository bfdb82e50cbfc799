"""Spark as the writer of a large view: the rows that DuckDB would write, behind the same fence."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from tests.conftest import Fresh
from tests.support.online import OnlineView

from asgard.common.errors import ConflictError
from asgard.features import register
from asgard.features.joins.engines import Engine
from asgard.features.views import Feature, feature_view
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.declaring.declaration import declare_table
from asgard.lakehouse.runs.run import RunRequest, execute
from asgard.serving.redis_access.store import Store
from asgard.serving.sync.changes import EVENT
from asgard.serving.sync.plan import Mode, load_target
from asgard.serving.sync.rows import codec_of
from asgard.serving.sync.spark_rows import WriteTask
from asgard.serving.sync.sync import SyncResult, sync
from asgard.serving.sync.verify import verify

if TYPE_CHECKING:
    from asgard.features.views import FeatureView

FIRST = [(customer, 0, float(customer), customer) for customer in range(1, 60)]
KINDS = {
    "a": "boolean",
    "b": "int",
    "c": "bigint",
    "d": "float",
    "e": "double",
    "f": "decimal(12,2)",
    "g": "decimal(38,4)",
    "h": "string",
    "i": "binary",
    "j": "date",
    "k": "timestamp",
    "l": "timestamp_ntz",
    "m": "array<double>",
    "n": "array<string>",
}
NOW = datetime(2024, 2, 29, 12, 30, 1, 123_456, tzinfo=UTC)
BARE = NOW.replace(tzinfo=None)
VALUES: list[tuple[Any, ...]] = [
    (True, -1, 2**60, 1.5, -0.0, Decimal("1.25"), Decimal(10**30), "é|%", b"\0\1", NOW.date(), NOW, BARE, [1.0], [""]),
    (None,) * len(KINDS),
    (False, 0, 0, float("nan"), float("inf"), Decimal(0), Decimal(-1), "", b"", NOW.date(), NOW, BARE, [], ["x", None]),
]


def by_spark(online: OnlineView, *, full: bool = False) -> SyncResult:
    return sync(online.lake, online.store, online.view, full=full, engine=Engine.SPARK, say=lambda _line: None)


@pytest.mark.parametrize("codec", ["packed", "feast"])
def test_each_kind_of_sync(lake: Lakehouse, fresh: Fresh, codec: str) -> None:
    online = OnlineView(lake, fresh.table("gold").name, codec=codec)
    online.append(FIRST)
    online.register()
    done = by_spark(online)
    assert (done.counted.entities, done.counted.written, done.rows) == (59, 59, 59)
    online.expect_equal()
    online.append([(1, 1, 100.0, 100), (2, -1, 0.0, 0), (99, 1, 1.0, 1)])
    done = by_spark(online)
    assert (done.mode, done.counted.entities, done.rows) == (Mode.CHANGES, 3, 60)
    online.expect_equal()
    online.replace(FIRST[5:])
    done = by_spark(online)
    assert (done.mode, done.counted.deleted) == (Mode.CHANGES, 6)
    online.expect_equal()
    start = online.store.keys(online.view.name).row(online.store.synced(online.view.name).generation)
    rows = codec_of(online.view, load_target(lake, online.view)[0].table)
    some = sorted({entity for entities in rows.stored_entities(online.store, start) for entity in entities})[:3]
    online.store.client.delete(*(rows.key(start, entity) for entity in some))
    assert by_spark(online, full=True).mode is (Mode.COMPARE if codec == "feast" else Mode.REBUILD)
    online.expect_equal()


def test_comparing_writes_only_what_differs(lake: Lakehouse, fresh: Fresh) -> None:
    online = OnlineView(lake, fresh.table("gold").name)
    online.append(FIRST)
    online.register()
    online.sync()
    keys = online.store.keys(online.view.name)
    start = keys.row(online.store.synced(online.view.name).generation)
    online.store.client.delete(start + b"7")
    online.store.client.set(start + b"8", b"somebody else's")
    online.store.client.set(start + b"100", b"somebody else's")
    online.store.client.hset(keys.state, "evicted", "77")  # as if it had lost keys since
    done = by_spark(online)
    assert (done.mode, done.counted.entities, done.counted.written, done.counted.deleted) == (Mode.COMPARE, 59, 2, 1)
    online.expect_equal()


@pytest.fixture
def wide(lake: Lakehouse) -> Iterator["FeatureView"]:
    """A view of every type, with a key of two columns."""
    name = Fresh().table("gold").name
    table = declare_table(f"gold.{name}", mode="replace")
    columns = "region string, number decimal(20,0), event_timestamp timestamp, " + ", ".join(
        f"{feature} {kind}" for feature, kind in KINDS.items()
    )
    rows = [("n|%", Decimal(place), NOW, *values) for place, values in enumerate(VALUES)]
    frame = lake.spark.createDataFrame(rows, columns)
    execute(lake, RunRequest("test"), lambda attempt: attempt.write(table, frame), lambda _line: None)
    features = [Feature(feature, kind) for feature, kind in KINDS.items()]
    view = feature_view(f"wide_{name}", table=f"gold.{name}", keys=("region", "number"), features=features, online=True)
    register.apply(lake, "tests", register.plan(lake, [view], resolve(lake, None)))
    yield view
    store = Store.of(lake.settings)
    for names in store.names(store.keys(view.name).start):
        store.client.delete(*names)


def test_every_type_is_the_same_bytes_as_by_duckdb(lake: Lakehouse, wide: "FeatureView") -> None:
    store = Store.of(lake.settings)
    sync(lake, store, wide, engine=Engine.SPARK, say=lambda _line: None)
    found = verify(lake, store, wide, lambda _line: None)  # reads by DuckDB
    assert (found.is_equal, found.entities) == (True, 3), found.examples
    assert found.digest == found.digest_redis


def test_a_stale_task_that_finishes_last_writes_nothing(lake: Lakehouse, fresh: Fresh) -> None:
    """Fault 43: it began under the sync before, was slow, and comes to its writes when the next one has ended."""
    online = OnlineView(lake, fresh.table("gold").name)
    online.append(FIRST)
    online.register()
    online.sync()
    synced = online.store.synced(online.view.name)
    stale = online.store.fenced(online.view.name, online.store.require_fit())
    pinned = load_target(lake, online.view)[0]
    task = WriteTask(
        **online.store.address,
        permit=stale.permit,
        generation=synced.generation,
        codec="packed",
        view=online.view.name,
        keys={"customer_id": pinned.table.columns["customer_id"].type},
        features={each.name: each.type for each in online.view.features},
        before=(),
        only_differing=False,
    )
    assert "redis://" not in repr(task)
    online.append([(1, 1, 100.0, 100)])
    online.sync()
    key = pa.array([1], pa.int64())
    old = pa.record_batch({"customer_id": key, EVENT: [0], "amount": [0.0], "visits": pa.array([0], pa.int32())})
    with pytest.raises(ConflictError):
        list(task([old]))
    online.expect_equal()
