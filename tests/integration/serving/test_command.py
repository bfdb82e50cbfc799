"""`asgard online-sync` over several views, one of which fails; and a view that is not online any more."""

import json
import time
from typing import Any

import pytest
from tests.conftest import Fresh
from tests.support.online import OnlineView, expect_gone, offline

from asgard.cli.app import main
from asgard.common.errors import UsageError
from asgard.common.settings import load_settings
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import drop, put
from asgard.local.online_status import online_status
from asgard.serving.redis_access.store import Store

ROWS = [(1, 0, 10.0, 1), (2, 0, 20.0, 2)]


def made(lake: Lakehouse, fresh: Fresh, **properties: Any) -> OnlineView:
    online = OnlineView(lake, fresh.table("gold").name, **properties)
    online.append(ROWS)
    online.register()
    return online


@pytest.mark.parametrize(("option", "codes"), [("--verify", (2, 1)), ("--dry-run", (2, 0)), ("--full", (2, 0))])
def test_a_view_that_fails_hides_nothing_of_the_others(
    lake: Lakehouse, fresh: Fresh, capsys: pytest.CaptureFixture[str], option: str, codes: tuple[int, int]
) -> None:
    bad, good = made(lake, fresh), made(lake, fresh)
    good.sync()
    start = good.store.keys(good.view.name).row(good.store.synced(good.view.name).generation)
    good.store.client.delete(start + b"2")
    key, content = ("gold", bad.table.name.name), bad.content()
    commit = lake.nessie.commit(lake.target, lake.nessie.head(lake.target), [drop(key)], "no table")
    command = ["online-sync", option, "--json", "--dir", str(lake.settings.project_dir)]
    both = ["--view", bad.view.name, "--view", good.view.name]
    try:
        assert main([*command, *both]) == codes[0]
    finally:
        lake.nessie.commit(lake.target, commit, [put(key, content, is_new=True)], "again")
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert [each["view"] for each in found["views"]] == [good.view.name]
    (failure,) = found["failed"]
    assert failure["view"] == bad.view.name
    assert failure["message"] in said.err
    assert failure["hint"]
    assert main([*command, "--view", good.view.name]) == codes[1]
    assert json.loads(capsys.readouterr().out)["failed"] == []


@pytest.mark.parametrize("codec", ["packed", "feast"])
def test_a_view_that_is_not_online_any_more_is_taken_out(
    lake: Lakehouse, fresh: Fresh, capsys: pytest.CaptureFixture[str], codec: str
) -> None:
    online, beside = made(lake, fresh, codec=codec), made(lake, fresh, codec=codec)
    online.sync()
    beside.sync()
    name, folder = online.view.name, ["--dir", str(lake.settings.project_dir)]
    assert main(["online-sync", "--drop", name, *folder]) == 2
    assert f"{name} is online" in capsys.readouterr().err
    assert name not in online_status(lake.settings).left_behind
    offline(online)
    assert name in online_status(lake.settings).left_behind
    main(["status", "--json", *folder])
    assert name in json.loads(capsys.readouterr().out)["left_behind"]
    main(["status", *folder])
    assert f"asgard online-sync --drop {name}" in capsys.readouterr().out
    main(["online-sync", "--dry-run", "--json", *folder])
    assert name in json.loads(capsys.readouterr().out)["left_behind"]
    main(["metrics", *folder])
    stays = capsys.readouterr().out
    assert main(["online-sync", "--drop", name, "--json", *folder]) == 0
    assert json.loads(capsys.readouterr().out)["dropped"]["rows"] == 2
    expect_gone(online)
    beside.expect_equal()
    with pytest.raises(UsageError, match=f"no view {name}"):
        online.online.lookup(name, {"customer_id": 1})
    assert name not in online_status(lake.settings).left_behind
    assert main(["online-sync", "--drop", name, *folder]) == 2
    assert f"Redis has no view {name}" in capsys.readouterr().err
    main(["metrics", *folder])
    assert name not in capsys.readouterr().out
    assert f'view="{name}"' not in stays  # nothing of it was counted: it was synced by no command


def test_a_dropped_view_is_measured_no_more_and_comes_back_whole(
    lake: Lakehouse, fresh: Fresh, capsys: pytest.CaptureFixture[str]
) -> None:
    online = made(lake, fresh)
    name, folder = online.view.name, ["--dir", str(lake.settings.project_dir)]
    assert main(["online-sync", "--view", name, *folder]) == 0
    capsys.readouterr()
    main(["metrics", "--json", *folder])
    found = {
        each["name"]: sample["value"]
        for each in json.loads(capsys.readouterr().out)["metrics"]
        for sample in each["samples"]
        if sample["labels"].get("view") == name
    }
    assert found["asgard_online_store_keys"] == 2
    lag = time.time() - found["asgard_online_equal_timestamp_seconds"]
    assert lag - 60 < found["asgard_online_sync_lag_seconds"] <= lag
    was = online.view
    offline(online)
    assert main(["online-sync", "--drop", name, *folder]) == 0
    assert "2 entities and 1 holds" in capsys.readouterr().out
    main(["metrics", *folder])
    assert name not in capsys.readouterr().out
    online.view = was
    online.register()
    online.sync()
    online.expect_equal()


def test_what_another_prefix_left_is_named_and_stays(
    lake: Lakehouse, fresh: Fresh, capsys: pytest.CaptureFixture[str]
) -> None:
    online = made(lake, fresh)
    online.sync()
    folder = str(lake.settings.project_dir)
    online.use(load_settings({"project_dir": folder, "online_prefix": "renamed"}))
    online.sync()
    offline(online)
    name = online.view.name
    assert main(["online-sync", "--drop", name, "--dir", folder, "--set", "online_prefix=renamed"]) == 0
    said = capsys.readouterr().out
    owner = Store.of(lake.settings).owner
    assert f"the hold hold_online_{name}_{owner}-" in said
    assert name in online_status(lake.settings).left_behind
    assert main(["online-sync", "--drop", name, "--dir", folder]) == 0
    online.use(lake.settings)
    expect_gone(online)
