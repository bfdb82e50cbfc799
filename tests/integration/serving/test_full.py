"""Lookups on a Redis that is full: reading needs no free memory. And what a reading without MULTI must still be."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError
from tests.conftest import Fresh
from tests.support.online import OnlineView
from tests.support.redis import redis_process

from asgard.common.errors import ServiceError
from asgard.common.settings import load_settings
from asgard.features import register
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.serving import AsyncOnlineStore, OnlineStore, Row
from asgard.serving.lookup.connections import KeptConnections
from asgard.serving.lookup_audit.check import check
from asgard.serving.lookup_audit.log import LookupLog
from asgard.serving.sync.plan import Mode
from asgard.serving.sync.status import status
from asgard.serving.sync.sync import preview, sync
from asgard.serving.sync.verify import verify

ROWS = [(customer, 0, float(customer), customer) for customer in range(1, 4)]
KEYS = [{"customer_id": customer} for customer in (1, 2, 3, 999)]


def fill(client: Any) -> None:
    """Until Redis refuses whatever takes memory."""
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 100_000)
    with pytest.raises(OutOfMemoryError):
        _write_on(client)
    client.config_set("maxmemory", "1")
    with pytest.raises(OutOfMemoryError):
        client.set("somebody:0", "x")
    with client.pipeline(transaction=True) as pipe:
        pipe.get("somebody:0")
        with pytest.raises(OutOfMemoryError):
            pipe.execute()  # what MULTI gets there


def _write_on(client: Any) -> None:
    for number in range(100_000):
        client.set(f"somebody:{number}", "x" * 1_000)


def test_all_that_reads_answers_from_a_redis_that_is_full(
    lake: Lakehouse, fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = OnlineView(lake, fresh.table("gold").name)
    online.append(ROWS)
    views = {
        codec: replace(online.view, name=f"{codec}_{online.view.name}", codec=codec) for codec in ("packed", "feast")
    }
    register.apply(lake, "tests", register.plan(lake, list(views.values()), resolve(lake, None)))
    with redis_process(tmp_path, maxmemory_policy="noeviction", save="") as server:
        online.use(load_settings({"project_dir": str(lake.settings.project_dir), "redis_url": server.url}))
        for view in views.values():
            sync(lake, online.store, view, say=lambda _line: None)
        names = [each.name for each in views.values()]
        fill(online.store.client)
        log = LookupLog(tmp_path / "log", share=1.0)
        store = OnlineStore(server.url, timeout=10, log=log)  # a new connection, too

        async def asynchronously(wanted: Sequence[str]) -> list[Row]:
            each = AsyncOnlineStore(server.url, timeout=10)
            try:
                return list(await each.lookup_many(wanted, KEYS))
            finally:
                await each.close()

        for wanted in (names[:1], names[1:], names):
            found = [list(store.lookup_many(wanted, KEYS)), asyncio.run(asynchronously(wanted))]
            for rows in found:
                assert [[row.answers[place].values["amount"] for place in range(len(wanted))] for row in rows] == [
                    [amount] * len(wanted) for amount in (1.0, 2.0, 3.0, None)
                ]
            assert store.head(wanted[-1]).snapshot_id == online.content().snapshot_id
        log.close()
        lines = (tmp_path / "log").read_bytes().splitlines()
        assert check(lake, lines).equal == len(lines) > 0
        for view in views.values():
            assert status(lake, online.store, view).publishes_behind == 0
            assert verify(lake, online.store, view, lambda _line: None).is_equal
            assert preview(lake, online.store, view).mode is Mode.NOTHING
            with pytest.raises(ServiceError, match=r"is full \(maxmemory\)"):
                sync(lake, online.store, view, full=True, say=lambda _line: None)
        assert store.lookup(names[1], KEYS[0])["amount"] == 1.0


class Interrupted:
    """Connections, between whose commands something happens once.

    Args:
        store: whose connections.
        after: how many commands are answered before.
        what: happens.
    """

    def __init__(self, store: OnlineStore, after: int, what: Any) -> None:
        self._kept, self._after, self._what = KeptConnections(store._store.client), after, what

    def read(self, commands: Sequence[Any]) -> list[Any]:
        """As `KeptConnections.read`."""
        if len(commands) == 1 or self._what is None:
            return self._kept.read(commands)
        what, self._what = self._what, None
        before = self._kept.read(commands[: self._after])
        what()
        return [*before, *self._kept.read(commands[self._after :])]


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_sync_that_ends_while_a_lookup_reads_makes_it_read_again(
    lake: Lakehouse, fresh: Fresh, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = OnlineView(lake, fresh.table("gold").name, codec="feast")
    online.append(ROWS)
    online.sync()
    store = OnlineStore(settings=lake.settings, timeout=10)
    assert store.lookup(online.view.name, KEYS[0])["amount"] == 1.0
    replaced = iter([[(1, 1, 10.0, 10), (2, 1, 20.0, 20)]])

    def publish() -> None:
        online.replace(next(replaced))
        online.sync()

    store.__dict__["_connections"] = Interrupted(store, after, publish)
    rows = store.lookup_many(online.view.name, KEYS[:2])
    assert [row["amount"] for row in rows] == [10.0, 20.0]
    assert {row.snapshot_id for row in rows} == {online.content().snapshot_id}


def test_a_view_that_goes_while_a_lookup_reads_is_said_to_be_gone(lake: Lakehouse, fresh: Fresh) -> None:
    online = OnlineView(lake, fresh.table("gold").name, codec="feast")
    online.append(ROWS)
    online.sync()
    store = OnlineStore(settings=lake.settings, timeout=10)
    store.lookup(online.view.name, KEYS[0])
    drop = lambda: online.store.client.delete(online.store.keys(online.view.name).head)  # noqa: E731
    store.__dict__["_connections"] = Interrupted(store, 2, drop)
    with pytest.raises(Exception, match="no view"):
        store.lookup(online.view.name, KEYS[0])


def test_one_entity_of_two_views_is_never_torn(lake: Lakehouse, fresh: Fresh) -> None:
    """Views of codec feast share a hash: whatever one command writes there is seen whole, also over both views."""
    online = OnlineView(lake, fresh.table("gold").name, codec="feast")
    online.append(ROWS)
    views = [online.view, replace(online.view, name=f"second_{online.view.name}")]
    for view in views:
        sync(lake, online.store, view, say=lambda _line: None)
    client = online.store.client
    stamp = f"_ts:{online.view.name}".encode()
    own = [name for name in client.scan_iter(_type="hash") if client.hexists(name, stamp)]
    contents = [client.hgetall(name) for name in own]
    stop = threading.Event()

    def write() -> None:
        place = 0
        while not stop.is_set():
            client.hset(own[0], mapping=contents[place])
            place = 1 - place

    writer = threading.Thread(target=write)
    writer.start()
    try:
        store = OnlineStore(settings=lake.settings, timeout=10)
        names, keys = [view.name for view in views], KEYS[:3]
        seen = set()
        for _ in range(1_500):
            for row in store.lookup_many(names, keys):
                first, second = (tuple(each.values.values()) for each in row.answers)
                assert first == second
                seen.add(first)
    finally:
        stop.set()
        writer.join()
    assert len(seen) >= 3
