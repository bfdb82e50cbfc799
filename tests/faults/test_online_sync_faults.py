"""Syncs that are killed between any two steps, overtaken, starved of memory, or whose Redis forgets or goes back."""

import signal
import threading
from pathlib import Path

import pytest
from tests.support.online import FIRST, OnlineView, start_slow_sync
from tests.support.online_worker import Syncs
from tests.support.redis import redis_server

from asgard.common.errors import ServiceError
from asgard.common.settings import load_settings
from asgard.serving.codecs.base import EncodedBatch
from asgard.serving.redis_access import fence
from asgard.serving.redis_access.store import Store
from asgard.serving.sync.plan import Mode, load_target
from asgard.serving.sync.rows import codec_of

FAILPOINTS = ("after-token", "after-hold", "after-target", "between-batches", "after-rows", "after-watermark")


@pytest.mark.parametrize("arguments", [(), ("--full",)])
def test_a_sync_killed_between_any_two_steps_is_ended_by_the_next(
    online: OnlineView, syncs: Syncs, arguments: tuple[str, ...]
) -> None:
    for day, failpoint in enumerate(FAILPOINTS, start=1):
        # Each kill leaves another target unfinished: customers come, change, and go.
        online.replace([*FIRST[day % 3 :], (1, day, float(day), day), (100 + day, day, 1.0, 1)])
        assert syncs.run(online.view.name, *arguments, failpoint=f"{failpoint}:kill") == -signal.SIGKILL
    online.sync()
    online.expect_equal()


def test_a_slow_sync_that_was_overtaken_writes_no_more(online: OnlineView, syncs: Syncs, tmp_path: Path) -> None:
    go = tmp_path / "go"
    slow = start_slow_sync(online, syncs, go)
    online.append([(1, 2, 200.0, 200), (7, 2, 7.0, 7)])
    assert online.sync().mode is Mode.CHANGES
    go.touch()
    code, said = syncs.join(slow)
    assert code == 1
    assert "Another sync" in said
    online.expect_equal()


def test_a_flush_in_the_middle_stops_a_sync_and_the_next_builds_anew(
    online: OnlineView, syncs: Syncs, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    slow = start_slow_sync(online, syncs, go)
    forget(online)
    go.touch()
    assert syncs.join(slow)[0] == 1
    assert online.keys() == set()
    assert online.sync().mode is Mode.REBUILD
    online.expect_equal()


def forget(online: OnlineView) -> None:
    """What FLUSHALL does, to this view alone."""
    for names in online.store.names(f"{online.store.prefix}:{online.view.name}:".encode()):
        online.store.client.delete(*names)


def test_a_state_that_was_put_back_is_reached_again(online: OnlineView) -> None:
    before = online.content()
    online.replace([(1, 0, 5.0, 5), (9, 0, 9.0, 9)])
    online.sync()
    online.put_back(before)
    done = online.sync()
    assert (done.mode, done.counted.deleted) == (Mode.CHANGES, 1)
    online.expect_equal()


def test_readers_of_a_rebuild_see_the_old_view_or_the_new(online: OnlineView) -> None:
    customers = [{"customer_id": customer} for customer in range(1, 6)]
    seen: set[float] = set()
    torn: list[object] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            rows = online.online.lookup_many(online.view.name, customers)
            found = {row["amount"] for row in rows}
            seen.update(found)
            if len(found) != 1 or None in found:
                torn.append(rows)

    online.replace([(customer, 0, 0.0, 0) for customer in range(1, 6)])
    online.sync(full=True)
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for value in range(1, 4):
            online.replace([(customer, 0, float(value), value) for customer in range(1, 6)])
            online.sync(full=True)
    finally:
        stop.set()
        reader.join()
    assert torn == []
    assert len(seen) > 1
    online.expect_equal()


def test_a_full_redis_fails_the_sync_and_moves_no_watermark(online: OnlineView, tmp_path: Path) -> None:
    with redis_server(tmp_path, maxmemory="0", maxmemory_policy="noeviction") as url:
        online.use(load_settings({"project_dir": str(online.lake.settings.project_dir), "redis_url": url}))
        online.sync()
        before = online.store.synced(online.view.name).watermark
        online.append([(customer, 1, 1.0, 1) for customer in range(10, 2_000)])
        used = int(online.store.client.info("memory")["used_memory"])
        online.store.client.config_set("maxmemory", used + 20_000)
        with pytest.raises(ServiceError, match="full"):
            online.sync()
        assert online.store.synced(online.view.name).watermark == before
        online.store.client.config_set("maxmemory", 0)
        online.sync()
        online.expect_equal()


def test_a_redis_that_would_lose_keys_is_refused(online: OnlineView, tmp_path: Path) -> None:
    with redis_server(tmp_path, maxmemory="50mb", maxmemory_policy="allkeys-lru") as url:
        online.use(load_settings({"project_dir": str(online.lake.settings.project_dir), "redis_url": url}))
        with pytest.raises(ServiceError, match="evicts"):
            online.sync()
        assert online.keys() == set()


def test_evicted_keys_are_noticed_and_written_again(online: OnlineView, tmp_path: Path) -> None:
    with redis_server(tmp_path, maxmemory="0") as url:
        online.use(load_settings({"project_dir": str(online.lake.settings.project_dir), "redis_url": url}))
        online.append([(customer, 1, 1.0, 1) for customer in range(10, 2_000)])
        online.sync()
        client = online.store.client
        client.config_set("maxmemory-policy", "allkeys-random")
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) - 50_000)
        client.set("pressure", b"x" * 1_000)
        assert int(client.info("stats")["evicted_keys"]) > 0
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 0)
        assert online.sync().mode in (Mode.COMPARE, Mode.REBUILD)
        online.expect_equal()


def test_a_redis_with_other_ideas_is_told_in_words(online: OnlineView, tmp_path: Path) -> None:
    settings = online.lake.settings
    with redis_server(tmp_path, requirepass="right") as url:
        for given, words in (("redis://:wrong@", "password"), ("redis://", "password")):
            address = url.replace("redis://", given)
            online.use(load_settings({"project_dir": str(settings.project_dir), "redis_url": address}))
            with pytest.raises(ServiceError, match=words) as caught:
                online.sync()
            assert "wrong" not in str(caught.value).replace("wrong password", "")
        online.use(
            load_settings({"project_dir": str(settings.project_dir), "redis_url": url.replace("//", "//:right@")})
        )
        online.sync()
        online.store.client.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(ServiceError, match="read-only"):
            online.sync()
        online.store.client.execute_command("REPLICAOF", "NO", "ONE")
        online.store.client.delete(online.store.keys(online.view.name).state)
        online.store.client.set(online.store.keys(online.view.name).state, "somebody else's")
        with pytest.raises(ServiceError, match="another type"):
            online.sync()


def test_a_redis_that_restarts_in_the_middle_fails_the_sync(online: OnlineView, tmp_path: Path) -> None:
    """What it had acknowledged may be lost, though the token is there again."""
    with redis_server(tmp_path) as url, redis_server(tmp_path) as other:
        settings = load_settings({"project_dir": str(online.lake.settings.project_dir), "redis_url": url})
        online.use(settings)
        online.sync()
        kept = {name: online.store.client.dump(name) for name in online.store.client.scan_iter()}
        online.append([(1, 1, 100.0, 100)])
        fenced = online.store.fenced(online.view.name, online.store.require_fit())
        fenced._client = Store(other).client
        for name, value in kept.items():
            fenced._client.restore(name, 0, value)
        fenced._client.hset(fenced.keys.state, "token", fenced.permit.token)
        codec = codec_of(online.view, load_target(online.lake, online.view)[0].table)
        for script in (fence._NOTE, fence._DROP, fence._FENCE + codec.script):
            fenced._client.script_load(script)
        with pytest.raises(ServiceError, match="restarted"):
            fenced.write(codec, "any", EncodedBatch([b"1"], [b"x"]))
