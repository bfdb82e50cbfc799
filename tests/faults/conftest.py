"""What the tests of online syncs share: a synced view, and syncs in processes of their own."""

from collections.abc import Callable
from itertools import cycle

import pytest
from tests.conftest import Fresh
from tests.support.online import FIRST, Hook, OnlineView
from tests.support.online_worker import FEWEST

from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.serving.sync import changes, sending


@pytest.fixture
def online(lake: Lakehouse, fresh: Fresh) -> OnlineView:
    """A registered view of a gold table with five customers, synced."""
    made = OnlineView(lake, fresh.table("gold").name)
    made.append(FIRST)
    made.register()
    made.sync()
    return made


@pytest.fixture
def in_the_middle(monkeypatch: pytest.MonkeyPatch) -> Hook:
    """Do something once, after the second batch of the next sync of many customers."""
    monkeypatch.setattr(changes, "_BATCH_ROWS", FEWEST)

    def arm(act: Callable[[], None]) -> None:
        batches = cycle((1, 2))

        def act_once(name: str) -> None:
            if name == "between-batches" and next(batches) == 2:
                monkeypatch.setattr(sending, "failpoint", lambda _name: None)
                act()

        monkeypatch.setattr(sending, "failpoint", act_once)

    return arm
