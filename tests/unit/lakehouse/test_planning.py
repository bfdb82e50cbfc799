"""Planning is arithmetic: what is missing, cut into runs, each interval once."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import UsageError
from asgard.common.names import TableName
from asgard.lakehouse.declaring.declaration import Daily, Hourly, Monthly, Table, Weekly, declare_table
from asgard.lakehouse.declaring.intervals import Cadence, RangeSet, TimeRange, Unit
from asgard.lakehouse.declaring.planning import PlannedRun, Progress, plan_runs

NOW = datetime(2024, 6, 15, 10, 30, tzinfo=UTC)


def table(name: str, *inputs: str, **properties: Any) -> Table:
    parameters = {f"p{number}": source for number, source in enumerate(inputs)}
    namespace: dict[str, Any] = {}
    exec(f"def function({', '.join(parameters)}): ...", namespace)  # noqa: S102 - a function with these parameters
    return declare_table(name, namespace["function"], inputs=parameters, **properties)


def plan(tables: Sequence[Table], progress: dict[str, Progress] | None = None, **options: Any) -> list[PlannedRun]:
    found = {each.name: (progress or {}).get(str(each.name), Progress()) for each in tables}
    return list(plan_runs(tables, found, **{"window": None, "now": NOW, **options}))


def ranges(run: PlannedRun) -> dict[str, list[str]]:
    return {str(step.table.name): [str(window) for window in step.ranges] for step in run}


def test_what_is_missing_reaches_to_the_last_complete_interval() -> None:
    days = table("silver.a", interval=Daily("at"), start="2024-06-10")
    hours = table("silver.b", interval=Hourly("at"), start="2024-06-15")
    weeks = table("silver.c", interval=Weekly("at"), start="2024-06-05")
    (run,) = plan([days, hours, weeks])
    assert ranges(run) == {
        "silver.a": ["2024-06-10/2024-06-15"],
        "silver.b": ["2024-06-15/2024-06-15T10:00:00Z"],
        "silver.c": ["2024-06-03/2024-06-10"],
    }


def test_the_end_of_the_data_closes_a_partial_interval() -> None:
    (run,) = plan([table("silver.a", interval=Weekly("at"), start="2024-01-01", end="2024-01-10")])
    assert ranges(run) == {"silver.a": ["2024-01-01/2024-01-15"]}


def test_done_intervals_are_left_out_and_the_lookback_is_added() -> None:
    done = Progress(exists=True, done=RangeSet([TimeRange.parse("2024-06-01", "2024-06-14")]))
    plain = table("silver.a", interval=Daily("at"), start="2024-06-01")
    looking_back = table("silver.b", interval=Daily("at", lookback=2), start="2024-06-01")
    (run,) = plan([plain, looking_back], {"silver.a": done, "silver.b": done})
    assert ranges(run) == {"silver.a": ["2024-06-14/2024-06-15"], "silver.b": ["2024-06-12/2024-06-15"]}


def test_a_range_computes_its_whole_intervals_also_when_done() -> None:
    done = Progress(exists=True, done=RangeSet([TimeRange.parse("2024-01-01", "2024-06-01")]))
    months = table("gold.a", interval=Monthly("at"), start="2024-01-01")
    (run,) = plan([months], {"gold.a": done}, window=TimeRange.parse("2024-01-15", "2024-04-10"))
    assert ranges(run) == {"gold.a": ["2024-02-01/2024-04-01"]}
    assert run[0].reason == "asked for"


def test_a_table_without_intervals_is_computed_when_it_is_new_or_its_inputs_move() -> None:
    source = table("silver.a", interval=Daily("at"), start="2024-06-14")
    derived = table("gold.b", "silver.a")
    exists = Progress(exists=True, done=RangeSet([TimeRange.parse("2024-06-14", "2024-06-15")]))
    assert [step.reason for step in plan([derived])[0]] == ["not published yet"]
    assert plan([source, derived], {"silver.a": exists, "gold.b": exists}) == []
    assert [str(s.table.name) for s in plan([source, derived], {"gold.b": exists})[0]] == ["silver.a", "gold.b"]
    stale = Progress(exists=True, stale_inputs=(TableName("silver", "a"),))
    (run,) = plan([source, derived], {"silver.a": exists, "gold.b": stale})
    assert [step.reason for step in run] == ["its inputs changed: silver.a"]


def test_tables_without_intervals_take_their_turn_among_the_chunks() -> None:
    lookup = table("silver.lookup")
    days = table("silver.days", "silver.lookup", interval=Daily("at"), start="2024-06-12")
    total = table("gold.total", "silver.days")
    between = table("gold.between", "silver.days")
    later = table("gold.later", "gold.between", interval=Daily("at"), start="2024-06-12")
    runs = plan([lookup, days, total, between, later], intervals_per_run=1)
    assert [[str(step.table.name) for step in run] for run in runs] == [
        ["silver.lookup", "silver.days", "gold.between", "gold.later"],
        ["silver.days", "gold.between", "gold.later"],
        ["silver.days", "gold.total", "gold.between", "gold.later"],
    ]


def test_a_range_computes_no_interval_that_is_not_over() -> None:
    (run,) = plan([table("silver.a", interval=Daily("at"))], window=TimeRange.parse("2024-06-10", "2030-01-01"))
    assert ranges(run) == {"silver.a": ["2024-06-10/2024-06-15"]}


def test_two_holes_in_one_chunk_are_computed_once() -> None:
    def done(*parts: tuple[str, str]) -> Progress:
        return Progress(exists=True, done=RangeSet(TimeRange.parse(*part) for part in parts))

    days = table("silver.days", interval=Daily("at"), start="2024-01-01", end="2024-02-01")
    months = table("gold.months", "silver.days", interval=Monthly("at"), start="2024-01-01", end="2024-02-01")
    progress = {"silver.days": done(("2024-01-01", "2024-01-03"), ("2024-01-05", "2024-01-20"))}
    (run,) = plan([days, months], progress, intervals_per_run=1)
    assert ranges(run) == {
        "silver.days": ["2024-01-03/2024-01-05", "2024-01-20/2024-02-01"],
        "gold.months": ["2024-01-01/2024-02-01"],
    }


def test_a_longer_interval_finds_the_shorter_ones_that_it_reads_computed() -> None:
    weeks = table("silver.weeks", interval=Weekly("at"), start="2024-01-01", end="2024-03-01")
    months = table("gold.months", "silver.weeks", interval=Monthly("at"), start="2024-01-01", end="2024-03-01")
    for run in plan([weeks, months], intervals_per_run=1):
        found = {str(step.table.name): step.ranges for step in run}
        month = found["gold.months"][-1]
        starts = [week.start for week in weeks.interval.chunks(found["silver.weeks"][0], 1)]  # type: ignore[union-attr]
        assert all(month.start <= start < month.end for start in starts)
        assert starts[-1] + timedelta(days=7) >= month.end


def test_another_cadence_than_before_counts_in_whole_intervals() -> None:
    done = Progress(exists=True, done=RangeSet([TimeRange.parse("2024-01-01", "2024-04-30")]))
    months = table("gold.a", interval=Monthly("at", lookback=2), start="2024-01-01")
    (run,) = plan([months], {"gold.a": done})
    assert ranges(run) == {"gold.a": ["2024-02-01/2024-06-01"]}


def test_what_can_not_be_planned_is_said() -> None:
    with pytest.raises(UsageError, match=r"silver\.a has intervals but no start"):
        plan([table("silver.a", interval=Daily("at"))])
    with pytest.raises(UsageError, match="no whole interval"):
        plan([table("silver.a", interval=Daily("at"))], window=TimeRange(NOW, NOW + timedelta(hours=1)))


@given(
    units=st.lists(st.sampled_from(list(Unit)), min_size=1, max_size=3),
    start=st.datetimes(datetime(2020, 1, 1), datetime(2021, 1, 1)),
    length=st.integers(1, 500),
    size=st.integers(1, 20),
)
def test_chunks_cover_every_interval_once_and_in_order(
    units: list[Unit], start: datetime, length: int, size: int
) -> None:
    begin = start.replace(minute=0, second=0, microsecond=0, tzinfo=UTC)
    end = begin + timedelta(days=length)
    units = [unit for unit in units if unit is not Unit.HOUR or length < 60] or [Unit.DAY]
    tables = [
        table(f"silver.t{number}", interval=Cadence("at", unit), start=begin, end=end)
        for number, unit in enumerate(units)
    ]
    whole = plan(tables)
    cut = plan(tables, intervals_per_run=size)
    for each in tables:
        together = [window for run in whole for step in run if step.table is each for window in step.ranges]
        pieces = [window for run in cut for step in run if step.table is each for window in step.ranges]
        assert RangeSet(pieces) == RangeSet(together)
        assert all(left.end <= right.start for left, right in pairwise(pieces))
