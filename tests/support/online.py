"""An online view of a test's gold table, and the expected content of Redis after each sync."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.customer_views import Rows, frame, view_of
from tests.support.online_worker import FEWEST, Syncs
from tests.support.waiting import wait_until

from asgard.common.names import BranchName
from asgard.common.settings import Settings
from asgard.features import register
from asgard.features.views import Codec, FeatureView
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import Content, put
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.declaring.declaration import Table, declare_table
from asgard.lakehouse.runs.run import RunRequest, execute
from asgard.serving import OnlineStore, Status
from asgard.serving.codecs.base import IN_PLACE
from asgard.serving.redis_access.store import Store
from asgard.serving.sync.plan import load_target
from asgard.serving.sync.rows import codec_of
from asgard.serving.sync.sync import SyncResult, sync

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Expected = dict[int, tuple[int, float | None, int | None]]
"""Customer -> event timestamp in microseconds, amount, visits."""
Hook = Callable[[Callable[[], None]], None]
"""Registers a function that is called once, in the middle of the next sync."""
FIRST = [(customer, 0, float(customer), customer) for customer in range(1, 6)]
MANY = 2 * FEWEST + 500
"""Number of customers that makes three batches."""


class OnlineView:
    """One view, its table, and the Redis of the tests.

    Args:
        lake: the tests' lakehouse.
        name: name of the gold table.
    """

    def __init__(self, lake: Lakehouse, name: str, **properties: Any) -> None:
        self.lake = lake
        self.table: Table = declare_table(f"gold.{name}", mode="append")
        self.whole: Table = declare_table(f"gold.{name}", mode="replace")
        self.view: FeatureView = view_of(self.table, online=True, **properties)
        self.use(lake.settings)

    def use(self, settings: Settings) -> None:
        """Use another Redis."""
        self.store = Store.of(settings)
        self.online = OnlineStore(settings=settings, timeout=10)

    def append(self, rows: Rows) -> None:
        """Publish more rows of (customer, day, amount, visits)."""
        self._publish(self.table, rows)

    def replace(self, rows: Rows) -> None:
        """Publish these rows in place of all earlier ones."""
        self._publish(self.whole, rows)

    def _publish(self, table: Table, rows: Rows) -> None:
        work = frame(self.lake, rows)
        execute(self.lake, RunRequest("test"), lambda attempt: attempt.write(table, work), lambda _line: None)

    def register(self) -> None:
        """Register the view, so that commands find it."""
        register.apply(self.lake, "tests", register.plan(self.lake, [self.view], resolve(self.lake, None)))

    def put_back(self, content: Content) -> None:
        """Commit an earlier state of the table to main, as users can with Nessie's own tools."""
        operation = put(("gold", self.table.name.name), content, is_new=False)
        self.lake.nessie.commit(BranchName("main"), self.lake.nessie.head("main"), [operation], "put back")

    def content(self) -> Content:
        """The content of the table on main."""
        return self.lake.content(self.table.name, "main")

    def sync(self, *, full: bool = False) -> SyncResult:
        """Once."""
        return sync(self.lake, self.store, self.view, full=full, say=lambda _line: None)

    def published(self) -> Expected:
        """Compute the expected rows in Redis, by the view's rule, row by row from the published table."""
        best: dict[int, tuple[Any, ...]] = {}
        state = TableState.load(self.lake.content(self.table.name, "main").metadata_location, self.lake.settings)
        for row in state.rows(("customer_id", "event_timestamp", "created_at", "amount", "visits")):
            values = tuple((row[name] is not None, row[name]) for name in ("amount", "visits"))
            order = (row["event_timestamp"], row["created_at"], *values)
            best[row["customer_id"]] = max(order, best.get(row["customer_id"], order))
        return {
            customer: (round((order[0] - EPOCH) / timedelta(microseconds=1)), order[2][1], order[3][1])
            for customer, order in best.items()
        }

    def served(self, customers: Sequence[int]) -> Expected:
        """Return the results of lookups."""
        rows = self.online.lookup_many(self.view.name, [{"customer_id": customer} for customer in customers])
        return {
            customer: (int(row.answers[0].event_micros or 0), row["amount"], row["visits"])
            for customer, row in zip(customers, rows, strict=True)
            if row.status is not Status.MISSING
        }

    def keys(self) -> set[int]:
        """Return the customers in Redis, by the names of its keys, of any generation."""
        if self.view.codec is Codec.FEAST:
            codec = codec_of(self.view, load_target(self.lake, self.view)[0].table)
            start = self.store.keys(self.view.name).row(IN_PLACE)
            return {
                int(codec.shown(entity)) for entities in codec.stored_entities(self.store, start) for entity in entities
            }
        start = f"{self.store.prefix}:{self.view.name}:".encode()
        names = {name for batch in self.store.names(start) for name in batch}
        return {int(name.rpartition(b":")[2]) for name in names if not name.endswith((b":state", b":head"))}

    def expect_equal(self) -> None:
        """Expect exactly the published rows in Redis."""
        expected = self.published()
        assert self.served(sorted({*expected, *range(200)})) == expected
        assert self.keys() == set(expected)
        synced = self.store.synced(self.view.name)
        assert synced.rows == len(expected)
        assert synced.unfinished == ()
        assert synced.watermark is not None
        head = self.lake.content(self.table.name, "main")
        assert synced.watermark.snapshot_id == head.snapshot_id
        holds = [each.hash for each in self.lake.nessie.references(f"hold_online_{self.view.name}_{self.store.owner}-")]
        assert holds == [synced.watermark.commit]


def many_rows(amount: float, first: int = 1) -> list[tuple[int, int, float, int]]:
    """Make rows of many customers, all with the same amount."""
    return [(customer, 0, amount, 1) for customer in range(first, first + MANY)]


def start_slow_sync(online: OnlineView, syncs: Syncs, go: Path) -> int:
    """Start a sync that has recorded its target, and waits until file `go` exists before it writes rows."""
    online.append([(1, 1, 100.0, 100)])
    slow = syncs.start(online.view.name, failpoint=f"after-target:wait:{go}")
    reached = go.with_name(f"{go.name}.reached")
    wait_until(reached.exists, "the sync is at its failpoint")
    return slow


def offline(online: OnlineView) -> None:
    """Register the view as no longer online."""
    online.view = replace(online.view, online=False)
    online.register()


def expect_gone(online: OnlineView) -> None:
    """Expect no key or field of the view in Redis, and no hold for it in Nessie."""
    names = {name for batch in online.store.names(online.store.keys(online.view.name).start) for name in batch}
    assert names == set()
    assert online.keys() == set()
    assert list(online.lake.nessie.references(f"hold_online_{online.view.name}_")) == []
