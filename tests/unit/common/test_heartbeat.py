"""Signs of life: each process has its own, and a failed renewal is not the end."""

import os
import time
from pathlib import Path

import pytest

from asgard.common.errors import ServiceError
from asgard.common.heartbeat import beating
from asgard.common.names import RunId
from asgard.common.settings import load_settings
from asgard.common.storage import Storage
from asgard.lakehouse.runs.records import RunRecords

RUN = RunId("20260101t000000-alive")


def storage_in(folder: Path) -> Storage:
    return Storage.of(load_settings({"project_dir": str(folder)}, environment={}))


def test_a_process_that_ends_leaves_the_sign_of_life_of_another_with_the_same_run_id(tmp_path: Path) -> None:
    records = RunRecords(storage_in(tmp_path))
    with records.alive(RUN):
        with records.alive(RUN), records.alive(RunId(f"{RUN}-2")):
            assert set(records.signs_of_life()) == {RUN, f"{RUN}-2"}
        assert set(records.signs_of_life()) == {RUN}
    assert records.signs_of_life() == {}


def test_the_newest_of_several_signs_counts(tmp_path: Path) -> None:
    storage = storage_in(tmp_path)
    storage.write(f"live/{RUN}.bb", b"")
    storage.write(f"live/{RUN}.aa", b"")
    (older,) = tmp_path.rglob(f"{RUN}.bb")
    os.utime(older, (0, 0))
    newest = max(entry.modified for entry in storage.list("live"))
    assert RunRecords(storage).signs_of_life() == {RUN: newest}


def test_a_renewal_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asgard.common.heartbeat.RENEWAL_SECONDS", 0.005)
    calls = []

    def renew() -> None:
        calls.append(None)
        if len(calls) == 2:
            raise ServiceError("the storage is away")

    with beating(renew, "test"):
        deadline = time.monotonic() + 10
        while len(calls) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.001)


def test_a_first_sign_that_fails_is_told() -> None:
    def renew() -> None:
        raise ServiceError("the storage is away")

    with pytest.raises(ServiceError), beating(renew, "test"):
        raise AssertionError("the block must not begin")
