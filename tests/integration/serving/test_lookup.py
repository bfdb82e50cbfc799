"""Lookups: one and many, several views, missing and expired and null told apart, remembered, computed, asyncio."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from tests.conftest import Fresh
from tests.support.online import OnlineView

from asgard.cli.app import main
from asgard.common.errors import ServiceUnreachableError, UsageError
from asgard.features import register
from asgard.features.views import Feature, FeatureView, feature_view, on_demand
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.declaring.declaration import declare_table
from asgard.lakehouse.runs.run import RunRequest, execute
from asgard.serving import AsyncOnlineStore, OnlineStore, Status
from asgard.serving.redis_access.store import Store
from asgard.serving.sync.plan import Mode
from asgard.serving.sync.sync import sync
from asgard.serving.sync.verify import verify

NOW = datetime.now(UTC).replace(microsecond=0)
OLD = NOW - timedelta(days=30)
COLUMNS = (
    "region string, customer decimal(38,0), event_timestamp timestamp, tags array<string>, "
    "scores array<double>, total decimal(12,2), seen date, note string"
)
BIG = Decimal(10**37 + 1)
ROWS = [
    ("north|%", BIG, NOW, ["a", None, ""], [1.5, None], Decimal("10.25"), NOW.date(), "é"),
    ("north|%", BIG + 1, NOW, [], None, None, None, None),
    ("south", Decimal(7), OLD, None, [], Decimal("-0.01"), OLD.date(), ""),
]


@pytest.fixture(scope="module")
def wide(lake: Lakehouse) -> Iterator[FeatureView]:
    """A registered, synced view with a composite key, arrays and nulls; rows count for a week."""
    name = Fresh().table("gold").name
    table = declare_table(f"gold.{name}", mode="replace")
    frame = lake.spark.createDataFrame(ROWS, COLUMNS)
    execute(lake, RunRequest("test"), lambda attempt: attempt.write(table, frame), lambda _line: None)
    view = feature_view(
        f"wide_{name}",
        table=f"gold.{name}",
        keys=("region", "customer"),
        features=[
            Feature("tags", "array<string>"),
            Feature("scores", "array<double>"),
            Feature("total", "decimal(12,2)"),
            Feature("seen", "date"),
            Feature("note", "string"),
        ],
        ttl="7d",
        online=True,
    )
    register.apply(lake, "tests", register.plan(lake, [view], resolve(lake, None)))
    store = Store.of(lake.settings)
    done = sync(lake, store, view, say=lambda _line: None)
    assert (done.mode, done.rows) == (Mode.REBUILD, 3)
    yield view
    for names in store.names(store.keys(view.name).start):
        store.client.delete(*names)


@pytest.fixture
def store(lake: Lakehouse) -> OnlineStore:
    """A client that remembers nothing."""
    return OnlineStore(settings=lake.settings, timeout=10)


def key_of(row: tuple[Any, ...]) -> dict[str, Any]:
    return {"region": row[0], "customer": row[1]}


def test_every_type_comes_back_and_null_missing_and_expired_are_told_apart(
    lake: Lakehouse, wide: FeatureView, store: OnlineStore
) -> None:
    first, second, third = store.lookup_many(wide.name, [key_of(row) for row in ROWS])
    assert (first.status, dict(first)) == (Status.FOUND, dict(zip(wide.feature_names, ROWS[0][3:], strict=True)))
    assert (second.status, second["tags"], second["total"]) == (Status.FOUND, [], None)
    assert (third.status, third["note"], third.answers[0].event_timestamp) == (Status.EXPIRED, None, OLD)
    nobody = store.lookup(wide.name, {"region": "north", "customer": Decimal(1)})
    assert (nobody.status, nobody["note"], nobody.answers[0].event_timestamp) == (Status.MISSING, None, None)
    assert first.snapshot_id == lake.content(wide.table, "main").snapshot_id
    assert 0 <= first.age < 600


def test_columns_have_the_declared_types_and_a_moment_may_be_given(wide: FeatureView, store: OnlineStore) -> None:
    rows = store.lookup_many(wide.name, [key_of(row) for row in ROWS], now=OLD)
    assert [row.status for row in rows] == [Status.FOUND] * 3
    table = rows.to_arrow()
    assert table.to_pylist() == [key_of(row) | dict(zip(wide.feature_names, row[3:], strict=True)) for row in ROWS]
    assert {each.name: str(each.type) for each in table.schema} == {
        "region": "string",
        "customer": "decimal128(38, 0)",
        "tags": "list<item: string>",
        "scores": "list<item: double>",
        "total": "decimal128(12, 2)",
        "seen": "date32[day]",
        "note": "string",
    }


def test_verify_says_equal_then_what_differs(lake: Lakehouse, wide: FeatureView) -> None:
    redis = Store.of(lake.settings)
    found = verify(lake, redis, wide, lambda _line: None)
    assert (found.is_equal, found.entities, found.digest) == (True, 3, found.digest_redis)
    start = redis.keys(wide.name).row(redis.synced(wide.name).generation)
    names = [name for batch in redis.names(start) for name in batch]
    kept = {name: redis.client.get(name) for name in names}
    try:
        redis.client.delete(names[0])
        redis.client.set(names[1], b"damaged")
        redis.client.set(start + b"nobody|1", b"x")
        found = verify(lake, redis, wide, lambda _line: None)
        assert (found.missing, found.other, found.beyond) == (1, 1, 1)
        assert found.digest != found.digest_redis
        arguments = ["online-sync", "--view", wide.name, "--verify", "--dir", str(lake.settings.project_dir)]
        assert main(arguments) == 1
    finally:
        redis.client.delete(start + b"nobody|1")
        redis.client.mset(kept)
    assert verify(lake, redis, wide, lambda _line: None).is_equal


def test_several_views_in_one_round_trip_and_functions_over_them(lake: Lakehouse, fresh: Fresh) -> None:
    one, other = (OnlineView(lake, fresh.table("gold").name) for _ in range(2))
    for made, amount in ((one, 3.0), (other, 4.0)):
        made.append([(1, 0, amount, 2), (2, 0, amount, 5)])
        made.sync()
    views = [one.view.name, other.view.name]

    @on_demand(
        inputs={"here": f"{one.view.name}:amount", "there": f"{other.view.name}:amount"}, request={"factor": "double"}
    )
    def both(here: "pd.Series[float]", there: "pd.Series[float]", factor: "pd.Series[float]") -> "pd.Series[float]":
        """Their sum, times a factor."""
        return (here + there) * factor

    row, missing = one.online.lookup_many(
        views, [{"customer_id": 2}, {"customer_id": 9}], on_demand=[both], request=[{"factor": 2.0}, {"factor": 1.0}]
    )
    assert (row[f"{one.view.name}:amount"], row[f"{other.view.name}:amount"], row["both"]) == (3.0, 4.0, 14.0)
    assert (missing.status, missing["both"]) == (Status.MISSING, None)
    columns = one.online.lookup_many(views, [{"customer_id": 2}, {"customer_id": 9}]).to_dict()
    assert (columns["customer_id"], columns["amount"]) == ([2, 9], [3.0, None])
    assert columns[f"{other.view.name}:amount"] == [4.0, None]
    with pytest.raises(UsageError, match="factor"):
        one.online.lookup(views, {"customer_id": 2}, on_demand=[both])


def test_asyncio_gives_the_same(lake: Lakehouse, wide: FeatureView, store: OnlineStore) -> None:
    entities = [key_of(row) for row in ROWS]

    async def look() -> list[Any]:
        client = AsyncOnlineStore(settings=lake.settings, timeout=10)
        try:
            return list(await asyncio.gather(*(client.lookup(wide.name, entity) for entity in entities)))
        finally:
            await client.close()

    assert [dict(row) for row in asyncio.run(look())] == [dict(row) for row in store.lookup_many(wide.name, entities)]


def test_what_is_remembered_is_no_older_than_it_may_be(lake: Lakehouse, fresh: Fresh) -> None:
    made = OnlineView(lake, fresh.table("gold").name)
    made.append([(1, 0, 1.0, 1)])
    made.sync()
    client = OnlineStore(settings=lake.settings, timeout=10, cache_seconds=3_600)
    assert [client.lookup(made.view.name, {"customer_id": 1})["amount"] for _ in range(2)] == [1.0, 1.0]
    made.append([(1, 1, 2.0, 2)])
    made.sync()
    assert client.lookup(made.view.name, {"customer_id": 1})["amount"] == 1.0
    assert made.online.lookup(made.view.name, {"customer_id": 1})["amount"] == 2.0


def test_the_command_shows_it(lake: Lakehouse, wide: FeatureView, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--dir", str(lake.settings.project_dir)]
    keys = ["--key", "region=north|%", "--key", f"customer={BIG}"]
    assert main(["lookup", "--view", wide.name, *keys, "--json", *folder]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["features"]["total"] == "10.25"
    assert said["views"][wide.name]["status"] == "found"
    assert main(["lookup", "--view", wide.name, *keys, *folder]) == 0
    assert f"snapshot {lake.content(wide.table, 'main').snapshot_id}" in capsys.readouterr().out
    south = ["lookup", "--view", wide.name, "--key", "region=south", "--key", "customer=7", *folder]
    assert main(south) == 0
    assert "expired" in capsys.readouterr().out
    assert main([*south, "--at", OLD.isoformat()]) == 0
    assert "found" in capsys.readouterr().out
    assert main(["lookup", "--view", wide.name, "--key", "region=north", *folder]) == 2
    assert "lacks customer" in capsys.readouterr().err
    assert main(["lookup", "--view", "nowhere", *keys, *folder]) == 2
    assert main(["online-sync", "--view", "nowhere", *folder]) == 2


@pytest.mark.parametrize(
    ("entity", "words"),
    [
        ({"region": "a"}, "lacks customer"),
        ({"region": 1, "customer": 2}, "not of type string"),
        ({"region": "a", "customer": 2.5}, "not of type decimal"),
        ({"region": "a", "customer": Decimal("inf")}, "not of type decimal"),
        ({"region": "a", "customer": None}, "not of type decimal"),
    ],
)
def test_a_wrong_key_is_refused(wide: FeatureView, store: OnlineStore, entity: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        store.lookup(wide.name, entity)


def test_no_redis_is_said_in_time() -> None:
    with pytest.raises(ServiceUnreachableError, match="does not answer"):
        OnlineStore("redis://127.0.0.1:1/0", timeout=0.2).lookup("any", {"customer_id": 1})
