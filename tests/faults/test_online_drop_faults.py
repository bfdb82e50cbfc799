"""A view is taken out of Redis by a process that is killed between any two steps, or while a sync runs."""

import signal
from pathlib import Path

import pytest
from tests.conftest import Fresh
from tests.support.online import FIRST, OnlineView, expect_gone, offline, start_slow_sync
from tests.support.online_worker import Syncs

from asgard.common.errors import UsageError
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.serving.sync.removal import remove

STEPS = ("drop-after-token", "drop-after-head", "drop-after-rows", "drop-after-state", "drop-after-hold")


def synced(lake: Lakehouse, fresh: Fresh, codec: str) -> OnlineView:
    made = OnlineView(lake, fresh.table("gold").name, codec=codec)
    made.append(FIRST)
    made.register()
    made.sync()
    return made


@pytest.mark.parametrize("codec", ["packed", "feast"])
@pytest.mark.parametrize("step", STEPS)
def test_a_drop_that_was_killed_is_ended_by_the_next_or_undone_by_a_sync(
    lake: Lakehouse, fresh: Fresh, syncs: Syncs, step: str, codec: str
) -> None:
    online = synced(lake, fresh, codec)
    was = online.view
    offline(online)
    assert syncs.drop(was.name, f"{step}:kill") == -signal.SIGKILL
    if step != "drop-after-token":
        with pytest.raises(UsageError, match="no view"):
            online.online.lookup(was.name, {"customer_id": 1})
    online.view = was
    online.register()
    online.sync()  # it became online again instead: nothing is missing
    online.expect_equal()
    offline(online)
    assert syncs.drop(was.name, f"{step}:kill") == -signal.SIGKILL
    if step == "drop-after-hold":  # the last step was done
        with pytest.raises(UsageError, match="has no view"):
            remove(lake, online.store, was.name, lambda _line: None)
    else:
        remove(lake, online.store, was.name, lambda _line: None)
    expect_gone(online)


def test_a_sync_that_runs_meanwhile_writes_no_more(lake: Lakehouse, fresh: Fresh, syncs: Syncs, tmp_path: Path) -> None:
    online, go = synced(lake, fresh, "packed"), tmp_path / "go"
    slow = start_slow_sync(online, syncs, go)
    offline(online)
    remove(lake, online.store, online.view.name, lambda _line: None)
    go.touch()
    code, said = syncs.join(slow)
    assert code == 1
    assert "Another sync" in said
    expect_gone(online)
