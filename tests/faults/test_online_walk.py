"""A random walk through all that may happen to a table, a view, its syncs and its Redis; it always ends in equality."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Fresh
from tests.support.customer_views import Rows, view_of
from tests.support.online import FIRST, OnlineView
from tests.support.online_worker import Syncs
from tests.support.redis import RedisProcess, redis_process

from asgard.common.errors import ConflictError
from asgard.common.settings import load_settings
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.serving.sync import sending
from asgard.serving.sync import sync as syncing
from asgard.serving.sync.plan import Mode

FAILPOINTS = ("after-token", "after-hold", "after-target", "between-batches", "after-rows", "after-watermark")
STEPS = 25
SEED = 20_240_601


class Walk:
    """One walk.

    Args:
        online: a view in a Redis of its own.
        redis: that one.
        syncs: in processes of their own.
        patch: for what happens in the middle of a sync of this process.
    """

    def __init__(self, online: OnlineView, redis: RedisProcess, syncs: Syncs, patch: pytest.MonkeyPatch) -> None:
        self.online, self._redis, self._syncs, self._patch = online, redis, syncs, patch
        self._random = random.Random(SEED)
        self._contents = [online.content()]

    def step(self) -> str:
        """Something happens to the table, then to Redis or a sync; what."""
        happened = [self._random.choice((self.append, self.append, self.replace, self.put_back, self.compact))]
        happened += self._random.choices((self.nothing, self.kill, self.overtake, self.restart, self.lose), k=1)
        happened += self._random.choices((self.nothing, self.kill, self.evict, self.declare), (4, 2, 1, 1))
        for act in happened:
            act()
        self._contents.append(self.online.content())
        return ", ".join(act.__name__ for act in happened)

    def nothing(self) -> None:
        """A quiet day."""

    def append(self) -> None:
        self.online.append(self._rows())

    def replace(self) -> None:
        self.online.replace(self._rows())

    def put_back(self) -> None:
        self.online.put_back(self._random.choice(self._contents))

    def compact(self) -> None:
        """The same rows in other files."""
        table, lake = self.online.table.name, self.online.lake
        lake.spark.sql(
            f"CALL lake.system.rewrite_data_files(table => '{table}', options => map('rewrite-all', 'true'))"
        ).collect()

    def kill(self) -> None:
        """A sync in a process of its own dies, if it comes so far."""
        arguments = self._random.choice(((), ("--full",)))
        failpoint = f"{self._random.choice(FAILPOINTS)}:kill"
        name, url = self.online.view.name, self._redis.url
        code = self._syncs.run(name, *arguments, failpoint=failpoint, redis_url=url)
        assert code in (0, -signal.SIGKILL)
        if code == 0:
            self.online.expect_equal()

    def overtake(self) -> None:
        """Another sync of another snapshot begins and ends in the middle of one, which then writes no more."""
        met = self._random.choice(FAILPOINTS)
        newer = self._rows()

        def begin_another(name: str) -> None:
            if name == met:
                self._patch.undo()
                self.online.append(newer)
                self.online.sync()

        for module in (syncing, sending):
            self._patch.setattr(module, "failpoint", begin_another)
        try:
            self.online.sync(full=self._random.random() < 0.5)
        except ConflictError:
            assert met != "after-watermark"
        self._patch.undo()

    def restart(self) -> None:
        """Redis dies, and reads its log."""
        self._redis.kill()
        self._redis.start()

    def lose(self) -> None:
        self.online.store.client.flushall()

    def evict(self) -> None:
        """Some keys go, as they do where the policy is wrong for a while."""
        client = self.online.store.client
        others = [f"other:{number}" for number in range(100)]
        client.mset(dict.fromkeys(others, b"x" * 1_000))
        client.config_set("maxmemory-policy", "allkeys-random")
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) - 30_000)
        client.set("pressure", b"x")
        assert int(client.info("stats")["evicted_keys"]) > 0
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")
        client.delete("pressure", *others)

    def declare(self) -> None:
        """The view changes, or changes back."""
        ttl = None if self.online.view.ttl else "36500d"
        self.online.view = view_of(self.online.table, online=True, ttl=ttl)
        self.online.register()

    def _rows(self) -> Rows:
        pick = self._random.randrange
        return [(pick(1, 30), pick(5), float(pick(4)), pick(3)) for _ in range(pick(1, 25))]


@pytest.fixture
def walk(
    lake: Lakehouse, fresh: Fresh, syncs: Syncs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Walk]:
    online = OnlineView(lake, fresh.table("gold").name)
    with redis_process(tmp_path, appendonly="yes", appendfsync="always") as redis:
        online.use(load_settings({"project_dir": str(lake.settings.project_dir), "redis_url": redis.url}))
        online.append(FIRST)
        online.register()
        yield Walk(online, redis, syncs, monkeypatch)


def test_a_random_walk_ends_each_sync_in_equality(walk: Walk) -> None:
    modes = set()
    for number in range(STEPS):
        happened = walk.step()
        modes.add(walk.online.sync().mode)
        try:
            walk.online.expect_equal()
        except AssertionError as error:
            raise AssertionError(f"seed {SEED}, step {number}: {happened}") from error
        assert walk.online.sync().mode is Mode.NOTHING, happened
    assert modes == set(Mode)
