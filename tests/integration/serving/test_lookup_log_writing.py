"""The log of lookups never fails or holds up a lookup: what it can't keep is dropped, and counted."""

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.support.redis import redis_server
from tests.support.redis_view import VIEW, put_view

from asgard.common.errors import UsageError
from asgard.serving import LookupLog, OnlineStore
from asgard.serving.lookup_audit import log as lookup_log

TOTALS = {number: float(number) for number in range(200)}
ENTITIES = [{"customer_id": customer} for customer in TOTALS]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        put_view(address, TOTALS)
        yield address


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_share_of_lookups_is_logged_by_many_threads_in_whole_lines(url: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with LookupLog(path, share=0.25, seed=7) as log:
        store = OnlineStore(url, timeout=10, log=log)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda entity: store.lookup(VIEW, entity), ENTITIES * 5))
    lines = read(path)
    assert 200 <= len(lines) <= 300
    assert (log.written, log.dropped) == (len(lines), 0)
    assert all(line["features"]["total"] == TOTALS[line["entity"]["customer_id"]] for line in lines)


def test_a_share_of_nothing_starts_nothing(url: str, tmp_path: Path) -> None:
    before = threading.active_count()
    with LookupLog(tmp_path / "log.jsonl", share=0) as log:
        OnlineStore(url, timeout=10, log=log).lookup_many(VIEW, ENTITIES)
        assert threading.active_count() == before
    assert (tmp_path / "log.jsonl").read_bytes() == b""
    with pytest.raises(UsageError, match="share"):
        LookupLog(tmp_path / "log.jsonl", share=1.5)
    with pytest.raises(UsageError, match="can't be logged"):
        LookupLog(tmp_path / "nowhere" / "log.jsonl")


def test_what_comes_while_the_disk_does_not_answer_is_dropped_and_counted(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, path = threading.Event(), tmp_path / "log.jsonl"
    lines = lookup_log._lines

    def waiting(offered: Any) -> Iterator[bytes]:
        assert go.wait(60)
        yield from lines(offered)

    monkeypatch.setattr(lookup_log, "_lines", waiting)
    with LookupLog(path, share=1, most_waiting=500) as log:
        store = OnlineStore(url, timeout=10, log=log)
        for _ in range(4):
            assert list(store.lookup_many(VIEW, ENTITIES).columns["total"]) == list(TOTALS.values())
        assert (log.dropped, log.trouble) == (400, "more lines waited than most_waiting allows")
        go.set()
    assert (log.written, len(read(path))) == (400, 400)


def test_a_disk_that_is_full_fails_no_lookup(url: str) -> None:
    with LookupLog("/dev/full", share=1) as log:
        store = OnlineStore(url, timeout=10, log=log)
        assert store.lookup(VIEW, ENTITIES[3])["total"] == 3.0
        log.flush()
        assert (log.written, log.dropped) == (0, 1)
        assert "No space left" in log.trouble
    assert store.lookup(VIEW, ENTITIES[3])["total"] == 3.0  # a closed log takes nothing
    assert log.dropped == 1


def test_what_the_caller_changes_afterwards_is_not_what_is_logged(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, path = threading.Event(), tmp_path / "log.jsonl"
    lines = lookup_log._lines
    monkeypatch.setattr(lookup_log, "_lines", lambda offered: lines(offered) if go.wait(60) else iter(()))
    with LookupLog(path, share=1) as log:
        entity: dict[str, Any] = {"customer_id": 4, "beside": "the key"}
        OnlineStore(url, timeout=10, log=log).lookup(VIEW, entity)
        entity["customer_id"] = 5
        go.set()
    assert [line["entity"] for line in read(path)] == [{"customer_id": 4}]


def test_a_forked_process_writes_its_own_lookups(url: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = LookupLog(path, share=1)
    store = OnlineStore(url, timeout=10, log=log)
    store.lookup(VIEW, ENTITIES[1])
    log.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store.lookup(VIEW, ENTITIES[2])
            log.close()
            code = 0 if log.written == 1 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.lookup(VIEW, ENTITIES[3])
    log.close()
    assert sorted(line["entity"]["customer_id"] for line in read(path)) == [1, 2, 3]
