"""Syncs and lookups through a network that loses answers, breaks connections, and hangs."""

import asyncio
import time
from collections.abc import Iterator
from itertools import count

import pytest
from tests.support.online import FIRST, OnlineView
from tests.support.redis_proxy import RedisProxy

from asgard.common.errors import ServiceUnreachableError
from asgard.common.settings import Settings, load_settings
from asgard.serving import AsyncOnlineStore, OnlineStore
from asgard.serving.redis_access import connection
from asgard.serving.sync.plan import Mode

pytestmark = pytest.mark.alone
TIMEOUT = 0.5


def online_settings(online: OnlineView, url: str) -> Settings:
    return load_settings({"project_dir": str(online.lake.settings.project_dir), "redis_url": url})


@pytest.fixture
def proxy(online: OnlineView) -> Iterator[RedisProxy]:
    """In front of the tests' Redis; the view uses it, synced through it."""
    redis_url = online.lake.settings.redis_url
    assert redis_url is not None
    with RedisProxy(redis_url.reveal()).running() as found:
        online.use(online_settings(online, found.url))
        online.sync()
        yield found


@pytest.mark.parametrize("mode", [Mode.CHANGES, Mode.COMPARE, Mode.REBUILD])
@pytest.mark.parametrize("fault", ["lose", "refuse", "cut"])
def test_each_command_of_a_sync_may_lose_its_answer_or_its_connection(
    online: OnlineView, proxy: RedisProxy, mode: Mode, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_FIRST_PAUSE", 0.001)
    online.use(online_settings(online, proxy.url))
    client, keys = online.store.client, online.store.keys(online.view.name)
    contents = [online.content()]
    online.replace([*FIRST[2:], (2, 0, 22.0, 22), (100, 0, 1.0, 1)])  # one customer goes, one changes, and one comes
    contents.append(online.content())
    for number in count(1):
        if mode is Mode.CHANGES:
            online.put_back(contents[number % 2])
        elif mode is Mode.COMPARE:
            start = keys.row(online.store.synced(online.view.name).generation)
            client.delete(start + b"3")
            client.mset({start + b"2": b"damaged", start + b"101": b"beyond"})
            client.hset(keys.state, "server", "another")
        proxy.arm(**{fault: number})
        try:
            assert online.sync(full=mode is Mode.REBUILD).mode is mode
        except ServiceUnreachableError:
            assert fault == "cut"
        is_met = len(proxy.seen) >= number
        proxy.arm()
        if fault == "cut":
            online.sync()
        online.expect_equal()
        if not is_met:
            break
    assert number > 8


def test_a_broken_connection_is_made_again_once(online: OnlineView, proxy: RedisProxy) -> None:
    store = OnlineStore(proxy.url, timeout=TIMEOUT)
    assert store.lookup(online.view.name, {"customer_id": 2})["amount"] == 2.0
    for fault in ({"lose": 1}, {"refuse": 1}):
        proxy.arm(**fault)
        began = time.monotonic()
        assert store.lookup(online.view.name, {"customer_id": 3})["amount"] == 3.0
        assert time.monotonic() - began < TIMEOUT
        assert proxy.seen.count("MGET") == 2

    async def look() -> None:
        client = AsyncOnlineStore(proxy.url, timeout=TIMEOUT)
        await client.lookup(online.view.name, {"customer_id": 2})
        for fault in ({"lose": 1}, {"refuse": 1}):
            proxy.arm(**fault)
            assert (await client.lookup(online.view.name, {"customer_id": 3}))["amount"] == 3.0
            assert proxy.seen.count("MGET") == 2
        await client.close()

    asyncio.run(look())


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_redis_that_hangs_is_said_in_time_and_the_next_lookup_works(
    online: OnlineView, proxy: RedisProxy, is_connected: bool
) -> None:
    store = OnlineStore(proxy.url, timeout=TIMEOUT)
    if is_connected:
        store.lookup(online.view.name, {"customer_id": 2})
    with proxy.hanging():
        began = time.monotonic()
        with pytest.raises(ServiceUnreachableError, match="does not answer"):
            store.lookup(online.view.name, {"customer_id": 3})
        assert time.monotonic() - began < 1.5 * TIMEOUT
    for customer in (4, 5):
        assert store.lookup(online.view.name, {"customer_id": customer})["amount"] == customer

    async def look() -> None:
        client = AsyncOnlineStore(proxy.url, timeout=TIMEOUT)
        if is_connected:
            await client.lookup(online.view.name, {"customer_id": 2})
        with proxy.hanging():
            began = time.monotonic()
            with pytest.raises(ServiceUnreachableError, match="does not answer"):
                await client.lookup(online.view.name, {"customer_id": 3})
            assert time.monotonic() - began < 1.5 * TIMEOUT
        for customer in (4, 5):
            assert (await client.lookup(online.view.name, {"customer_id": customer}))["amount"] == customer
        await client.close()

    asyncio.run(look())


def test_a_lookup_that_was_given_up_leaves_its_answer_to_nobody_else(online: OnlineView, proxy: RedisProxy) -> None:
    async def look() -> None:
        client = AsyncOnlineStore(proxy.url, timeout=10)
        await client.lookup(online.view.name, {"customer_id": 1})
        for customer in (2, 3, 4):
            with proxy.hanging(), pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.lookup(online.view.name, {"customer_id": customer}), 0.1)
            assert (await client.lookup(online.view.name, {"customer_id": 5}))["amount"] == 5.0
        await client.close()

    asyncio.run(look())


def test_a_redis_that_is_away_fails_a_sync_and_moves_no_watermark(online: OnlineView, proxy: RedisProxy) -> None:
    before = online.store.synced(online.view.name).watermark
    online.append([(1, 1, 100.0, 100)])
    online.use(online_settings(online, "redis://:canary@127.0.0.1:1/0"))
    began = time.monotonic()
    with pytest.raises(ServiceUnreachableError, match="does not answer") as caught:
        online.sync()
    assert time.monotonic() - began < 10
    assert "canary" not in f"{caught.value}{caught.value.hint}"
    online.use(online_settings(online, proxy.url))
    assert online.store.synced(online.view.name).watermark == before
    online.sync()
    online.expect_equal()
