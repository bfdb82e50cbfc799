"""Redis equals a published snapshot: after appends, restatements, deletes, compactions, and whatever Redis lost."""

import pytest
from tests.conftest import Fresh
from tests.support.online import OnlineView

from asgard.lakehouse.lake import Lakehouse
from asgard.serving.sync import Mode


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
