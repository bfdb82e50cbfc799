"""Periods of time as people write them, and intervals folded into them, against a list of single intervals."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import UsageError
from asgard.lakehouse.declaring.intervals import Cadence, RangeSet, TimeRange, Unit
from asgard.lakehouse.declaring.periods import folded, parse_period, published_cadence, whole_intervals

BASE = datetime(2019, 12, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2024", "2024-01-01", "2025-01-01"),
        ("2024-12", "2024-12-01", "2025-01-01"),
        ("2020-W53", "2020-12-28", "2021-01-04"),
        ("2024-02-29", "2024-02-29", "2024-03-01"),
        ("2024-01-05T23", "2024-01-05T23:00:00Z", "2024-01-06"),
        ("2024-01-05T07:00:00Z", "2024-01-05T07:00:00Z", "2024-01-05T08:00:00Z"),
        ("2024-01-05..2024-01-07", "2024-01-05", "2024-01-08"),
        ("2024-01-05..2024-02", "2024-01-05", "2024-03-01"),
        ("2024-01-05/2024-01-07", "2024-01-05", "2024-01-07"),
    ],
)
def test_a_period_is_read_in_each_form(text: str, start: str, end: str) -> None:
    assert parse_period(text) == TimeRange.parse(start, end)


@pytest.mark.parametrize(
    "text",
    ["", "..", "2024-13", "2024-02-30", "2024-W54", "2024-01-05T24", "yesterday", "2024-01-05T07:30", "9999", "0000",
     "2024-01-07..2024-01-05", "2024-01-05..", "2024-01-05..x", "2024-01-05/", "2024-01-05 "],
)  # fmt: skip
def test_what_is_no_period_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_period(text)
    assert caught.value.hint


@given(st.sampled_from(Unit), st.sets(st.integers(0, 80), min_size=1))
def test_what_is_folded_reads_back_as_the_same_intervals(unit: Unit, places: set[int]) -> None:
    starts = [unit.shift(unit.floor(BASE), place) for place in sorted(places)]
    intervals = [TimeRange(start, unit.shift(start, 1)) for start in starts]
    texts = folded(reversed(intervals), unit)
    read = [parse_period(text) for text in texts]
    assert [start for part in read for start in unit.starts(part)] == starts
    gaps = sum(later - earlier > 1 for earlier, later in zip(sorted(places), sorted(places)[1:], strict=False))
    assert len(texts) == gaps + 1
    assert RangeSet(read) == RangeSet(intervals)


def test_a_period_has_to_be_whole_intervals() -> None:
    months, weeks = Cadence("at", Unit.MONTH), Cadence("at", Unit.WEEK)
    assert whole_intervals(months, parse_period("2024"), "gold.x") == TimeRange.parse("2024-01-01", "2025-01-01")
    with pytest.raises(UsageError, match=r"is not a whole number of intervals of gold.x: each is one month") as caught:
        whole_intervals(months, parse_period("2024-01-31..2024-02-01"), "gold.x")
    assert "2024-01..2024-02" in caught.value.hint
    week = TimeRange.parse("2024-01-15", "2024-01-22")
    assert whole_intervals(weeks, parse_period("2024-01-15"), "gold.x") == week
    assert whole_intervals(weeks, parse_period("2024-W03"), "gold.x") == week
    with pytest.raises(UsageError):
        whole_intervals(weeks, parse_period("2024-01-16"), "gold.x")


def test_a_published_cadence_is_read() -> None:
    assert published_cadence({"asgard.interval": "day(sold_at)"}) == Cadence("sold_at", Unit.DAY)
    assert published_cadence({}) is None
