"""A row that is too old is expired, and stays in Redis; a newer one of the same entity is found again."""

from datetime import UTC, datetime

import pytest
from tests.conftest import Fresh
from tests.support.customer_views import START, view_of
from tests.support.online import OnlineView

from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.serving import Status
from asgard.serving.sync.plan import Mode
from asgard.serving.sync.verify import verify


@pytest.fixture
def today() -> int:
    """In days since the first of the tests' rows."""
    return (datetime.now(UTC) - START).days


def statuses(online: OnlineView) -> list[Status]:
    rows = online.online.lookup_many(online.view.name, [{"customer_id": customer} for customer in (1, 2, 3)])
    assert all(row["amount"] is None for row in rows if row.status is not Status.FOUND)
    return [row.status for row in rows]


def test_an_expired_row_is_found_again_once_a_newer_one_is_published(lake: Lakehouse, fresh: Fresh, today: int) -> None:
    online = OnlineView(lake, fresh.table("gold").name, ttl="30d")
    online.append([(1, today - 40, 1.0, 1), (2, today - 20, 2.0, 2)])
    online.sync()
    assert statuses(online) == [Status.EXPIRED, Status.FOUND, Status.MISSING]
    assert online.keys() == {1, 2}
    online.append([(1, today - 10, 1.5, 1), (3, today - 35, 3.0, 3)])
    assert online.sync().mode is Mode.CHANGES
    assert statuses(online) == [Status.FOUND, Status.FOUND, Status.EXPIRED]
    assert online.online.lookup(online.view.name, {"customer_id": 1})["amount"] == 1.5
    # The newer row is taken back: the entity is as old as it was.
    online.replace([(1, today - 40, 1.0, 1), (2, today - 20, 2.0, 2)])
    online.sync()
    assert statuses(online) == [Status.EXPIRED, Status.FOUND, Status.MISSING]
    assert verify(lake, online.store, online.view, lambda _line: None).is_equal


def test_another_ttl_counts_from_the_next_sync_on(lake: Lakehouse, fresh: Fresh, today: int) -> None:
    online = OnlineView(lake, fresh.table("gold").name, ttl="30d")
    online.append([(1, today - 40, 1.0, 1), (2, today - 20, 2.0, 2)])
    online.sync()
    online.view = view_of(online.table, online=True, ttl="50d")
    assert online.sync().mode is Mode.REBUILD
    assert statuses(online) == [Status.FOUND, Status.FOUND, Status.MISSING]
    online.view = view_of(online.table, online=True, ttl="10d")
    online.sync()
    assert statuses(online) == [Status.EXPIRED, Status.EXPIRED, Status.MISSING]
