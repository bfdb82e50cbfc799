"""What `asgard status` says of data that is behind: one short block, whatever the number of views and tables."""

from asgard.common.names import TableName
from asgard.local.data_status import DataStatus


def test_many_views_and_tables_are_a_line_each() -> None:
    views = {f"v{number}": TableName("gold", "x") for number in range(100)}
    stale = {f"silver.t{number}": {"missing": 1_000, "stale by data": 2} for number in range(7)}
    lines = list(DataStatus("main", older_views=views, pipeline="my shop.py", stale=stale).lines())
    assert len(lines) == 2
    assert lines[0].startswith("100 views are registered at older snapshots than main has: v0, v1, v2, v3, v4 and 95 ")
    assert "silver.t0 (1,000 missing, 2 stale by data), " in lines[1]
    assert lines[1].endswith(" and 2 more; `asgard plan -p 'my shop.py'` names the intervals")


def test_what_is_not_known_is_not_called_up_to_date() -> None:
    assert list(DataStatus("main").lines()) == []
    assert list(DataStatus("main", pipeline="shop").lines()) == ["the tables of shop are up to date"]
    assert list(DataStatus("main", pipeline="shop", remarks=["no"]).lines()) == ["no"]
