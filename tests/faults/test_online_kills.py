"""Syncs of several batches that are killed, starved or flushed in the middle; readers meanwhile see no mix."""

import signal
import threading
from pathlib import Path

import pytest
from tests.support.online import MANY, Hook, OnlineView, many_rows
from tests.support.online_worker import FEWEST, Syncs
from tests.support.redis import RedisProcess, redis_process

from asgard.common.errors import ConflictError, ServiceError, UsageError
from asgard.common.settings import load_settings
from asgard.serving.sync.plan import Mode


def use(online: OnlineView, redis: RedisProcess) -> None:
    """A Redis of the test's own."""
    online.use(load_settings({"project_dir": str(online.lake.settings.project_dir), "redis_url": redis.url}))


@pytest.mark.parametrize("mode", [Mode.CHANGES, Mode.COMPARE, Mode.REBUILD])
def test_a_sync_killed_after_any_of_its_batches_is_ended_by_the_next(
    online: OnlineView, syncs: Syncs, mode: Mode
) -> None:
    online.replace(many_rows(0.0))
    online.sync()
    before = online.store.synced(online.view.name).watermark
    state = online.store.keys(online.view.name).state
    failpoints = ("between-batches#1", "between-batches#2", "between-batches#3", "after-rows")
    for kill, failpoint in enumerate(failpoints, start=1):
        online.replace(many_rows(float(kill), first=1 + 500 * (kill % 2)))
        if mode is Mode.COMPARE:
            online.store.client.hset(state, "server", "another")
        arguments = ("--full",) if mode is Mode.REBUILD else ()
        assert syncs.run(online.view.name, *arguments, failpoint=f"{failpoint}:kill") == -signal.SIGKILL
        after = online.store.synced(online.view.name)
        assert after.watermark == before
        assert len(after.unfinished) == (0 if mode is Mode.REBUILD else kill)
        served = {amount for _, amount, _ in online.served(range(501, MANY + 1)).values()}
        assert served <= set(map(float, range(kill + 1)))
        if mode is Mode.REBUILD:
            assert served == {0.0}
        elif kill == 1:
            assert served == {0.0, 1.0}  # it died in the middle
    online.sync()
    online.expect_equal()
    assert online.store.synced(online.view.name).left_over == ()


def test_a_rebuild_that_finds_redis_full_takes_back_what_it_built(
    online: OnlineView, tmp_path: Path, in_the_middle: Hook
) -> None:
    online.replace(many_rows(0.0))
    with redis_process(tmp_path, maxmemory_policy="noeviction") as redis:
        use(online, redis)
        online.sync()
        before, keys = online.store.synced(online.view.name), online.keys()
        client = online.store.client
        names = set(client.scan_iter())
        online.replace(many_rows(1.0))
        in_the_middle(lambda: client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + 10_000))
        with pytest.raises(ServiceError, match="full"):
            online.sync(full=True)
        assert set(client.scan_iter()) == names
        after = online.store.synced(online.view.name)
        assert (after.watermark, after.generation, after.rows) == (before.watermark, before.generation, before.rows)
        assert {amount for _, amount, _ in online.served(sorted(keys)).values()} == {0.0}
        client.config_set("maxmemory", 0)
        online.sync(full=True)
        online.expect_equal()


def test_readers_of_a_redis_that_is_flushed_see_a_whole_view_or_none(
    online: OnlineView, tmp_path: Path, in_the_middle: Hook
) -> None:
    customers = [{"customer_id": customer} for customer in (1, 700, FEWEST + 1, MANY)]
    seen: list[object] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                rows = online.online.lookup_many(online.view.name, customers)
                seen.append(tuple({row["amount"] for row in rows}))
            except UsageError:
                seen.append("none")

    with redis_process(tmp_path) as redis:
        use(online, redis)
        online.replace(many_rows(0.0))
        online.sync()
        reader = threading.Thread(target=read)
        reader.start()
        try:
            for amount in (1.0, 2.0):
                online.replace(many_rows(amount))
                online.store.client.flushall()
                assert online.sync().mode is Mode.REBUILD
            in_the_middle(online.store.client.flushall)
            with pytest.raises(ConflictError, match="lost the view"):
                online.sync(full=True)
            online.sync()
        finally:
            stop.set()
            reader.join()
        assert set(seen) == {(0.0,), (1.0,), (2.0,), "none"}
        online.expect_equal()


def test_a_redis_that_evicts_keys_with_a_ttl_keeps_the_view(online: OnlineView, tmp_path: Path) -> None:
    with redis_process(tmp_path, maxmemory_policy="volatile-lru") as redis:
        use(online, redis)
        online.sync()
        client = online.store.client
        for number in range(300):
            client.set(f"session:{number}", b"x" * 1_000, ex=3_600)
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) - 100_000)
        client.set("pressure", b"x" * 1_000, ex=3_600)
        assert int(client.info("stats")["evicted_keys"]) > 0
        online.expect_equal()
        online.append([(customer, 1, 1.0, 1) for customer in range(3, 10)])
        assert online.sync().mode is Mode.COMPARE
        online.expect_equal()
        online.append([(customer, 1, 1.0, 1) for customer in range(10, 5_000)])
        with pytest.raises(ServiceError, match="full"):
            online.sync()
        assert list(client.scan_iter(match="session:*")) == []
        client.config_set("maxmemory", 0)
        online.sync()
        online.expect_equal()


def test_a_redis_that_is_killed_in_the_middle_and_reads_its_log_is_noticed(
    online: OnlineView, tmp_path: Path, in_the_middle: Hook
) -> None:
    with redis_process(tmp_path, appendonly="yes", appendfsync="always") as redis:
        use(online, redis)
        online.sync()
        before = online.store.synced(online.view.name).watermark
        online.replace(many_rows(1.0))

        def restart() -> None:
            redis.kill()
            redis.start()

        in_the_middle(restart)
        with pytest.raises(ServiceError, match="was restarted"):
            online.sync()
        after = online.store.synced(online.view.name)
        assert (after.watermark, len(after.unfinished)) == (before, 1)
        assert online.sync().mode is Mode.COMPARE
        online.expect_equal()
        restart()
        assert online.sync().mode is Mode.COMPARE
        assert online.sync().mode is Mode.NOTHING
        online.expect_equal()


def test_a_redis_that_reads_an_older_dump_is_noticed(online: OnlineView, tmp_path: Path, in_the_middle: Hook) -> None:
    with redis_process(tmp_path) as redis:
        use(online, redis)
        online.sync()
        first = online.store.synced(online.view.name).watermark
        online.replace(many_rows(1.0))
        in_the_middle(online.store.client.save)
        online.sync()
        online.replace(many_rows(2.0, first=100))
        online.sync()
        redis.kill()
        redis.start()
        after = online.store.synced(online.view.name)
        assert (after.watermark, len(after.unfinished)) == (first, 1)
        assert online.sync().mode is Mode.COMPARE
        online.expect_equal()
