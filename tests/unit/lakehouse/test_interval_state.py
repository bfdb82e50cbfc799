"""Segments of a table's state, against the obvious way to keep it: one dictionary that each run changes."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import LostStateError
from asgard.common.names import TableName
from asgard.common.settings import load_settings
from asgard.common.storage import Storage
from asgard.lakehouse.freshness.code_digest import CodeDigests
from asgard.lakehouse.freshness.file_index import IndexedFile
from asgard.lakehouse.freshness.interval_state import IntervalRecord, Read, Segment, StateName, StateStore
from asgard.lakehouse.freshness.stretch import EVERYTHING, Stretch

TABLE, INPUT = TableName("silver", "rows"), TableName("bronze", "raw")
CODE = CodeDigests("a" * 16, "b" * 16, "c" * 16)


def _record(start: int, run: str = "r", end: int | None = None) -> IntervalRecord:
    read = Read(INPUT, Stretch("at", start, start + 1, nulls=False), 2**64 - 1 - start, start + 7)
    return IntervalRecord(start, start + 1 if end is None else end, run, CODE, (read, Read(INPUT, EVERYTHING, 3, 0)))


@st.composite
def _segments(draw: st.DrawFn) -> list[Segment]:
    """Runs that compute stretches of 0..30 and replace files, as an overwrite does."""
    live: set[int] = set()
    segments = []
    for number in range(draw(st.integers(1, 25))):
        start = draw(st.integers(0, 29))
        end = draw(st.integers(start + 1, 30))
        removed = frozenset(draw(st.sets(st.sampled_from(sorted(live)), max_size=3))) if live else frozenset()
        added = {number * 100 + each: IndexedFile(each, {"at": (start, end, False)}) for each in range(end - start)}
        live = (live - removed) | added.keys()
        records = tuple(_record(each, f"run-{number}") for each in range(start, end))
        segments.append(Segment(((start, end),), records, added, removed))
    return segments


@given(_segments())
def test_what_is_loaded_is_what_the_runs_did(tmp_path_factory: pytest.TempPathFactory, segments: list[Segment]) -> None:
    store = StateStore(Storage.of(load_settings({"project_dir": str(tmp_path_factory.mktemp("state"))})))
    records: dict[int, IntervalRecord] = {}
    files: dict[int, IndexedFile] = {}
    name: StateName | None = None
    for number, segment in enumerate(segments, 1):
        records = {start: each for start, each in records.items() if not _covers(segment, start)}
        records |= {each.start: each for each in segment.records}
        files = {each: file for each, file in files.items() if each not in segment.removed} | dict(segment.added)
        name = store.append(TABLE, name, number, segment)
        assert StateName.parse(str(name)) == name
        sizes = [each.size for each in name.segments]
        assert sizes == sorted(sizes, reverse=True)
        assert len(set(sizes)) == len(sizes)
    state = store.load(TABLE, name)
    assert state is not None
    assert (state.snapshot, dict(state.records), dict(state.files.files)) == (len(segments), records, files)


def _covers(segment: Segment, start: int) -> bool:
    return any(low <= start < high for low, high in segment.cleared)


def test_a_daily_run_writes_little_whatever_was_written_before(tmp_path: Path) -> None:
    storage = Storage.of(load_settings({"project_dir": str(tmp_path)}))
    store, name, written = StateStore(storage), None, 0
    days = 256
    for day in range(days):
        segment = Segment(((day, day + 1),), (_record(day),), {day: IndexedFile(1, {"at": (day, day, False)})})
        name = store.append(TABLE, name, day + 1, segment)
        written += name.segments[-1].size
        assert len(name.segments) <= math.log2(days) + 1
    assert written <= 2 * days * (math.log2(days) + 1)


def test_the_record_of_a_table_without_intervals_is_replaced(tmp_path: Path) -> None:
    store = StateStore(Storage.of(load_settings({"project_dir": str(tmp_path)})))
    first = store.append(TABLE, None, 1, Segment(((0, 0),), (_record(0, "one", 0),)))
    state = store.load(TABLE, store.append(TABLE, first, 2, Segment(((0, 0),), (_record(0, "two", 0),))))
    assert state is not None
    assert [each.run for each in state.records.values()] == ["two"]


def test_a_damaged_or_missing_segment_is_named(tmp_path: Path) -> None:
    storage = Storage.of(load_settings({"project_dir": str(tmp_path)}))
    store = StateStore(storage)
    name = store.append(TABLE, None, 1, Segment(((0, 1),), (_record(0),)))
    path = f"intervals/{name.segments[0].digest}.json.gz"
    storage.write(path, b"other")
    with pytest.raises(LostStateError, match=rf"{path} .* is damaged"):
        store.load(TABLE, name)
    storage.delete(path)
    with pytest.raises(LostStateError, match=rf"{path} .* is missing"):
        store.load(TABLE, name)


def test_a_point_beside_a_stretch_is_cleared_too(tmp_path: Path) -> None:
    store = StateStore(Storage.of(load_settings({"project_dir": str(tmp_path)})))
    first = store.append(TABLE, None, 1, Segment((), (_record(4, "two"), _record(5, "two"))))
    name = store.append(TABLE, first, 2, Segment(((4, 5), (5, 5)), (_record(4, "one"),), {1: IndexedFile(1, {})}))
    state = store.load(TABLE, name)
    assert state is not None
    assert {each.start: each.run for each in state.records.values()} == {4: "one"}
