"""How far Redis is behind what is published, in publishes."""

from tests.conftest import Fresh
from tests.support.customer_views import frame
from tests.support.online import OnlineView

from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse, identifier
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.run import RunRequest, execute
from asgard.serving.sync.plan import Mode
from asgard.serving.sync.status import status

ROWS = [(1, 0, 10.0, 1), (2, 0, 20.0, 2)]


def test_status_counts_publishes_not_snapshots(lake: Lakehouse, fresh: Fresh) -> None:
    online = OnlineView(lake, fresh.table("gold").name)
    online.append(ROWS)

    def behind() -> tuple[int | None, bool]:
        found = status(lake, online.store, online.view)
        return found.publishes_behind, bool(found.seconds_behind)

    assert behind() == (None, False)
    online.sync()
    first = online.content()
    assert behind() == (0, False)
    work = frame(lake, [(3, 0, 30.0, 3)])

    def twice(attempt: Attempt) -> None:
        attempt.write(online.table, work)
        branch = identifier(online.table.name, attempt.branch)
        attempt.session.sql(f"INSERT INTO {branch} SELECT * FROM {branch} LIMIT 1")

    execute(lake, RunRequest("test"), twice, lambda _line: None)
    state = TableState.load(online.content().metadata_location, lake.settings)
    assert len(state.ancestors(online.content().snapshot_id)) == 3
    assert behind() == (1, True)
    online.replace(ROWS)
    assert behind() == (2, True)
    online.put_back(first)
    assert behind() == (0, False)
    assert online.sync().mode is Mode.NOTHING
