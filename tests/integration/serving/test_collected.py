"""What Redis was made equal to is gone from the warehouse: everything is compared, and no entity is ever missing."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.conftest import Fresh
from tests.support.online import OnlineView

from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import Content
from asgard.serving.sync import sending
from asgard.serving.sync import sync as syncing
from asgard.serving.sync.plan import Mode, load_target

ROWS = [(customer, 0, float(customer), customer) for customer in range(1, 8)]


def path_of(location: str) -> Path:
    return Path(urlsplit(location).path)


def data_files(online: OnlineView, content: Content) -> list[Path]:
    state = TableState.load(content.metadata_location, online.lake.settings)
    return [path_of(file.path) for file in state.live_files()]


def metadata_file(_online: OnlineView, content: Content) -> list[Path]:
    return [path_of(content.metadata_location)]


def everything(online: OnlineView, content: Content) -> list[Path]:
    return [*data_files(online, content), *metadata_file(online, content)]


@pytest.mark.parametrize("files", [data_files, metadata_file, everything])
def test_a_collected_watermark_is_compared_without_a_gap_and_the_next_sync_is_incremental(
    lake: Lakehouse,
    fresh: Fresh,
    monkeypatch: pytest.MonkeyPatch,
    files: Callable[[OnlineView, Content], list[Path]],
) -> None:
    online = OnlineView(lake, fresh.table("gold").name)
    online.append(ROWS)
    online.sync()
    gone = files(online, online.content())
    kept = [(customer, 0, float(customer % 2), 1) for customer in range(1, 6)]
    online.replace([*kept, (9, 0, 9.0, 9)])
    for path in gone:
        path.unlink()
    met = []

    def look(name: str) -> None:
        met.append(name)
        assert set(range(1, 6)) <= set(online.served(range(1, 10)))

    for module in (syncing, sending):
        monkeypatch.setattr(module, "failpoint", look)
    done = online.sync()
    assert (done.mode, done.counted.entities, done.counted.deleted) == (Mode.COMPARE, 6, 2)
    assert "between-batches" in met
    online.expect_equal()
    online.append([(2, 1, 22.0, 2)])
    done = online.sync()
    assert (done.mode, done.counted.written) == (Mode.CHANGES, 1)
    online.expect_equal()


def test_an_unfinished_target_that_was_collected_is_compared(lake: Lakehouse, fresh: Fresh) -> None:
    online = OnlineView(lake, fresh.table("gold").name)
    online.append(ROWS)
    online.sync()
    first = online.content()
    online.replace([(1, 0, 100.0, 1), (50, 0, 50.0, 1)])
    _, target = load_target(online.lake, online.view)
    fenced = online.store.fenced(online.view.name, online.store.require_fit())
    fenced.begin(target, fenced.synced.generation)
    gone = everything(online, online.content())
    online.put_back(first)
    for path in gone:
        path.unlink()
    assert online.sync().mode is Mode.COMPARE
    online.expect_equal()
