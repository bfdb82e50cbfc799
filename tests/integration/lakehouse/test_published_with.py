"""Published states: the commit of a snapshot is found by one request, and a state of any ref can be held."""

from typing import Any

import pytest
from tests.conftest import Fresh
from tests.support.runs import declared, write_rows

from asgard.common.errors import UsageError
from asgard.common.names import BranchName, SnapshotId
from asgard.lakehouse.catalog.holds import hold, hold_name, release
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import RefKind, drop, put_namespace
from asgard.lakehouse.catalog.snapshots import published_with


@pytest.fixture
def requests(lake: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Nessie is asked from now on."""
    asked: list[str] = []
    sent = lake.nessie._pool.request

    def counted(method: str, url: str, **more: Any) -> Any:
        asked.append(f"{method} {url}")
        return sent(method, url, **more)

    monkeypatch.setattr(lake.nessie._pool, "request", counted)
    return asked


def test_one_request_finds_it_among_others(lake: Lakehouse, fresh: Fresh, requests: list[str]) -> None:
    table, other = declared(fresh.table("gold"), mode="append"), declared(fresh.table("gold"), mode="append")
    states = []
    for _ in range(3):
        write_rows(lake, table, lake.spark.range(2))
        head = lake.nessie.head("main")
        states.append((lake.content(table.name, f"main@{head}").snapshot_id, head))
        write_rows(lake, other, lake.spark.range(2))
    requests.clear()
    for snapshot, commit in states:
        at = published_with(lake, table.name, snapshot)
        assert (at.reference, at.commit) == ("main", commit)
    assert len(requests) == len(states), requests
    requests.clear()
    for name, snapshot in ((other.name, states[0][0]), (table.name, SnapshotId(7))):
        with pytest.raises(UsageError, match=f"{name} was never published on main with snapshot {snapshot}"):
            published_with(lake, name, snapshot)
    assert len(requests) == 2, requests


def test_a_table_that_was_dropped_is_found_where_it_was(lake: Lakehouse, fresh: Fresh) -> None:
    table = declared(fresh.table("gold"), mode="append")
    write_rows(lake, table, lake.spark.range(2))
    head = lake.nessie.head("main")
    snapshot = lake.content(table.name, f"main@{head}").snapshot_id
    lake.nessie.commit(lake.target, head, [drop((table.name.layer, table.name.name))], "drop it")
    assert published_with(lake, table.name, snapshot).commit == head
    changes = [content.snapshot_id if content else None for _, content in lake.nessie.history("main", table.name)]
    assert changes == [None, snapshot]


def test_a_hold_of_another_branch_or_tag(lake: Lakehouse, fresh: Fresh) -> None:
    name = fresh.table().name
    main = lake.nessie.head("main")
    branch = lake.nessie.create(RefKind.BRANCH, BranchName(f"branch_{name}"), main, "main")
    commit = lake.nessie.commit(branch.name, main, [put_namespace(name)], "only there")
    tag = lake.nessie.create(RefKind.TAG, BranchName(f"tag_{name}"), commit, branch.name)
    made = [branch.name, tag.name]
    try:
        for number, ref in enumerate((branch.name, tag.name)):
            made.append(hold_name("test", name, str(number)))
            hold(lake, made[-1], commit, ref)
            assert lake.nessie.head(made[-1]) == commit
    finally:
        for each in made:
            release(lake, each)
