"""Redis equals a published snapshot: after appends, restatements, deletes, compactions, and whatever Redis lost."""

from dataclasses import replace

import pytest
from tests.conftest import Fresh
from tests.support.online import OnlineView

from asgard.common.errors import ServiceError, UsageError
from asgard.common.names import BranchName
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import RefKind
from asgard.serving.redis_access.store import Store
from asgard.serving.sync.plan import Mode
from asgard.serving.sync.sync import sync
from asgard.serving.sync.verify import verify


@pytest.fixture
def online(lake: Lakehouse, fresh: Fresh) -> OnlineView:
    """A view of a gold table with three customers, synced."""
    made = OnlineView(lake, fresh.table("gold").name)
    made.append([(1, 0, 10.0, 1), (2, 0, 20.0, 2), (3, 0, 30.0, 3)])
    assert made.sync().mode is Mode.REBUILD
    made.expect_equal()
    return made


def test_an_append_writes_what_it_touches(online: OnlineView) -> None:
    online.append([(2, 1, 21.0, 3), (4, 1, 40.0, 4)])
    done = online.sync()
    assert (done.mode, done.counted.entities, done.counted.written) == (Mode.CHANGES, 2, 2)
    online.expect_equal()


def test_a_restated_row_of_an_old_day_reaches_redis_only_where_it_counts(online: OnlineView) -> None:
    online.append([(1, 5, 15.0, 5)])
    online.sync()
    # Day 0 of customers 1 and 2 is restated: it is the newest row of customer 2 only.
    online.replace([(1, 0, 99.0, 9), (1, 5, 15.0, 5), (2, 0, 22.0, 2), (3, 0, 30.0, 3)])
    done = online.sync()
    assert (done.mode, done.counted.entities) == (Mode.CHANGES, 2)
    online.expect_equal()
    assert online.served([1, 2])[1][1:] == (15.0, 5)
    assert online.served([1, 2])[2][1:] == (22.0, 2)


def test_a_deleted_customer_is_gone_within_one_sync(online: OnlineView) -> None:
    online.replace([(1, 0, 10.0, 1), (3, 0, 30.0, 3)])
    done = online.sync()
    assert (done.counted.written, done.counted.deleted) == (0, 1)
    online.expect_equal()


def test_rewritten_files_with_the_same_rows_write_nothing(online: OnlineView) -> None:
    online.replace([(3, 0, 30.0, 3), (2, 0, 20.0, 2), (1, 0, 10.0, 1)])
    done = online.sync()
    assert (done.mode, done.counted.entities, done.counted.written) == (Mode.CHANGES, 0, 0)
    online.expect_equal()


def test_nothing_new_is_nothing_to_do(online: OnlineView) -> None:
    assert online.sync().mode is Mode.NOTHING
    online.expect_equal()


def test_a_flushed_redis_is_filled_again(online: OnlineView) -> None:
    for names in online.store.names(f"{online.store.prefix}:{online.view.name}:".encode()):
        online.store.client.delete(*names)
    assert online.sync().mode is Mode.REBUILD
    online.expect_equal()


def test_another_ref_does_not_take_the_place_of_the_one_that_is_served(online: OnlineView) -> None:
    nessie = online.lake.nessie
    made = nessie.create(RefKind.BRANCH, BranchName("other_ref"), nessie.head("main"), "main")
    other = Lakehouse(replace(online.lake.settings, nessie_ref="other_ref"))
    before = online.store.synced(online.view.name).watermark
    try:
        with pytest.raises(UsageError, match="as main has it, not other_ref"):
            sync(other, online.store, online.view, say=lambda _line: None)
        assert online.store.synced(online.view.name).watermark == before
        assert sync(other, online.store, online.view, full=True, say=lambda _line: None).mode is Mode.REBUILD
        online.sync(full=True)
    finally:
        nessie.delete(made)
    online.expect_equal()


def test_rows_of_a_state_that_was_lost_are_swept(online: OnlineView) -> None:
    online.store.client.delete(online.store.keys(online.view.name).state)
    online.append([(9, 0, 9.0, 9)])
    assert online.sync().mode is Mode.REBUILD
    start = online.store.keys(online.view.name).start
    assert len({name for names in online.store.names(start) for name in names}) == 2 + 4
    online.expect_equal()


@pytest.mark.parametrize("damage", [None, b"1", b"{}", b"x"])
def test_a_damaged_head_is_no_equal_view(online: OnlineView, damage: bytes | None) -> None:
    head = online.store.keys(online.view.name).head
    if damage is None:
        online.store.client.delete(head)
    else:
        online.store.client.set(head, damage)
        with pytest.raises(ServiceError, match="can't be read"):
            online.served([1])
    with pytest.raises(ServiceError, match="read"):
        verify(online.lake, online.store, online.view, lambda _line: None)
    online.sync(full=True)
    assert verify(online.lake, online.store, online.view, lambda _line: None).is_equal


@pytest.mark.parametrize(("field", "text"), [("syncs", "abc"), ("unfinished", "{"), ("watermark", "x")])
def test_a_damaged_state_is_told(online: OnlineView, field: str, text: str) -> None:
    online.store.client.hset(online.store.keys(online.view.name).state, field, text)
    with pytest.raises(ServiceError, match="can't be read"):
        online.store.synced(online.view.name)


def test_one_redis_has_one_owner_however_it_is_written(online: OnlineView) -> None:
    same = ("redis://h:6379/0", "redis://h", "rediss://ada:pw@h:6379", "redis://H/0?ssl_ca_certs=x")
    assert len({Store(url).owner for url in same}) == 1
    others = ("redis://h/1", "redis://h:6380", "redis://g", "redis+sentinel://h:6379/main/0")
    assert len({Store(url).owner for url in (*same, *others)}) == 1 + len(others)
    assert Store("redis://localhost:7000").owner == Store("redis://127.0.0.1:7000/0").owner
    assert Store("redis://h", prefix="a").owner != Store("redis://h", prefix="b").owner
