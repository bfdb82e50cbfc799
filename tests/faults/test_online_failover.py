"""Redis behind Sentinels: found through them, and a failover in the middle of a sync never passes for a whole one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.online import Hook, OnlineView, many_rows
from tests.support.redis import redis_process
from tests.support.sentinels import PASSWORD, Sentinels, sentinels
from tests.support.waiting import wait_until

from asgard.common.errors import AsgardError, ServiceError, ServiceUnreachableError
from asgard.common.settings import load_settings
from asgard.serving import AsyncOnlineStore, OnlineStore
from asgard.serving.codecs.base import EncodedBatch
from asgard.serving.redis_access.store import Store
from asgard.serving.sync.plan import Mode, load_target
from asgard.serving.sync.rows import codec_of


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Sentinels]:
    with sentinels(tmp_path) as found:
        yield found


def use(online: OnlineView, url: str) -> None:
    online.use(load_settings({"project_dir": str(online.lake.settings.project_dir), "redis_url": url}))


def test_a_failover_in_the_middle_fails_the_sync_and_the_next_compares_everything(
    online: OnlineView, watched: Sentinels, in_the_middle: Hook
) -> None:
    use(online, watched.url)
    assert online.sync().mode is Mode.REBUILD
    online.expect_equal()
    online.replace(many_rows(1.0))

    def fail_over() -> None:
        watched.primary.kill()
        wait_until(lambda: watched.is_primary(watched.replica), "there is a new primary")

    in_the_middle(fail_over)
    with pytest.raises(ServiceError, match="another one took over"):
        online.sync()
    synced = online.store.synced(online.view.name)
    assert synced.watermark is not None
    assert synced.watermark.snapshot_id != online.content().snapshot_id
    assert online.online.lookup(online.view.name, {"customer_id": 5})["amount"] in (5.0, 1.0)
    assert online.sync().mode is Mode.COMPARE
    online.expect_equal()
    assert online.sync().mode is Mode.NOTHING

    async def look() -> float:
        client = AsyncOnlineStore(watched.url, timeout=10)
        try:
            found: float = (await client.lookup(online.view.name, {"customer_id": 5}))["amount"]
            return found
        finally:
            await client.close()

    assert asyncio.run(look()) == 1.0

    wrong = watched.url.replace(f"sentinel_password={PASSWORD}", "sentinel_password=wrong")
    unknown = watched.url.replace("/asgardian/", "/nobody/")
    refused = watched.url.replace(f"//:{PASSWORD}@", "//:wrong@")
    for url, words in ((wrong, "ask for a password"), (unknown, "no such service"), (refused, "user or the password")):
        with pytest.raises(AsgardError, match=words) as caught:
            OnlineStore(url).lookup(online.view.name, {"customer_id": 5})
        said = f"{caught.value}{caught.value.hint}"
        assert PASSWORD not in said
        assert "wrong" not in said
        assert isinstance(caught.value, ServiceUnreachableError) == (url != refused)


def test_a_primary_that_was_a_replica_in_between_lost_rows_and_is_noticed(online: OnlineView, tmp_path: Path) -> None:
    """Its run id is the same as before, and so is the token."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    fast = {"repl_diskless_sync": "yes", "repl_diskless_sync_delay": "0"}
    with redis_process(tmp_path / "one", **fast) as first, redis_process(tmp_path / "other", **fast) as second:
        one, other = Store(first.url), Store(second.url)

        def follow(follower: Store, port: int) -> None:
            follower.client.execute_command("REPLICAOF", "127.0.0.1", port)
            wait_until(lambda: follower.client.info("replication")["master_link_status"] == "up", "it is in step")

        use(online, first.url)
        online.sync()
        follow(other, first.port)
        online.append([(1, 1, 100.0, 100)])
        target = online.store.synced(online.view.name).watermark
        assert target is not None
        fenced = online.store.fenced(online.view.name, online.store.require_fit())
        codec = codec_of(online.view, load_target(online.lake, online.view)[0].table)
        generation = fenced.begin(target, fenced.synced.generation)
        wait_until(lambda: other.synced(online.view.name).unfinished != (), "the replica knows of the sync")
        other.client.execute_command("REPLICAOF", "NO", "ONE")
        fenced.write(codec, generation, EncodedBatch([b"1"], [b"lost"]))
        follow(one, second.port)
        one.client.execute_command("REPLICAOF", "NO", "ONE")
        assert one.client.get(online.store.keys(online.view.name).row(generation) + b"1") != b"lost"
        with pytest.raises(ServiceError, match="another one took over"):
            fenced.finish(generation, target, "{}")
        online.sync()
        online.expect_equal()
