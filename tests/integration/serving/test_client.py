"""The lookup client on a Redis of its own: connections lost, interrupted or forked; its memory; its latency."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis import Redis
from redis.connection import Connection
from tests.support.redis import redis_server, sentinel
from tests.support.redis_view import EVENT, VIEW, put_view
from tests.support.tls import tls_in_front

from asgard.common.errors import ServiceError, ServiceUnreachableError, UsageError
from asgard.monitoring.lookups import lookup_latency
from asgard.serving import AsyncOnlineStore, OnlineStore, Status
from asgard.serving.lookup import cache
from asgard.serving.redis_access.store import Store

TOTALS = {number: float(number) for number in range(200)}
MOMENT = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=EVENT)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        yield address


@pytest.fixture
def redis(url: str) -> Store:
    """The view as it is at first."""
    return put_view(url, TOTALS)


@pytest.fixture
def online(url: str, redis: Store) -> Iterator[OnlineStore]:
    client = OnlineStore(url, timeout=10)
    yield client
    client.close()


def total(client: OnlineStore, customer: int) -> Any:
    return client.lookup(VIEW, {"customer_id": customer})["total"]


def test_many_threads_share_a_client_and_each_gets_its_own(online: OnlineStore) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda customer: total(online, customer), [*TOTALS] * 5)) == [*TOTALS.values()] * 5


def test_lookups_go_on_when_all_connections_are_killed(redis: Store, online: OnlineStore) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda customer: total(online, customer), TOTALS))
        assert redis.client.client_kill_filter(_type="normal") >= 1
        assert list(threads.map(lambda customer: total(online, customer), TOTALS)) == [*TOTALS.values()]


@contextmanager
def stopped(redis: Store) -> Iterator[None]:
    """Redis answers nothing meanwhile, and everything afterwards."""
    process = redis.client.info("server")["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def test_an_interrupted_lookup_leaves_its_answer_to_nobody(
    redis: Store, online: OnlineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert total(online, 1) == 1.0

    def stop(_connection: Any, *_arguments: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    waiting, read = Event(), Connection.read_response

    def wait(*arguments: Any, **options: Any) -> Any:
        waiting.set()
        return read(*arguments, **options)

    with ThreadPoolExecutor(1) as threads:
        with stopped(redis):
            monkeypatch.setattr(Connection, "read_response", stop)
            with pytest.raises(KeyboardInterrupt):
                total(online, 2)
            monkeypatch.setattr(Connection, "read_response", wait)
            later = threads.submit(total, online, 3)
            waiting.wait(10)
        assert later.result() == 3.0


def test_a_redis_that_hangs_is_said_in_time_and_its_late_answers_are_nobodys(url: str, redis: Store) -> None:
    client = OnlineStore(url, timeout=0.2)
    assert total(client, 1) == 1.0
    began = time.monotonic()
    with stopped(redis), pytest.raises(ServiceUnreachableError, match="does not answer"):
        total(client, 2)
    assert time.monotonic() - began < 5
    assert [total(client, customer) for customer in (3, 4)] == [3.0, 4.0]


def test_a_forked_process_has_connections_of_its_own(url: str, redis: Store) -> None:
    code = f"""
import os
from asgard.serving import OnlineStore
client = OnlineStore({url!r}, timeout=10)
client.lookup({VIEW!r}, {{"customer_id": 0}})
child = os.fork()
first = 100 if child else 0
for customer in list(range(first, first + 100)) * 20:
    assert client.lookup({VIEW!r}, {{"customer_id": customer}})["total"] == customer
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_password_is_given_and_a_wrong_one_said(tmp_path: Path) -> None:
    with redis_server(tmp_path, requirepass="right") as address:
        known = address.replace("redis://", "redis://:right@")
        put_view(known, TOTALS)
        assert total(OnlineStore(known, timeout=10), 7) == 7.0
        with pytest.raises(ServiceError, match="refuses the user or the password"):
            total(OnlineStore(address.replace("redis://", "redis://:wrong@"), timeout=10), 7)


def test_the_primary_that_a_sentinel_names_is_read_also_after_it_changed(tmp_path: Path) -> None:
    with redis_server(tmp_path) as one, redis_server(tmp_path) as other, sentinel(tmp_path) as port:
        first, _ = put_view(one, {1: 1.0}), put_view(other, {1: -1.0})
        watcher = Redis(port=port)
        watcher.sentinel_monitor("main", *host_and_port(one), 1)
        client = OnlineStore(f"redis+sentinel://127.0.0.1:{port}/main/0", timeout=10)
        assert total(client, 1) == 1.0
        watcher.sentinel_remove("main")
        watcher.sentinel_monitor("main", *host_and_port(other), 1)
        first.client.client_kill_filter(_type="normal")
        assert total(client, 1) == -1.0


def host_and_port(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("redis://").partition("/")[0].partition(":")
    return host, int(port)


def test_tls_is_spoken_and_who_is_not_trusted_is_said(url: str, redis: Store, tmp_path: Path) -> None:
    with tls_in_front(host_and_port(url)[1], tmp_path) as (port, certificate):
        trusting = OnlineStore(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}", timeout=10)
        assert [total(trusting, customer) for customer in (1, 2)] == [1.0, 2.0]
        with pytest.raises(ServiceUnreachableError, match="not trusted"):
            total(OnlineStore(f"rediss://127.0.0.1:{port}/0", timeout=10), 1)
        trusting.close()


def test_a_view_that_is_built_anew_is_seen_at_once(url: str, redis: Store, online: OnlineStore) -> None:
    assert total(online, 1) == 1.0
    put_view(url, {1: -1.0}, generation="2", snapshot=2)
    row, other = online.lookup_many(VIEW, [{"customer_id": 1}, {"customer_id": 2}])
    assert (row["total"], row.snapshot_id, other.status) == (-1.0, 2, Status.MISSING)


def test_one_unreadable_value_is_said_when_it_is_looked_up(redis: Store, online: OnlineStore) -> None:
    redis.client.set(redis.keys(VIEW).row("1") + b"50", b"\x01short")
    with pytest.raises(ServiceError, match="layout"):
        online.lookup_many(VIEW, [{"customer_id": customer} for customer in TOTALS])
    assert total(online, 51) == 51.0


def test_columns_and_rows_say_the_same(url: str, redis: Store, online: OnlineStore) -> None:
    put_view(url, {1: 1.5, 2: None})
    rows = online.lookup_many(VIEW, [{"customer_id": customer} for customer in (2, 1000, 1)])
    assert rows.to_dict() == {"customer_id": [2, 1000, 1], "total": [None, None, 1.5]}
    assert rows.to_arrow().to_pydict() == rows.to_dict()
    assert [str(each.type) for each in rows.to_arrow().schema] == ["int64", "double"]
    assert rows.statuses == [row.status for row in rows] == [Status.FOUND, Status.MISSING, Status.FOUND]
    assert [row.to_dict() for row in rows] == [{"total": None}, {"total": None}, {"total": 1.5}]
    assert (rows[-1]["total"], rows[-1][f"{VIEW}:total"], [row.entity for row in rows[:1]]) == (
        1.5,
        1.5,
        [{"customer_id": 2}],
    )
    with pytest.raises(KeyError, match="nothing"):
        rows[0]["nothing"]
    nobody = online.lookup_many(VIEW, [])
    assert (len(nobody), nobody.to_dict()) == (0, {"customer_id": [], "total": []})


def test_a_ttl_is_judged_from_the_moment_that_is_given(url: str) -> None:
    put_view(url, TOTALS, ttl=DAY.total_seconds())
    for client in (OnlineStore(url, timeout=10), OnlineStore(url, timeout=10, cache_seconds=60)):
        statuses = [
            client.lookup(VIEW, {"customer_id": 7}, now=now).status
            for now in (None, MOMENT + DAY, MOMENT + DAY + timedelta(microseconds=1), MOMENT - DAY, None)
        ]
        assert statuses == [Status.EXPIRED, Status.FOUND, Status.EXPIRED, Status.FOUND, Status.EXPIRED]
        expired = client.lookup_many(VIEW, [{"customer_id": 7}, {"customer_id": 1000}])
        assert (expired.to_dict()["total"], expired[0].answers[0].event_timestamp) == ([None, None], MOMENT)
        with pytest.raises(UsageError, match="no time zone"):
            client.lookup(VIEW, {"customer_id": 7}, now=datetime(2018, 1, 1))


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(cache, "monotonic", moved)
    return moved


def test_what_is_remembered_is_never_older_than_it_may_be(url: str, redis: Store, clock: Clock) -> None:
    client = OnlineStore(url, timeout=10, cache_seconds=10)
    assert total(client, 1) == 1.0
    put_view(url, {1: -1.0}, snapshot=2)
    clock.seconds = 9.9
    row = client.lookup(VIEW, {"customer_id": 1})
    assert (row["total"], row.snapshot_id) == (1.0, 1)
    clock.seconds = 10
    row = client.lookup(VIEW, {"customer_id": 1})
    assert (row["total"], row.snapshot_id) == (-1.0, 2)


def test_it_is_as_old_as_its_question_however_long_the_answer_took(
    url: str, redis: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = OnlineStore(url, timeout=10, cache_seconds=10)
    total(client, 0)
    read = client._connections.read

    def slowly(names: Any) -> Any:
        found = read(names)
        put_view(url, {1: -1.0}, snapshot=2)
        clock.seconds += 6
        return found

    monkeypatch.setattr(client._connections, "read", slowly)
    assert total(client, 1) == 1.0
    monkeypatch.undo()
    monkeypatch.setattr(cache, "monotonic", clock)
    clock.seconds = 9.9
    assert total(client, 1) == 1.0
    clock.seconds = 10
    assert total(client, 1) == -1.0


def test_what_is_remembered_of_two_snapshots_is_no_answer(url: str, redis: Store, clock: Clock) -> None:
    client = OnlineStore(url, timeout=10, cache_seconds=10)
    both = [{"customer_id": 1}, {"customer_id": 2}]
    assert total(client, 1) == 1.0
    put_view(url, {1: -1.0, 2: -2.0}, snapshot=2)
    assert total(client, 2) == -2.0
    assert total(client, 1) == 1.0
    rows = client.lookup_many(VIEW, both)
    assert (rows.to_dict()["total"], rows.snapshot_id) == ([-1.0, -2.0], 2)
    redis.client.flushdb()
    assert client.lookup_many(VIEW, both).to_dict()["total"] == [-1.0, -2.0]


def test_no_more_is_remembered_than_it_may_be(url: str, redis: Store) -> None:
    client = OnlineStore(url, timeout=10, cache_seconds=3_600, cache_rows=2)
    for customer in (1, 2, 1, 3):
        total(client, customer)
    put_view(url, dict.fromkeys((1, 2, 3), -1.0))
    assert [total(client, customer) for customer in (1, 3, 2)] == [1.0, 3.0, -1.0]


def test_latencies_are_observed_also_of_what_fails(url: str, redis: Store) -> None:
    registry = CollectorRegistry()
    observe = lookup_latency("test", registry)

    def count() -> float | None:
        labels = {"model": VIEW, "side": "", "source": "lookup", "environment": "test", "warehouse": ""}
        return registry.get_sample_value("asgard_prediction_latency_seconds_count", labels)

    client = OnlineStore(url, timeout=10, observe=observe)
    client.head(VIEW)
    assert count() is None
    total(client, 1)
    with pytest.raises(UsageError, match="lacks customer_id"):
        client.lookup(VIEW, {})
    assert count() == 2

    async def look() -> None:
        asynchronous = AsyncOnlineStore(url, timeout=10, observe=observe)
        await asynchronous.lookup(VIEW, {"customer_id": 1})
        await asynchronous.close()

    asyncio.run(look())
    assert count() == 3
    with pytest.raises(ServiceUnreachableError):
        OnlineStore("redis://127.0.0.1:1/0", timeout=0.2, observe=observe).lookup(VIEW, {"customer_id": 1})
    assert count() == 4


@pytest.mark.parametrize("customer", ["1", 1.0, True, None, 2**63, -(2**63) - 1])
@pytest.mark.parametrize("others", [0, 3])
def test_a_key_of_another_type_is_refused_wherever_it_stands(
    online: OnlineStore, customer: object, others: int
) -> None:
    online.head(VIEW)
    with pytest.raises(UsageError, match="not of type bigint"):
        online.lookup_many(VIEW, [*[{"customer_id": 1}] * others, {"customer_id": customer}])
