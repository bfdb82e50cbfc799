"""What each interval of a stretch read, for functions whose conditions are known."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.names import TableName
from asgard.lakehouse.declaring.intervals import Cadence, TimeRange, Unit
from asgard.lakehouse.freshness.interval_reads import intervals_of, reads_by_interval
from asgard.lakehouse.freshness.spark_reads import Reads
from asgard.lakehouse.freshness.stretch import EVERYTHING, Stretch, micros

ROWS = TableName("silver", "rows")
Bounds = Callable[[TimeRange], tuple[datetime | None, datetime | None]]


def _month(interval: TimeRange) -> datetime:
    return Unit.MONTH.floor(interval.start)


def _year_to_date(interval: TimeRange) -> tuple[datetime | None, datetime | None]:
    return Unit.YEAR.floor(interval.start), interval.end


FUNCTIONS: dict[str, Bounds] = {
    "its own rows": lambda interval: (interval.start, interval.end),
    "90 days before": lambda interval: (interval.start - timedelta(days=90), interval.end),
    "a day around": lambda interval: (interval.start - timedelta(days=1), interval.end + timedelta(days=1)),
    "all before": lambda interval: (None, interval.end),
    "all before its start": lambda interval: (None, interval.start),
    "since a day": lambda interval: (datetime(2020, 1, 1, tzinfo=UTC), interval.end),
    "the month before": lambda interval: (Unit.MONTH.shift(Unit.MONTH.floor(interval.start), -1), interval.end),
    "the week": lambda interval: (Unit.WEEK.floor(interval.start), Unit.WEEK.ceil(interval.end)),
    "year to date": _year_to_date,
    "quarter to date": lambda interval: (
        Unit.MONTH.shift(_month(interval), -((_month(interval).month - 1) % 3)),
        interval.end,
    ),
    "fiscal year to date": lambda interval: (
        Unit.MONTH.shift(_month(interval), -((_month(interval).month - 4) % 12)),
        interval.end,
    ),
}


def _reads(bounds: Bounds) -> Callable[[TimeRange], Reads]:
    def plan(interval: TimeRange) -> Reads:
        low, high = bounds(interval)
        ends = (micros(each) if each is not None else None for each in (low, high))
        return Reads({ROWS: Stretch("at", *ends, nulls=False)})

    return plan


def _holds(outer: Stretch, inner: Stretch) -> bool:
    low = outer.start is None or (inner.start is not None and outer.start <= inner.start)
    return low and (outer.end is None or (inner.end is not None and outer.end >= inner.end))


@pytest.mark.parametrize("name", FUNCTIONS)
@given(unit=st.sampled_from([Unit.DAY, Unit.WEEK, Unit.MONTH]), first=st.integers(0, 700), count=st.integers(1, 40))
def test_no_interval_read_more_than_is_noted(name: str, unit: Unit, first: int, count: int) -> None:
    start = unit.floor(datetime(2023, 1, 1, tzinfo=UTC) + timedelta(days=first))
    window = TimeRange(start, unit.shift(start, count))
    plan = _reads(FUNCTIONS[name])
    noted = reads_by_interval(Cadence("at", unit), window, [ROWS], plan, plan(window))
    assert list(noted) == intervals_of(Cadence("at", unit), window)
    for interval, stretches in noted.items():
        assert _holds(stretches[ROWS], plan(interval).of(ROWS)), (interval, stretches[ROWS])


@pytest.mark.parametrize("name", ["its own rows", "90 days before", "a day around", "all before", "since a day"])
def test_of_a_fixed_distance_it_is_exact(name: str) -> None:
    window = TimeRange(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC))
    plan = _reads(FUNCTIONS[name])
    noted = reads_by_interval(Cadence("at", Unit.DAY), window, [ROWS], plan, plan(window))
    assert all(stretches[ROWS] == plan(interval).of(ROWS) for interval, stretches in noted.items())


def test_what_the_plan_hides_is_everything() -> None:
    window = TimeRange(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 4, tzinfo=UTC))
    plan = _reads(FUNCTIONS["its own rows"])
    hidden = Reads(plan(window).stretches, opaque=True)
    noted = reads_by_interval(Cadence("at", Unit.DAY), window, [ROWS], lambda _interval: hidden, plan(window))
    assert {stretches[ROWS] for stretches in noted.values()} == {EVERYTHING}
