"""Which files and records undo a run, and what hinders it, against plain sets."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from asgard.common.names import TableName
from asgard.lakehouse.declaring.intervals import RangeSet, TimeRange
from asgard.lakehouse.freshness.code_digest import CodeDigests
from asgard.lakehouse.freshness.file_index import FileIndex, IndexedFile, SnapshotChange
from asgard.lakehouse.freshness.interval_state import IntervalRecord, IntervalState
from asgard.lakehouse.freshness.staleness import TableFacts
from asgard.lakehouse.freshness.stretch import DAY, EVERYTHING, Stretch
from asgard.lakehouse.runs.undoing import TableStates, clash_of, stretch_of, undo_of

NAME = TableName("silver", "orders")
CODE = CodeDigests("a", "b", "c")


def record(day: int, run: str, doubt: int = 0) -> IntervalRecord:
    return IntervalRecord(day * DAY, (day + 1) * DAY, run, CODE, (), None, doubt)


def facts(files: set[int], records: dict[int, str], *, snapshot: int = 1, **properties: str) -> TableFacts:
    known = {day * DAY: record(day, run) for day, run in records.items()}
    index = FileIndex({number: IndexedFile(number, {}) for number in files})
    done = RangeSet(each.interval for each in known.values())
    named = {f"asgard.{name}": text for name, text in {**properties, "intervals": str(done)}.items()}
    return TableFacts(True, snapshot, IntervalState(snapshot, known, index), index, done, named)


_files = st.sets(st.integers(1, 8))
_records = st.dictionaries(st.integers(0, 4), st.sampled_from(["one", "two", "three"]))


@given(_files, _records, _files, _records, _files, _records)
def test_a_run_is_undone_where_all_that_it_left_is_there(
    before: set[int],
    records_before: dict[int, str],
    after: set[int],
    records_after: dict[int, str],
    now: set[int],
    records_now: dict[int, str],
) -> None:
    states = TableStates(
        NAME,
        facts(before, records_before),
        facts(after, records_after, snapshot=2),
        facts(now, records_now, snapshot=3),
    )
    changed = {day for day in range(5) if records_before.get(day) != records_after.get(day)}
    clash = clash_of(states)
    assert clash.gone == (after - before) - now
    assert clash.returned == (before - after) & now
    again = {day for day in changed if records_now.get(day) != records_after.get(day)}
    assert set(clash.computed_by) == {records_now[day] for day in again if day in records_now}
    assert clash.forgotten == any(day not in records_now for day in again)
    if clash:
        return
    undo = undo_of(states, written_since=True, is_registered=False)
    then = undo.facts(states.now)
    assert then.files is not None
    assert then.state is not None
    assert set(then.files.files) == (now - (after - before)) | (before - after)
    assert (undo.rows_out, undo.rows_back) == (sum(after - before), sum(before - after))
    assert undo.empties(states.now) == (not then.files.files)
    expected = {**records_now, **{day: records_before[day] for day in changed if day in records_before}}
    for day in changed - records_before.keys():
        expected.pop(day, None)
    assert {start // DAY: each.run for start, each in then.state.records.items()} == expected
    done = undo.properties.get("asgard.intervals", str(states.now.done))
    first = states.after.done - states.before.done
    lost = states.before.done - states.after.done
    assert RangeSet.parse(done) == (states.now.done - first) | lost
    assert not undo.drops


def test_who_changed_the_rows_afterwards_is_no_new_computation() -> None:
    after = facts({1}, {0: "two"}, snapshot=2)
    assert after.state is not None
    doubtful = IntervalState(3, {0: record(0, "two", doubt=3)}, FileIndex({}))
    states = TableStates(NAME, facts(set(), {}), after, replace(after, snapshot=3, state=doubtful))
    assert not clash_of(states)


def test_a_new_table_is_dropped_unless_something_came_since_or_a_view_reads_it() -> None:
    after = facts({1}, {0: "one"}, inputs="{}")
    states = TableStates(NAME, TableFacts(), after, after)
    assert undo_of(states, written_since=False, is_registered=False).drops
    assert not undo_of(states, written_since=False, is_registered=True).drops
    since = replace(states, now=replace(facts({1, 2}, {0: "one"}, inputs="{}"), snapshot=5))
    assert not undo_of(since, written_since=True, is_registered=False).drops


def test_the_properties_that_the_run_set_go_back_unless_a_later_run_wrote() -> None:
    before = facts(set(), {}, owner="them", inputs="1")
    after = facts({1}, {}, snapshot=2, owner="us", inputs="2", tags="x")
    states = TableStates(NAME, before, after, replace(after, snapshot=3))
    undone = undo_of(states, written_since=False, is_registered=False)
    assert undone.properties == {"asgard.owner": "them", "asgard.inputs": "1", "asgard.tags": ""}
    assert undo_of(states, written_since=True, is_registered=False).properties == {}


@given(st.dictionaries(st.integers(1, 9), st.tuples(st.integers(-9, 9), st.integers(0, 9), st.booleans()), min_size=1))
def test_the_stretch_of_files_holds_each_of_them(files: dict[int, tuple[int, int, bool]]) -> None:
    indexed = {key: IndexedFile(1, {"at": (low, low + more, nulls)}) for key, (low, more, nulls) in files.items()}
    stretch = stretch_of(indexed, "at")
    if any(nulls for _, _, nulls in files.values()):
        assert stretch == EVERYTHING
        return
    lows, highs = ([f(each) for each in files.values()] for f in (lambda f: f[0], lambda f: f[0] + f[1]))
    assert stretch == Stretch("at", min(lows), max(highs) + 1, nulls=False)
    assert stretch_of({**indexed, 10: IndexedFile(1, {})}, "at") == EVERYTHING


def test_intervals_are_named_as_ranges() -> None:
    states = TableStates(
        NAME, facts({1}, {0: "one"}), facts({2}, {0: "two", 1: "two"}), facts({2}, {0: "two", 1: "two"})
    )
    undone = undo_of(states, written_since=False, is_registered=False)
    start = datetime(1970, 1, 1, tzinfo=UTC)
    assert undone.intervals == RangeSet([TimeRange(start, start.replace(day=3))])


def test_foreign_rows_that_come_back_are_in_doubt_again() -> None:
    before = facts({1, 2, 3}, {0: "one", 1: "one"}, interval="day(at)")
    foreign = SnapshotChange(7, "", {3: IndexedFile(1, {"at": (DAY, DAY + 1, False)})}, {})
    before = replace(before, snapshot=7, foreign=(foreign,))
    after = facts({1, 4}, {0: "two", 1: "two"}, snapshot=8, interval="day(at)")
    undo = undo_of(TableStates(NAME, before, after, after), written_since=False, is_registered=False)
    assert {start // DAY: each.doubt for start, each in undo.records.items() if each} == {0: 0, 1: 7}
