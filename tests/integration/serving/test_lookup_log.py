"""A log of lookups, joined back to the snapshots that it names, is equal; and what is not equal is found."""

import asyncio
import json
import math
import random
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.conftest import Fresh
from tests.support.customer_views import START
from tests.support.online import OnlineView
from tests.support.online_worker import Syncs
from tests.support.waiting import wait_until

from asgard.cli.app import main
from asgard.features import register
from asgard.features.views import Feature, feature_view, on_demand
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.declaring.declaration import declare_table
from asgard.lakehouse.runs.run import RunRequest, execute
from asgard.serving import AsyncOnlineStore, LookupLog, OnlineStore
from asgard.serving.codecs.base import HASH_NAMES
from asgard.serving.lookup_audit.check import Checked, check
from asgard.serving.redis_access.store import Store
from asgard.serving.sync.sync import sync

FIRST = [(1, 0, 10.0, 1), (2, 0, math.nan, 2), (3, 3, 30.0, 3)]
CUSTOMERS = [{"customer_id": customer} for customer in range(1, 8)]
CODECS = ["packed", "feast"]


def online_of(lake: Lakehouse, fresh: Fresh, **properties: Any) -> OnlineView:
    """A registered, synced view with three customers."""
    made = OnlineView(lake, fresh.table("gold").name, **properties)
    made.append(FIRST)
    made.register()
    made.sync()
    return made


def store_of(lake: Lakehouse, log: LookupLog) -> OnlineStore:
    return OnlineStore(settings=lake.settings, timeout=10, log=log)


def checked(lake: Lakehouse, path: Path) -> Checked:
    with path.open("rb") as lines:
        return check(lake, lines)


def counts(found: Checked) -> tuple[int, int, int, int]:
    return found.equal, found.later, found.differing, found.unchecked.total()


@pytest.mark.parametrize("codec", CODECS)
def test_lookups_over_syncs_restatements_and_deletes_are_all_equal(
    lake: Lakehouse, fresh: Fresh, tmp_path: Path, codec: str
) -> None:
    online = online_of(lake, fresh, codec=codec, ttl="2d")
    path = tmp_path / "lookups.jsonl"
    with LookupLog(path, share=1) as log:
        store = store_of(lake, log)

        def look() -> None:
            rows = store.lookup_many(online.view.name, CUSTOMERS, now=START + timedelta(days=3))
            assert {str(each) for each in rows.statuses} == {"found", "missing", "expired"}

        look()
        online.append([(2, 2, 20.5, None), (4, 3, 40.0, 4)])
        look()  # of the snapshot before
        online.sync()
        look()
        online.replace([(1, 1, 11.0, 1), (2, 2, 21.0, 2), (4, 0, 40.0, 4)])  # restated; 3 is gone, 4 is older
        online.sync()
        look()
        online.put_back(online.content())
        asyncio.run(look_alike(lake, log, online))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({line["snapshot_id"] for line in lines}) == 3
    assert {line["status"] for line in lines} == {"found", "missing", "expired"}
    assert (log.written, log.dropped, len(lines)) == (29, 0, 29)
    found = checked(lake, path)
    assert counts(found) == (29, 0, 0, 0), found


async def look_alike(lake: Lakehouse, log: LookupLog, online: OnlineView) -> None:
    store = AsyncOnlineStore(settings=lake.settings, timeout=10, log=log)
    await store.lookup(online.view.name, {"customer_id": 4})
    await store.close()


@pytest.mark.parametrize("codec", CODECS)
def test_a_value_that_was_changed_by_hand_is_found(
    lake: Lakehouse, fresh: Fresh, tmp_path: Path, capsys: pytest.CaptureFixture[str], codec: str
) -> None:
    online = online_of(lake, fresh, codec=codec)
    redis, path = online.store, tmp_path / "lookups.jsonl"
    if codec == "packed":
        redis.client.set(row_name(online, 1), redis.client.get(row_name(online, 3)))
        redis.client.delete(row_name(online, 2))
    else:
        names = {}
        for each in (1, 2, 3):
            known = online.online.lookup(online.view.name, {"customer_id": each}).answers[0].head.layout
            (name,) = known.names([{"customer_id": each}], "")
            names[each] = name.encode(HASH_NAMES)
        redis.client.hset(names[1], mapping=redis.client.hgetall(names[3]))
        redis.client.delete(names[2])
    with LookupLog(path, share=1) as log:
        store_of(lake, log).lookup_many(online.view.name, CUSTOMERS)
    assert main(["lookup-check", str(path), "--json", "--dir", str(lake.settings.project_dir)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["lines"], found["equal"], found["later"], found["differing"]) == (7, 5, 0, 2)
    first, second = found["examples"]
    assert (first["entity"], first["differences"]["amount"]) == ({"customer_id": 1}, [30.0, 10.0])
    assert (second["entity"], second["differences"]["status"]) == ({"customer_id": 2}, ["missing", "found"])
    assert second["differences"]["amount"] == [None, "NaN"]
    assert main(["lookup-check", str(path), "--dir", str(lake.settings.project_dir)]) == 1
    assert "amount: 30.0 was looked up, 10.0 is in the snapshot" in capsys.readouterr().out


@pytest.mark.parametrize("codec", CODECS)
def test_a_lookup_in_the_middle_of_a_sync_may_be_of_the_snapshot_to_come(
    lake: Lakehouse, fresh: Fresh, tmp_path: Path, syncs: Syncs, codec: str
) -> None:
    online = online_of(lake, fresh, codec=codec)
    online.append([(5, 0, 50.0, 5)])  # no sync comes by here
    online.replace([(1, 0, 100.0, 1), *FIRST[1:2]])
    go, path = tmp_path / "go", tmp_path / "lookups.jsonl"
    slow = syncs.start(online.view.name, failpoint=f"after-rows:wait:{go}")
    with LookupLog(path, share=1) as log:
        wait_until(go.with_name("go.reached").exists, "the sync is at its failpoint")
        store_of(lake, log).lookup_many(online.view.name, CUSTOMERS, now=START)  # the ttl's moment is another matter
        go.touch()
        assert syncs.join(slow)[0] == 0
    found = checked(lake, path)
    assert counts(found) == (5, 2, 0, 0), found  # 1 is restated, 3 is gone
    # What was published after a lookup explains nothing of it.
    early = [json.loads(line) for line in path.read_text().splitlines()]
    for line in early:
        line["at"] = (datetime.fromisoformat(line["at"]) - timedelta(hours=1)).isoformat()
    assert counts(check(lake, [json.dumps(line).encode() for line in early])) == (5, 0, 2, 0)


def test_a_row_of_a_state_that_was_left_again_is_no_row_of_a_later_one(
    lake: Lakehouse, fresh: Fresh, tmp_path: Path
) -> None:
    online = online_of(lake, fresh)
    first, path = online.content(), tmp_path / "lookups.jsonl"
    with LookupLog(path, share=1) as log:
        store = store_of(lake, log)
        store.lookup(online.view.name, {"customer_id": 1})
        online.append([(1, 1, 100.0, 100)])
        online.sync()
        row = online.store.client.get(row_name(online, 1))
        online.put_back(first)
        online.sync()
        online.store.client.set(row_name(online, 1), row)
        store.lookup(online.view.name, {"customer_id": 1})
    assert len({json.loads(line)["snapshot_id"] for line in path.read_text().splitlines()}) == 1
    assert counts(checked(lake, path)) == (1, 0, 1, 0)


def row_name(online: OnlineView, customer: int) -> bytes:
    start = online.store.keys(online.view.name).row(online.store.synced(online.view.name).generation)
    return start + str(customer).encode()


@pytest.mark.parametrize("codec", CODECS)
def test_lookups_while_syncs_run_are_of_a_snapshot_before_or_after(
    lake: Lakehouse, fresh: Fresh, tmp_path: Path, syncs: Syncs, codec: str
) -> None:
    walk, online, path = random.Random(5), online_of(lake, fresh, codec=codec), tmp_path / "lookups.jsonl"
    contents, stop = [online.content()], threading.Event()
    entities = [{"customer_id": customer} for customer in range(30)]

    def look(store: OnlineStore) -> None:
        while not stop.wait(0.01):
            store.lookup_many(online.view.name, entities)

    with LookupLog(path, share=0.3, seed=1, most_waiting=100_000) as log, ThreadPoolExecutor(2) as threads:
        plain, remembering = store_of(lake, log), OnlineStore(settings=lake.settings, log=log, cache_seconds=0.2)
        running = [threads.submit(look, store) for store in (plain, remembering)]
        try:
            for act in ("append", "replace", "put back", "append", "full", "replace"):
                rows = [(walk.randrange(30), walk.randrange(9), walk.random(), walk.randrange(9)) for _ in range(40)]
                if act == "put back":
                    online.put_back(contents[0])
                elif act == "append":
                    online.append(rows)
                else:
                    online.replace(rows)
                contents.append(online.content())
                if act == "append":
                    failpoint = walk.choice(("between-batches", "after-rows"))
                    assert syncs.run(online.view.name, failpoint=f"{failpoint}:kill") == -signal.SIGKILL
                online.sync(full=act == "full")
        finally:
            stop.set()
        for each in running:
            each.result()
    found = checked(lake, path)
    assert (found.differing, found.unchecked.total(), log.dropped) == (0, 0, 0), found
    assert found.equal > 1_000
    assert found.later > 0
    assert found.lines == log.written == found.equal + found.later


def test_what_cannot_be_checked_is_counted_with_its_reason(
    lake: Lakehouse, fresh: Fresh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    online = online_of(lake, fresh)
    path = tmp_path / "lookups.jsonl"
    with LookupLog(path, share=1) as log:
        store_of(lake, log).lookup(online.view.name, {"customer_id": 1})
    line = json.loads(path.read_text())
    wrong: list[Mapping[str, Any]] = [
        {"commit": "c0ffee" * 10 + "abcd"},
        {"snapshot_id": 7},
        {"shape": "another"},
        {"view": "nowhere"},
        {"entity": {"customer_id": "x"}, "snapshot_id": line["snapshot_id"]},
        {"format": 99},
    ]
    for each in wrong:
        path.write_text(f"{json.dumps({**line, **each})}\n")
        found = checked(lake, path)
        assert counts(found) == (0, 0, 0, 1), each
    path.write_text(f'{json.dumps(line)}\n{{"format": 1, "mom')
    assert counts(checked(lake, path)) == (1, 0, 0, 1)
    folder = ["--dir", str(lake.settings.project_dir)]
    assert main(["lookup-check", str(path), *folder]) == 0
    assert "not checked, 1: the line can't be read" in capsys.readouterr().out
    assert main(["lookup-check", str(tmp_path / "nothing"), *folder]) == 2
    # A rule that is no part of a lookup changed: nobody can tell which of both it was.
    online.view = replace(online.view, tie_break="visits")
    online.register()
    assert counts(checked(lake, path)) == (0, 0, 0, 2)


COLUMNS = (
    "region string, customer decimal(38,2), event_timestamp timestamp, flag boolean, big bigint, price decimal(38,18), "
    "ratio float, moment timestamp, local timestamp_ntz, day date, raw binary, tags array<string>, {lists}"
)
MOMENT = datetime(1969, 7, 20, 20, 17, 40, 123_456, UTC)


@pytest.mark.parametrize("codec", CODECS)
def test_every_type_is_logged_exactly(lake: Lakehouse, fresh: Fresh, tmp_path: Path, codec: str) -> None:
    name = fresh.table("gold").name
    # Feast names no entity by a decimal, and holds no array with nulls, and none of arrays.
    packed = codec == "packed"
    columns = COLUMNS.format(lists="lists array<array<double>>" if packed else "lists array<timestamp>")
    nested: Any = [[math.inf, None], None, []] if packed else [MOMENT, MOMENT]
    if not packed:
        columns = columns.replace("customer decimal(38,2)", "customer int")
    rows = [
        (
            "nörd|%",
            Decimal("7.25") if packed else 7,
            MOMENT,
            True,
            2**63 - 1,
            Decimal("12345678901234567890.000000000000000001"),
            -0.0,
            MOMENT,
            MOMENT.replace(tzinfo=None),
            MOMENT.date(),
            b"\x00\xff",
            ["a", ""],
            nested,
        ),
        ("nulls", Decimal(-1) if packed else 8, MOMENT, *[None] * 10),
    ]
    table = declare_table(f"gold.{name}", mode="replace")
    frame = lake.spark.createDataFrame(rows, columns)
    execute(lake, RunRequest("test"), lambda attempt: attempt.write(table, frame), lambda _line: None)
    kinds = dict(each.split(" ", 1) for each in columns.split(", "))
    features = [Feature(each, kinds[each]) for each in list(kinds)[3:]]
    view = feature_view(
        f"exact_{name}", table=f"gold.{name}", keys=("region", "customer"), features=features, online=True, codec=codec
    )
    register.apply(lake, "tests", register.plan(lake, [view], resolve(lake, None)))
    sync(lake, Store.of(lake.settings), view, say=lambda _line: None)

    @on_demand(inputs={"big": f"{view.name}:big"}, request={"add": "double"})
    def more(big: "pd.Series[Any]", add: "pd.Series[Any]") -> "pd.Series[Any]":
        return big.astype("float64") + add

    path = tmp_path / "lookups.jsonl"
    with LookupLog(path, share=1) as log:
        store = store_of(lake, log)
        store.lookup_many(view.name, [{"region": row[0], "customer": row[1], "other": 1} for row in rows])
        one = {"region": rows[0][0], "customer": rows[0][1]}
        row = store.lookup(view.name, one, on_demand=[more], request={"add": 0.5})
        row["tags"].append("the caller's own")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[2]["on_demand"] == {"more": 2.0**63}
    assert lines[2]["features"] == lines[0]["features"]
    assert lines[0]["event_timestamp"] == "1969-07-20T20:17:40.123456+00:00"
    assert lines[0]["features"]["price"] == "12345678901234567890.000000000000000001"
    assert counts(checked(lake, path)) == (3, 0, 0, 0), checked(lake, path)
