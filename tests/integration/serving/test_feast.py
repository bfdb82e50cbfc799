"""Codec `feast`: Feast's own SDK and feature server read what Asgard keeps equal to a published snapshot."""

import asyncio
import random
import struct
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mmh3
import pandas as pd
import pytest
from tests.conftest import Fresh
from tests.support.feast import feast_server
from tests.support.online import EPOCH, OnlineView
from tests.support.redis import LOOKUP_COMMANDS, SYNC_COMMANDS, redis_server

from asgard.common.errors import ServiceError, UsageError
from asgard.common.settings import Settings, load_settings
from asgard.features.feast import registry as feast_registry
from asgard.features.feast.config import ONLINE_VARIABLE, connection_string, repository
from asgard.features.views import Codec, Feature
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.serving import AsyncOnlineStore, OnlineStore, Row, Status
from asgard.serving.codecs.base import IN_PLACE
from asgard.serving.codecs.feast_rows import FeastRows
from asgard.serving.redis_access.store import Store
from asgard.serving.sync.plan import Mode, load_target
from asgard.serving.sync.rows import codec_of
from asgard.serving.sync.verify import verify

if TYPE_CHECKING:
    from feast import FeatureStore

FIRST = [(customer, 0, float(customer), customer) for customer in range(1, 6)]
NOBODY = 999


@pytest.fixture
def online(lake: Lakehouse, fresh: Fresh) -> OnlineView:
    """A registered view of a gold table with five customers, in Feast's layout; not synced yet."""
    made = OnlineView(lake, fresh.table("gold").name, codec="feast")
    made.append(FIRST)
    made.register()
    return made


def feast_of(online: OnlineView) -> "FeatureStore":
    """Feast's own entrance, brought to what is registered."""
    feast_registry.synchronise(online.lake, [])
    return feast_registry.open_store(online.lake.settings)


def asked(store: "FeatureStore", online: OnlineView, customers: Sequence[int]) -> dict[int, Any]:
    """What Feast's SDK answers; customers that have nothing are left out."""
    wanted = [f"{online.view.name}:{feature}" for feature in online.view.feature_names]
    rows = [{"customer_id": customer} for customer in customers]
    found = store.get_online_features(features=wanted, entity_rows=rows).to_dict()
    values = zip(*(found[feature] for feature in online.view.feature_names), strict=True)
    return {customer: row for customer, row in zip(customers, values, strict=True) if any(v is not None for v in row)}


def published(online: OnlineView) -> dict[int, Any]:
    """What Feast must answer: customers without any value can't be told from unknown ones there."""
    return {
        customer: (amount, visits)
        for customer, (_, amount, visits) in online.published().items()
        if (amount, visits) != (None, None)
    }


def expect_equal(store: "FeatureStore", online: OnlineView) -> None:
    online.expect_equal()
    assert asked(store, online, sorted({*online.published(), *range(40), NOBODY})) == published(online)


def test_feast_reads_each_change(online: OnlineView) -> None:
    store = feast_of(online)
    done = online.sync()
    assert (done.mode, done.rows, done.counted.written) == (Mode.COMPARE, 5, 5)
    expect_equal(store, online)
    online.append([(1, 1, 100.0, None), (7, 1, None, None)])
    online.append([(2, -5, 1_000.0, 1_000)])  # restated, and older than the row that counts
    assert online.sync().mode is Mode.CHANGES
    expect_equal(store, online)
    online.replace([(1, 0, 50.0, 5), *FIRST[2:]])  # restated without a newer event time; customer 2 and 7 are gone
    done = online.sync()
    assert (done.mode, done.counted.deleted) == (Mode.CHANGES, 2)
    expect_equal(store, online)
    assert online.sync().mode is Mode.NOTHING
    assert verify(online.lake, online.store, online.view, lambda _line: None).is_equal


def test_feasts_feature_server_reads_the_same(online: OnlineView) -> None:
    feast_of(online)
    online.append([(1, 1, 100.0, None)])
    online.sync()
    wanted = [f"{online.view.name}:{feature}" for feature in online.view.feature_names]
    ours = online.online.lookup_many(online.view.name, [{"customer_id": each} for each in (1, 2, NOBODY)])
    with feast_server(repository(online.lake.settings), "serve", "--no-access-log") as client:
        body = {"features": wanted, "entities": {"customer_id": [1, 2, NOBODY]}}
        answer = client.request("POST", "/get-online-features", json=body)
    assert answer.status == 200, answer.data
    found = answer.json()
    columns = dict(zip(found["metadata"]["feature_names"], (each["values"] for each in found["results"]), strict=True))
    assert (columns["amount"], columns["visits"]) == ([100.0, 2.0, None], [None, 2, None])
    assert columns == {name: list(values) for name, values in ours.columns.items()} | {"customer_id": [1, 2, NOBODY]}


def test_a_row_is_byte_for_byte_what_feast_writes(online: OnlineView, tmp_path: Path) -> None:
    online.append([(1, 1, 100.25, None)])
    online.sync()
    codec = codec_of(online.view, load_target(online.lake, online.view)[0].table)
    name = next(each for each in hashes(online) if codec.shown(each.removesuffix(b"asgard")) == "1")
    ours = own(online, name)
    with redis_server(tmp_path) as url:
        feast_registry.synchronise(online.lake, [])
        store = feast_registry.open_store(replaced(online, url))
        (event, amount, visits) = online.published()[1]
        row = {"customer_id": [1], "event_timestamp": [EPOCH + pd.Timedelta(event, "us")], "amount": [amount]}
        frame = pd.DataFrame({**row, "visits": pd.array([visits], "Int32"), "created_at": [datetime.now(UTC)]})
        store.write_to_online_store(online.view.name, df=frame)
        online.use(replaced(online, url))
        assert own(online, name) == ours


def replaced(online: OnlineView, url: str) -> Settings:
    return load_settings({"project_dir": str(online.lake.settings.project_dir), "redis_url": url})


def test_views_of_one_entity_share_a_hash_and_keep_their_own(online: OnlineView) -> None:
    other = OnlineView(online.lake, online.table.name.name, codec="feast")
    other.view = replace(other.view, name=f"other_{other.view.name}", features=(Feature("visits", "int"),))
    online.sync()
    other.sync()
    shared = hashes(online)
    assert shared == hashes(other)
    online.replace(FIRST[:3])
    online.sync()
    assert len(hashes(online)) == 3
    assert hashes(other) == shared  # its rows are of the snapshot before, until its own sync
    other.sync()
    assert hashes(other) == hashes(online)
    online.expect_equal()


def hashes(online: OnlineView) -> set[bytes]:
    codec = codec_of(online.view, load_target(online.lake, online.view)[0].table)
    start = online.store.keys(online.view.name).row(IN_PLACE)
    return {codec.key(start, entity) for entities in codec.stored_entities(online.store, start) for entity in entities}


def test_a_feature_that_is_not_declared_any_more_leaves_nothing(online: OnlineView) -> None:
    online.sync()
    amount = feature_field(online, "amount")
    assert all(online.store.client.hexists(name, amount) for name in hashes(online))
    assert online.online.lookup(online.view.name, {"customer_id": 3}).to_dict() == {"amount": 3.0, "visits": 3}
    online.view = replace(online.view, features=online.view.features[1:])
    done = online.sync()
    assert (done.mode, done.counted.written) == (Mode.COMPARE, 5)
    assert len(hashes(online)) == 5
    assert not any(online.store.client.hexists(name, amount) for name in hashes(online))
    assert online.online.lookup(online.view.name, {"customer_id": 3}).to_dict() == {"visits": 3}


def test_the_codec_changes_and_changes_back(online: OnlineView) -> None:
    store = feast_of(online)
    online.sync()
    online.view = replace(online.view, codec=Codec.PACKED)
    assert online.sync().mode is Mode.REBUILD
    online.expect_equal()
    assert asked(store, online, range(10)) == {}
    online.view = replace(online.view, codec=Codec.FEAST)
    assert online.sync().mode is Mode.COMPARE
    expect_equal(store, online)
    start = online.store.keys(online.view.name)
    assert {name for names in online.store.names(start.start) for name in names} == {
        start.state.encode(),
        start.head.encode(),
    }


async def both(online: OnlineView, views: Sequence[str], entity: dict[str, int]) -> "tuple[Row, Row]":
    """What the two clients answer."""
    client = AsyncOnlineStore(settings=online.lake.settings, timeout=10)
    try:
        return online.online.lookup(views, entity), await client.lookup(views, entity)
    finally:
        await client.close()


def test_one_lookup_reads_both_codecs(online: OnlineView) -> None:
    packed = OnlineView(online.lake, online.table.name.name)
    packed.view = replace(packed.view, name=f"packed_{packed.view.name}", features=(Feature("visits", "int"),))
    online.append([(1, 1, None, None)])
    online.sync()
    packed.sync()
    views = [online.view.name, packed.view.name]
    for entity in (1, 2, NOBODY):
        for asked_for in (views, views[::-1]):
            one, other = asyncio.run(both(online, asked_for, {"customer_id": entity}))
            assert one.to_dict() == other.to_dict()
            assert {answer.head.view: answer.status for answer in one.answers} == dict.fromkeys(views, one.status)
            amount, visits = (None, None) if entity != 2 else (2.0, 2)
            assert one[f"{views[0]}:amount"] == amount
            assert one[f"{views[0]}:visits"] == one[f"{views[1]}:visits"] == visits
            assert one.status is (Status.MISSING if entity == NOBODY else Status.FOUND)
    cached = OnlineStore(settings=online.lake.settings, timeout=10, cache_seconds=60)
    for _ in range(2):
        rows = cached.lookup_many(views, [{"customer_id": 2}, {"customer_id": 3}])
        assert rows.columns[f"{views[1]}:visits"] == (2, 3)


def test_the_count_is_right_after_a_write_that_ended_in_the_middle(online: OnlineView) -> None:
    online.append([(customer, 0, 1.0, 1) for customer in range(301, 320)])
    codec = codec_of(online.view, load_target(online.lake, online.view)[0].table)
    start = online.store.keys(online.view.name).row(IN_PLACE)
    entity = FeastRows("any", {"customer_id": codec_kind(online)}, {}).name({"customer_id": 311})
    online.store.client.set(codec.key(start, entity), b"somebody else's")
    with pytest.raises(ServiceError, match="another type"):
        online.sync()
    online.store.client.delete(codec.key(start, entity))
    found = sum(len(set(entities)) for entities in codec.stored_entities(online.store, start))
    counted = int(online.store.client.hget(online.store.keys(online.view.name).state, f"rows:{IN_PLACE}") or 0)
    assert counted == found
    online.sync()
    online.expect_equal()


def codec_kind(online: OnlineView) -> str:
    return load_target(online.lake, online.view)[0].table.columns["customer_id"].type


def test_something_else_in_a_hash_is_told(online: OnlineView) -> None:
    online.sync()
    name = next(each for each in hashes(online))
    online.store.client.hset(name, feature_field(online, "amount"), b"\xff")
    with pytest.raises(ServiceError, match="not in Feast's format"):
        online.online.lookup_many(online.view.name, [{"customer_id": each} for each in range(1, 6)])
    online.store.client.delete(name)
    online.store.client.set(name, b"text")
    with pytest.raises(ServiceError, match="another type"):
        online.online.lookup_many(online.view.name, [{"customer_id": each} for each in range(1, 6)])
    with pytest.raises(ServiceError, match="another type"):
        online.sync(full=True)
    online.store.client.delete(name)


def test_lakehouses_that_share_a_redis_have_rows_of_their_own(online: OnlineView) -> None:
    online.sync()
    ours = hashes(online)
    other = OnlineView(online.lake, online.table.name.name, codec="feast")
    for prefix in ("other", "notasgard"):  # the second ends as ours
        other.store = Store.of(replace(online.lake.settings, online_prefix=prefix))
        other.view = replace(online.view, features=online.view.features[:1])
        assert other.sync().rows == 5
        other.replace(FIRST[:1])
        assert other.sync().counted.deleted == 4
        assert hashes(online) == ours
        other.replace(FIRST)
    online.sync()
    online.online.lookup(online.view.name, {"customer_id": 1})
    assert hashes(online) == ours


def test_a_client_that_knew_the_view_with_another_key_goes_on(online: OnlineView) -> None:
    online.sync()
    assert online.online.lookup(online.view.name, {"customer_id": 1})["visits"] == 1
    online.view = replace(online.view, keys=("visits",), features=online.view.features[:1])
    online.sync()
    assert online.online.lookup(online.view.name, {"visits": 2})["amount"] == 2.0
    with pytest.raises(UsageError, match="lacks visits"):
        online.online.lookup(online.view.name, {"customer_id": 1})
    online.view = replace(online.view, keys=("customer_id",))
    online.sync()
    assert online.online.lookup(online.view.name, {"customer_id": 3, "visits": 4})["amount"] == 3.0


def test_what_redis_lost_or_has_otherwise_is_written_again(online: OnlineView) -> None:
    store = feast_of(online)
    online.sync()
    walk, client = random.Random(7), online.store.client
    for step in range(6):
        names = sorted(hashes(online))
        client.delete(*walk.sample(names, 2))
        client.hset(walk.choice(names), feature_field(online, "amount"), b"\x29" + bytes(8))
        found = verify(online.lake, online.store, online.view, lambda _line: None)
        assert not found.is_equal
        assert online.sync(full=True).mode is Mode.COMPARE, step
        expect_equal(store, online)


def own(online: OnlineView, name: bytes) -> dict[bytes, bytes]:
    """What the view has in a hash."""
    mark = f"_ts:{online.view.name}".encode()
    fields = {mark, *(feature_field(online, feature) for feature in online.view.feature_names)}
    return {field: value for field, value in online.store.client.hgetall(name).items() if field in fields}


def feature_field(online: OnlineView, feature: str) -> bytes:
    """Feast's name of a feature in a hash."""
    return struct.pack("<I", mmh3.hash(f"{online.view.name}:{feature}", signed=False))


def test_the_address_in_feasts_words(online: OnlineView) -> None:
    assert connection_string("redis://h/3") == "h:6379,db=3"
    assert connection_string("rediss://ada:p%2Fw@h:7000/0?ssl_ca_certs=/ca.pem") == (
        "h:7000,db=0,username=ada,password=p/w,ssl=true,ssl_ca_certs=/ca.pem"
    )
    assert connection_string("redis+sentinel://:pw@a:1,b/main/2") == "a:1,b:26379,db=2,password=pw"
    assert connection_string("redis://:1e5@h") == 'h:6379,db=0,password="1e5"'
    for unsayable in ("redis://:a,b@h", "redis://[::1]:6379", "redis+sentinel://a/main?sentinel_password=x"):
        assert connection_string(unsayable) is None
    settings = replaced(online, "redis://:canary-77ab@127.0.0.1:9/0")
    feast_registry.open_store(settings)
    written = (repository(settings) / "feature_store.yaml").read_text()
    assert "canary-77ab" not in written
    assert f"${{{ONLINE_VARIABLE}}}" in written
    feast_registry.open_store(online.lake.settings)


def test_a_user_needs_a_few_rights_more(online: OnlineView, tmp_path: Path, repository_root: Path) -> None:
    documented = (repository_root / "docs" / "online.md").read_text()
    assert "`~*asgard`; a sync `+hmget +hexists`, lookups `+hmget`" in documented
    with redis_server(tmp_path) as url:
        online.use(replaced(online, url))
        for name, commands in (
            ("writer", f"{SYNC_COMMANDS} +hmget +hexists"),
            ("reader", f"{LOOKUP_COMMANDS} +hmget"),
        ):
            rights = f"reset on >secret ~asgard:* ~*asgard {commands}"
            online.store.client.execute_command("ACL", "SETUSER", name, *rights.split())
        online.use(replaced(online, url.replace("//", "//writer:secret@")))
        online.sync()
        online.replace(FIRST[:2])
        online.sync()
        online.online = OnlineStore(url.replace("//", "//reader:secret@"), timeout=10)
        online.expect_equal()
