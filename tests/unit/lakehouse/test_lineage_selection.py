"""Which intervals some rows belong to and who read them, from states alone, against loops over single moments."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import UsageError
from asgard.common.names import TableName
from asgard.lakehouse.declaring.intervals import RangeSet, TimeRange
from asgard.lakehouse.declaring.periods import parse_period
from asgard.lakehouse.freshness.code_digest import CodeDigests
from asgard.lakehouse.freshness.file_index import FileIndex, IndexedFile, touches
from asgard.lakehouse.freshness.interval_state import IntervalRecord, IntervalState, Read
from asgard.lakehouse.freshness.staleness import TableFacts
from asgard.lakehouse.freshness.stretch import DAY, EVERYTHING, Stretch, merged, micros
from asgard.lakehouse.lineage.asked import rows_of_period
from asgard.lakehouse.lineage.forward import find_readers
from asgard.lakehouse.lineage.selection import select

BASE = micros(datetime(2024, 1, 1, tzinfo=UTC))
CODE = CodeDigests("a" * 16, "b" * 16, "c" * 16)
BRONZE, SILVER, WEEK, TOTAL = (
    TableName("bronze", "raw"),
    TableName("silver", "clean"),
    TableName("gold", "week"),
    TableName("gold", "total"),
)
_BOUND = st.none() | st.integers(0, 12)


@st.composite
def _stretches(draw: st.DrawFn) -> Stretch:
    low, high = draw(_BOUND), draw(_BOUND)
    if low is not None and high is not None and low > high:
        low, high = high, low
    return Stretch(draw(st.sampled_from(["at", "sent"])), low, high, draw(st.booleans()))


def _holds(stretch: Stretch, column: str, value: int | None) -> bool:
    if not stretch.is_bounded:
        return True
    if stretch.column != column:
        return False
    if value is None:
        return stretch.nulls
    return (stretch.start is None or stretch.start <= value) and (stretch.end is None or value < stretch.end)


@given(st.lists(_stretches(), max_size=6))
def test_merged_stretches_hold_the_same_values(stretches: list[Stretch]) -> None:
    few = merged(stretches)
    assert len(few) <= len(stretches)
    for column in ("at", "sent"):
        for value in (None, *range(-1, 14)):
            inside = any(_holds(each, column, value) for each in stretches)
            assert any(_holds(each, column, value) for each in few) == inside or few == (EVERYTHING,)
    if few == (EVERYTHING,):  # only where one of them, or all that overlap together, has no bound
        assert any(
            all(any(_holds(each, column, value) for each in stretches) for value in range(-1, 14))
            for column in ("at", "sent")
        )


def _day(number: int, *reads: Read, doubt: int = 0) -> IntervalRecord:
    return IntervalRecord(BASE + number * DAY, BASE + (number + 1) * DAY, f"run-{number}", CODE, reads, doubt=doubt)


def _days(column: str, first: int, end: int) -> Stretch:
    return Stretch(column, BASE + first * DAY, BASE + end * DAY, nulls=False)


def _facts(records: list[IntervalRecord], interval: str, files: dict[int, IndexedFile] | None = None) -> TableFacts:
    index = FileIndex(files or {})
    state = IntervalState(7, {each.start: each for each in records}, index)
    return TableFacts(True, 7, state, index, properties={"asgard.interval": interval})


@given(st.sets(st.integers(0, 12)), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), min_size=1, max_size=4))
def test_the_intervals_of_a_stretch_are_those_that_it_overlaps(
    numbers: set[int], wanted: list[tuple[int, int]]
) -> None:
    facts = _facts([_day(each) for each in sorted(numbers)], "day(at)")
    stretches = merged(_days("at", first, first + length) for first, length in wanted)
    found = select(facts, stretches)
    inside = {day for first, length in wanted for day in range(first, first + length)}
    assert [each.run for each in found.records] == [f"run-{day}" for day in sorted(numbers & inside)]
    missing = sorted(inside - numbers)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    assert found.unrecorded == RangeSet(
        TimeRange(start + timedelta(days=day), start + timedelta(days=day + 1)) for day in missing
    )
    assert found.is_exact


def test_of_another_column_only_the_bounds_of_files_tell() -> None:
    files = {
        day: IndexedFile(
            1,
            {
                "at": (BASE + day * DAY, BASE + day * DAY, False),
                "sent": (BASE + day * DAY, BASE + (day + 1) * DAY, False),
            },
        )
        for day in range(6)
    }
    facts = _facts([_day(day) for day in range(6)], "day(at)", files)
    found = select(facts, [_days("sent", 2, 3)])
    assert ([each.run for each in found.records], found.is_exact) == (["run-1", "run-2"], False)
    assert {day for day, file in files.items() if touches(file, _days("sent", 2, 3))} == {1, 2}
    files[9] = IndexedFile(1, {"at": (BASE, BASE, False)})  # when its rows were sent is not known
    found = select(_facts([_day(day) for day in range(6)], "day(at)", files), [_days("sent", 5, 6)])
    assert [each.run for each in found.records] == ["run-0", "run-4", "run-5"]


def test_readers_are_followed_through_all_levels() -> None:
    silver = [_day(day, Read(BRONZE, _days("at", day, day + 1), 0, 1)) for day in range(20)]
    week = [_day(day, Read(SILVER, _days("at", day - 6, day + 1), 1, 1)) for day in range(20)]
    total = [IntervalRecord(0, 0, "run", CODE, (Read(WEEK, EVERYTHING, 0, 1), Read(BRONZE, _days("at", 0, 3), 0, 1)))]
    facts = {
        BRONZE: _facts([], "day(at)"),
        SILVER: _facts(silver, "day(at)"),
        WEEK: _facts(week, "day(day)"),
        TOTAL: _facts(total, ""),
    }
    found = list(find_readers(facts, BRONZE, (_days("at", 5, 7),)))
    assert [(each.table, each.level, each.intervals, each.inputs, each.outdated) for each in found] == [
        (SILVER, 1, ("2024-01-06..2024-01-07",), (BRONZE,), 0),
        (WEEK, 2, ("2024-01-06..2024-01-13",), (SILVER,), 8),  # their fingerprint is not that of no file
        (TOTAL, 3, (), (WEEK,), 0),
    ]
    early = {each.table: each for each in find_readers(facts, BRONZE, (_days("at", 2, 3),))}
    assert (early[TOTAL].level, early[TOTAL].inputs) == (1, (BRONZE, WEEK))
    assert list(find_readers(facts, TOTAL, (EVERYTHING,))) == []


class TestRowsOfPeriod:
    def test_a_source_goes_by_its_one_column_of_time(self) -> None:
        span = (BASE, BASE + DAY, False)
        one = _facts([], "", {1: IndexedFile(1, {"at": span, "_ingested_at": span})})
        assert rows_of_period(BRONZE, {BRONZE: one}, parse_period("2024-01-02")) == _days("at", 1, 2)

    def test_of_several_it_is_the_one_that_is_read_by(self) -> None:
        span = (BASE, BASE + DAY, False)
        two = _facts([], "", {1: IndexedFile(1, {"at": span, "sent": span})})
        with pytest.raises(UsageError, match="several columns of time: at, sent"):
            rows_of_period(BRONZE, {BRONZE: two}, parse_period("2024-01-02"))
        reader = _facts([_day(1, Read(BRONZE, _days("sent", 1, 2), 0, 1))], "day(at)")
        found = rows_of_period(BRONZE, {BRONZE: two, SILVER: reader}, parse_period("2024-01-02"))
        assert found == _days("sent", 1, 2)

    def test_of_none_there_is_no_period(self) -> None:
        with pytest.raises(UsageError, match="no column of time"):
            rows_of_period(BRONZE, {BRONZE: _facts([], "")}, parse_period("2024-01-02"))
