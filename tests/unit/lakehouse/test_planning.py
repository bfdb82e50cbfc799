"""Planning is arithmetic: what is missing or stale, cut into runs, each interval once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import UsageError
from asgard.common.names import TableName
from asgard.lakehouse.declaring.declaration import Daily, Hourly, Monthly, Restate, Table, Weekly, declare_table
from asgard.lakehouse.declaring.intervals import Cadence, RangeSet, TimeRange, Unit
from asgard.lakehouse.freshness.code_digest import code_digests
from asgard.lakehouse.freshness.file_index import FileIndex, IndexedFile, SnapshotChange
from asgard.lakehouse.freshness.interval_reads import intervals_of
from asgard.lakehouse.freshness.interval_state import IntervalRecord, IntervalState, Read
from asgard.lakehouse.freshness.planning import Plan, PlannedRun, PlanRequest, plan_runs, table_by_table
from asgard.lakehouse.freshness.staleness import TableFacts, cut_at, examine
from asgard.lakehouse.freshness.stretch import EVERYTHING, Stretch, micros

NOW = datetime(2024, 6, 15, 10, 30, tzinfo=UTC)


def table(name: str, *inputs: str, **properties: Any) -> Table:
    parameters = {f"p{number}": source for number, source in enumerate(inputs)}
    namespace: dict[str, Any] = {}
    exec(f"def function({', '.join(parameters)}): ...", namespace)  # noqa: S102 - a function with these parameters
    return declare_table(name, namespace["function"], inputs=parameters, **properties)


def file_of(interval: TimeRange) -> IndexedFile:
    return IndexedFile(1, {"at": (micros(interval.start), micros(interval.end) - 1, False)})


class Lake:
    """The facts of tables that were computed for some stretches: each interval has one file, and read its own time."""

    def __init__(self, *tables: Table) -> None:
        self.tables = tables
        self.facts: dict[TableName, TableFacts] = {each.name: TableFacts() for each in tables}
        for each in tables:
            for name in each.inputs.values():
                self.facts.setdefault(name, TableFacts())

    def compute(self, declared: Table, *parts: tuple[str, str], days_before: int = 0) -> "Lake":
        """Note that a table was computed for some stretches, or as a whole."""
        cadence = declared.interval
        intervals: list[TimeRange | None] = [None]
        if cadence:
            intervals = [each for part in parts for each in intervals_of(cadence, TimeRange.parse(*part))]
        old = self.facts[declared.name].state
        records, files = (dict(old.records), dict(old.files.files)) if old else ({}, {})
        for each in intervals:
            record = self._record(declared, each, days_before)
            records[record.start] = record
            number = abs(hash((declared.name, record.start))) % 2**60
            files[number] = file_of(each) if each else IndexedFile(1, {})
        index = FileIndex(files)
        state = IntervalState(1, dict(sorted(records.items())), index)
        self.facts[declared.name] = TableFacts(True, 1, state, index)
        return self

    def _record(self, declared: Table, interval: TimeRange | None, days_before: int) -> IntervalRecord:
        stretch = EVERYTHING
        if interval is not None:
            stretch = Stretch("at", micros(interval.start - timedelta(days_before)), micros(interval.end), nulls=False)
        reads = []
        for name in declared.inputs.values():
            files = self.facts[name].files or FileIndex({})
            reads.append(Read(name, stretch, files.fingerprint(stretch), 1))
        start, end = (micros(interval.start), micros(interval.end)) if interval else (0, 0)
        until = cut_at(declared, interval) if interval else None
        return IntervalRecord(start, end, "run", code_digests(declared), tuple(reads), until)

    def land(self, name: str, *days: str) -> None:
        """Note a new file of a source for each of some days."""
        key = TableName.parse(name)
        old = self.facts[key].files
        new = {
            2**60 + len(old.files if old else ()) + number: file_of(TimeRange.parse(day, f"{day}T23:00:00Z"))
            for number, day in enumerate(days)
        }
        self.facts[key] = TableFacts(True, 2, None, FileIndex({**(old.files if old else {}), **new}))

    def plan(self, **options: Any) -> Plan:
        wanted = PlanRequest(**{"now": NOW, **options})
        digests = {each.name: code_digests(each) for each in self.tables}
        findings = examine(self.tables, self.facts, digests, wanted.now)
        return plan_runs(self.tables, self.facts, findings, wanted, {})


def plan(*tables: Table, **options: Any) -> list[PlannedRun]:
    return list(Lake(*tables).plan(**options).runs)


def ranges(run: PlannedRun) -> dict[str, list[str]]:
    return {str(step.table.name): [str(window) for window in step.ranges] for step in run}


def follows(run: PlannedRun) -> dict[str, list[str]]:
    return {str(step.table.name): [str(window) for window in step.follows] for step in run if step.follows}


def conditions(found: Plan) -> list[str]:
    return [f"{each.table} {each.condition} {each.interval}" for each in found.findings]


class TestMissing:
    def test_it_reaches_to_the_last_complete_interval(self) -> None:
        days = table("silver.a", interval=Daily("at"), start="2024-06-10")
        hours = table("silver.b", interval=Hourly("at"), start="2024-06-15")
        weeks = table("silver.c", interval=Weekly("at"), start="2024-06-05")
        (run,) = plan(days, hours, weeks)
        assert ranges(run) == {
            "silver.a": ["2024-06-10/2024-06-15"],
            "silver.b": ["2024-06-15/2024-06-15T10:00:00Z"],
            "silver.c": ["2024-06-03/2024-06-10"],
        }

    def test_what_was_computed_is_left_out_and_the_lookback_is_added(self) -> None:
        plain = table("silver.a", interval=Daily("at"), start="2024-06-01")
        looking_back = table("silver.b", interval=Daily("at", lookback=2), start="2024-06-01")
        lake = Lake(plain, looking_back)
        for each in (plain, looking_back):
            lake.compute(each, ("2024-06-01", "2024-06-14"))
        (run,) = lake.plan().runs
        assert ranges(run) == {"silver.a": ["2024-06-14/2024-06-15"], "silver.b": ["2024-06-12/2024-06-15"]}

    def test_the_end_inside_of_an_interval_makes_it_partial_once_the_end_moves(self) -> None:
        short = table("silver.a", interval=Weekly("at"), start="2024-01-01", end="2024-01-10")
        (run,) = plan(short)
        assert ranges(run) == {"silver.a": ["2024-01-01/2024-01-15"]}
        assert Lake(short).compute(short, ("2024-01-01", "2024-01-15")).plan() == Plan(())
        for end in ("2024-01-12", "2024-01-15", "2024-02-01"):
            lake = Lake(short).compute(short, ("2024-01-01", "2024-01-15"))
            lake.tables = (replace(short, end=datetime.fromisoformat(f"{end}T00:00:00Z")),)
            assert ranges(lake.plan().runs[0])["silver.a"][0].startswith("2024-01-08/")

    def test_what_can_not_be_planned_is_named(self) -> None:
        with pytest.raises(UsageError, match=r"silver\.a has intervals but no start"):
            plan(table("silver.a", interval=Daily("at")))
        with pytest.raises(UsageError, match="touches no complete interval"):
            plan(table("silver.a", interval=Daily("at")), window=TimeRange(NOW, NOW + timedelta(hours=1)))


class TestWithoutIntervals:
    def test_it_is_computed_when_it_is_new_or_its_inputs_change(self) -> None:
        source = table("silver.a", interval=Daily("at"), start="2024-06-14")
        derived = table("gold.b", "silver.a")
        (run,) = Lake(derived).plan().runs
        assert [step.reason for step in run] == ["not published yet"]
        assert Lake(source, derived).compute(source, ("2024-06-14", "2024-06-15")).compute(derived).plan() == Plan(())
        late = Lake(source, derived).compute(derived).compute(source, ("2024-06-14", "2024-06-15"))
        (run,) = late.plan().runs
        assert [(step.reason, step.only_if_moved) for step in run] == [("its inputs changed: silver.a", False)]

    def test_of_an_input_that_is_computed_again_it_waits_for_what_comes_out(self) -> None:
        source = table("silver.a", interval=Daily("at", lookback=1), start="2024-06-13")
        derived = table("gold.b", "silver.a")
        lake = Lake(source, derived).compute(source, ("2024-06-13", "2024-06-14")).compute(derived)
        (run,) = lake.plan().runs
        assert [str(step.table.name) for step in run] == ["silver.a", "gold.b"]

    def test_full_refresh_and_a_range_compute_it_in_any_case(self) -> None:
        whole = table("gold.b")
        lake = Lake(whole).compute(whole)
        assert lake.plan().runs == ()
        for options in ({"full_refresh": True}, {"window": TimeRange.parse("2024-01-01", "2024-02-01")}):
            (run,) = lake.plan(**options).runs
            assert [step.reason for step in run] == ["asked for"]


class TestRange:
    def test_each_table_is_computed_for_the_whole_intervals_that_it_touches(self) -> None:
        days = table("silver.a", interval=Daily("at"), start="2024-01-01")
        months = table("gold.a", "silver.a", interval=Monthly("at"), start="2024-01-01")
        lake = (
            Lake(days, months).compute(days, ("2024-01-01", "2024-06-01")).compute(months, ("2024-01-01", "2024-06-01"))
        )
        found = lake.plan(window=TimeRange.parse("2024-03-03", "2024-03-05"))
        assert ranges(found.runs[0]) == {
            "silver.a": ["2024-03-03/2024-03-05"],
            "gold.a": ["2024-03-01/2024-04-01"],
        }
        assert found.notes == ("gold.a is computed for 2024-03-01/2024-04-01: whole intervals of one month",)

    def test_what_it_leaves_out_is_named(self) -> None:
        days = table("silver.a", interval=Daily("at"), start="2024-06-10")
        found = Lake(days).plan(window=TimeRange.parse("2024-06-01", "2030-01-01"))
        assert ranges(found.runs[0]) == {"silver.a": ["2024-06-10/2024-06-15"]}
        assert found.notes == (
            "silver.a is not computed for 2024-06-01/2024-06-10: before its start",
            "silver.a is not computed for 2024-06-15/2030-01-01: not over, or after its end",
        )

    def test_what_becomes_stale_by_it_outside_of_it_is_left_and_named(self) -> None:
        days = table("silver.a", interval=Daily("at"), start="2024-03-01", end="2024-03-20")
        windows = table("gold.a", "silver.a", interval=Daily("at"), start="2024-03-01", end="2024-03-20")
        lake = Lake(days, windows).compute(days, ("2024-03-01", "2024-03-20"))
        lake.compute(windows, ("2024-03-01", "2024-03-20"), days_before=3)
        found = lake.plan(window=TimeRange.parse("2024-03-05", "2024-03-06"))
        assert ranges(found.runs[0]) == {"silver.a": ["2024-03-05/2024-03-06"], "gold.a": ["2024-03-05/2024-03-06"]}
        assert [note for note in found.notes if "gold.a" in note] == [
            "gold.a may become stale for 2024-03-06/2024-03-09: it reads what this range computes"
        ]


class TestStale:
    @pytest.fixture
    def graph(self) -> Lake:
        days = table("silver.a", "bronze.a", interval=Daily("at"), start="2024-03-01", end="2024-04-01")
        windows = table("gold.w", "silver.a", interval=Daily("at"), start="2024-03-01", end="2024-04-01")
        months = table("gold.m", "silver.a", interval=Monthly("at"), start="2024-03-01", end="2024-04-01")
        lake = Lake(days, windows, months)
        lake.land("bronze.a", "2024-03-05", "2024-03-20")
        lake.compute(days, ("2024-03-01", "2024-04-01"))
        lake.compute(windows, ("2024-03-01", "2024-04-01"), days_before=2)
        return lake.compute(months, ("2024-03-01", "2024-04-01"))

    def test_a_late_file_makes_stale_what_read_its_day_and_nothing_else(self, graph: Lake) -> None:
        assert graph.plan() == Plan(())
        graph.land("bronze.a", "2024-03-20")
        found = graph.plan()
        assert conditions(found) == [
            "silver.a stale by data 2024-03-20/2024-03-21",
            "gold.w stale by input 2024-03-20/2024-03-21",
            "gold.w stale by input 2024-03-21/2024-03-22",
            "gold.w stale by input 2024-03-22/2024-03-23",
            "gold.m stale by input 2024-03-01/2024-04-01",
        ]
        assert (found.runs, found.left) == ((), found.findings)
        (run,) = graph.plan(stale=True).runs
        assert ranges(run)["silver.a"] == ["2024-03-20/2024-03-21"]

    def test_a_table_that_gets_intervals_is_planned_from_its_record_without(self) -> None:
        days = table("silver.a", "bronze.raw", interval=Daily("at"), start="2024-03-01", end="2024-03-03")
        whole = table("gold.b", "silver.a")
        lake = Lake(days, whole).compute(days, ("2024-03-01", "2024-03-02")).compute(whole)
        lake.tables = (days, table("gold.b", "silver.a", interval=Daily("at"), start="2024-03-01", end="2024-03-03"))
        assert ranges(lake.plan().runs[0]) == {
            "silver.a": ["2024-03-02/2024-03-03"],
            "gold.b": ["2024-03-01/2024-03-03"],
        }

    def test_an_input_that_was_taken_out_is_changed_code(self) -> None:
        declared = {"interval": Daily("at"), "start": "2024-03-01", "end": "2024-03-02"}
        both = table("gold.b", "silver.a", "silver.c", **declared)
        lake = Lake(both).compute(both, ("2024-03-01", "2024-03-02"))
        lake.tables = (table("gold.b", "silver.c", **declared),)
        del lake.facts[TableName.parse("silver.a")]
        lake.facts[TableName.parse("silver.c")] = TableFacts(True, 1, None, FileIndex({}))
        assert conditions(lake.plan()) == ["gold.b stale by code 2024-03-01/2024-03-02"]

    def test_never_and_auto_are_declared(self, graph: Lake) -> None:
        graph.land("bronze.a", "2024-03-20")
        days, windows, months = graph.tables
        graph.tables = (replace(days, restate=Restate.AUTO), windows, months)
        found = graph.plan()
        assert ranges(found.runs[0])["silver.a"] == ["2024-03-20/2024-03-21"]
        assert follows(found.runs[0]) == {"gold.w": ["2024-03-20/2024-03-23"], "gold.m": ["2024-03-01/2024-04-01"]}
        assert found.left == ()
        graph.tables = (replace(days, restate=Restate.NEVER), windows, months)
        assert "silver.a" not in [str(step.table.name) for run in graph.plan(stale=True).runs for step in run]
        graph.tables = (replace(days, restate=Restate.AUTO), replace(windows, restate=Restate.NEVER), months)
        found = graph.plan()
        assert follows(found.runs[0]) == {"gold.m": ["2024-03-01/2024-04-01"]}
        name = graph.tables[1].name
        assert [note.partition(", and")[0] for note in found.notes] == [
            f"{name} may become stale for 2024-03-20/2024-03-23"
        ]

    def test_what_a_lookback_restates_is_followed_downstream(self) -> None:
        days = table("silver.a", interval=Daily("at", lookback=2), start="2024-03-01", end="2024-04-01")
        months = table("gold.m", "silver.a", interval=Monthly("at"), start="2024-03-01", end="2024-04-01")
        lake = (
            Lake(days, months).compute(days, ("2024-03-01", "2024-04-01")).compute(months, ("2024-03-01", "2024-04-01"))
        )
        lake.tables = tuple(replace(each, end=datetime(2024, 4, 3, tzinfo=UTC)) for each in lake.tables)
        (run,) = lake.plan().runs
        assert ranges(run)["silver.a"] == ["2024-03-30/2024-04-03"]
        assert follows(run) == {"gold.m": ["2024-03-01/2024-04-01"]}

    def test_a_foreign_change_puts_in_doubt_what_it_touches(self, graph: Lake) -> None:
        days = graph.tables[0]
        facts = graph.facts[days.name]
        touched = {5: file_of(TimeRange.parse("2024-03-07", "2024-03-08"))}
        graph.facts[days.name] = replace(facts, foreign=(SnapshotChange(9, "", {}, touched),))
        found = graph.plan()
        assert [each for each in conditions(found) if each.startswith("silver.a")] == [
            "silver.a in doubt 2024-03-07/2024-03-08"
        ]
        assert "gold.w stale by input 2024-03-07/2024-03-08" in conditions(found)

    @pytest.mark.parametrize(
        ("change", "condition", "computed"),
        [
            ({"columns": "at timestamp, x int"}, "stale by code", True),
            ({"owner": "somebody"}, "documentation changed", False),
            ({"contract": "frozen"}, "checks changed", False),
        ],
    )
    def test_a_changed_declaration(self, change: Mapping[str, Any], condition: str, *, computed: bool) -> None:
        before = table("silver.a", interval=Daily("at"), start="2024-03-01", end="2024-03-03")
        lake = Lake(before).compute(before, ("2024-03-01", "2024-03-03"))
        lake.tables = (replace(before, **change),)
        assert {each.rsplit(" ", 1)[0] for each in conditions(lake.plan())} == {f"silver.a {condition}"}
        assert lake.plan().runs == lake.plan(stale=True).runs == ()
        assert bool(lake.plan(changed=True).runs) is computed


class TestChunks:
    def test_tables_without_intervals_take_their_turn(self) -> None:
        lookup = table("silver.lookup")
        days = table("silver.days", "silver.lookup", interval=Daily("at"), start="2024-06-12")
        total = table("gold.total", "silver.days")
        between = table("gold.between", "silver.days")
        later = table("gold.later", "gold.between", interval=Daily("at"), start="2024-06-12")
        runs = plan(lookup, days, total, between, later, intervals_per_run=1)
        assert [[str(step.table.name) for step in run] for run in runs] == [
            ["silver.lookup", "silver.days", "gold.between", "gold.later"],
            ["silver.days", "gold.between", "gold.later"],
            ["silver.days", "gold.total", "gold.between", "gold.later"],
        ]

    def test_two_holes_in_one_chunk_are_computed_once(self) -> None:
        days = table("silver.days", interval=Daily("at"), start="2024-01-01", end="2024-02-01")
        months = table("gold.months", "silver.days", interval=Monthly("at"), start="2024-01-01", end="2024-02-01")
        lake = Lake(days, months).compute(days, ("2024-01-01", "2024-01-03"), ("2024-01-05", "2024-01-20"))
        (run,) = lake.plan(intervals_per_run=1).runs
        assert ranges(run) == {
            "silver.days": ["2024-01-03/2024-01-05", "2024-01-20/2024-02-01"],
            "gold.months": ["2024-01-01/2024-02-01"],
        }

    def test_a_longer_interval_finds_the_shorter_ones_that_it_reads_computed(self) -> None:
        weeks = table("silver.weeks", interval=Weekly("at"), start="2024-01-01", end="2024-03-01")
        months = table("gold.months", "silver.weeks", interval=Monthly("at"), start="2024-01-01", end="2024-03-01")
        for run in plan(weeks, months, intervals_per_run=1):
            found = {str(step.table.name): step.ranges for step in run}
            month = found["gold.months"][-1]
            starts = list(_starts(found["silver.weeks"], Unit.WEEK))
            assert all(month.start <= start < month.end for start in starts)
            assert starts[-1] + timedelta(days=7) >= month.end

    @pytest.mark.parametrize("size", [1, 2, 5])
    def test_an_interval_is_computed_after_all_that_it_reads_of_its_own_time(self, size: int) -> None:
        """Days, weeks of days, and months of weeks: a week may reach into the next month."""
        span = {"start": "2024-01-01", "end": "2024-06-10"}
        days = table("silver.days", interval=Daily("at"), **span)
        weeks = table("silver.weeks", "silver.days", interval=Weekly("at"), **span)
        months = table("gold.months", "silver.weeks", interval=Monthly("at"), **span)
        computed: dict[str, RangeSet] = {}
        firsts = []
        for run in plan(days, weeks, months, intervals_per_run=size):
            firsts.append(min(part.start for step in run for part in step.ranges))
            for step in run:
                name = str(step.table.name)
                computed[name] = computed.get(name, RangeSet()) | RangeSet(step.ranges)
                if step.table is weeks:
                    assert not RangeSet(step.ranges) - (computed["silver.days"] | after_the_end(days))
                if step.table is months:
                    starts = RangeSet([TimeRange(Unit.WEEK.ceil(part.start), part.end) for part in step.ranges])
                    assert not starts - (computed["silver.weeks"] | after_the_end(weeks))
        assert firsts == sorted(set(firsts))

    def test_table_by_table_only_if_one_run_would_be_too_long(self) -> None:
        days = table("silver.days", interval=Daily("at"), start="2024-01-01", end="2024-01-05")
        more = table("gold.more", "silver.days", interval=Daily("at"), start="2024-01-01", end="2024-01-05")
        (run,) = plan(days, more)
        assert table_by_table(run, 4) == (run,)
        cut = [[(str(step.table.name), *map(str, step.ranges)) for step in each] for each in table_by_table(run, 3)]
        first, last = "2024-01-01/2024-01-04", "2024-01-04/2024-01-05"
        assert cut == [[(name, part)] for name in ("silver.days", "gold.more") for part in (first, last)]

    @given(
        units=st.lists(st.sampled_from(list(Unit)), min_size=1, max_size=3),
        start=st.datetimes(datetime(2020, 1, 1), datetime(2021, 1, 1)),
        length=st.integers(1, 500),
        size=st.integers(1, 20),
    )
    def test_they_cover_every_interval_once_and_in_order(
        self, units: list[Unit], start: datetime, length: int, size: int
    ) -> None:
        begin = start.replace(minute=0, second=0, microsecond=0, tzinfo=UTC)
        end = begin + timedelta(days=length)
        units = [unit for unit in units if unit is not Unit.HOUR or length < 60] or [Unit.DAY]
        tables = [
            table(f"silver.t{number}", interval=Cadence("at", unit), start=begin, end=end)
            for number, unit in enumerate(units)
        ]
        whole = plan(*tables)
        cut = plan(*tables, intervals_per_run=size)
        for each in tables:
            together = [window for run in whole for step in run if step.table is each for window in step.ranges]
            pieces = [window for run in cut for step in run if step.table is each for window in step.ranges]
            assert RangeSet(pieces) == RangeSet(together)
            assert all(left.end <= right.start for left, right in pairwise(pieces))


def after_the_end(declared: Table) -> RangeSet:
    return RangeSet([TimeRange(declared.end, NOW + timedelta(days=99))] if declared.end else [])


def _starts(parts: Sequence[TimeRange], unit: Unit) -> Iterable[datetime]:
    return (start for part in parts for start in unit.starts(part))
