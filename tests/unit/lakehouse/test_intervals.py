"""Arithmetic on intervals: the laws that planning and overwriting rely on."""

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import DeclarationError, UsageError
from asgard.lakehouse.declaring.intervals import Cadence, RangeSet, TimeRange, Unit, as_moment, parse_moment

moments = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
units = st.sampled_from(list(Unit))


@st.composite
def windows(draw: st.DrawFn) -> TimeRange:
    start = draw(moments)
    return TimeRange(start, start + draw(st.timedeltas(timedelta(microseconds=1), timedelta(days=800))))


@st.composite
def small_sets(draw: st.DrawFn) -> tuple[RangeSet, set[int]]:
    """A set of hours as ranges, and the same as plain numbers."""
    zero = datetime(2024, 1, 1, tzinfo=UTC)
    pieces = draw(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 6)), max_size=6))
    ranges = [TimeRange(zero + timedelta(hours=at), zero + timedelta(hours=at + size)) for at, size in pieces]
    return RangeSet(ranges), {hour for at, size in pieces for hour in range(at, at + size)}


def hours(ranges: RangeSet) -> set[int]:
    zero = datetime(2024, 1, 1, tzinfo=UTC)
    hour = timedelta(hours=1)
    return {n for part in ranges for n in range((part.start - zero) // hour, (part.end - zero) // hour)}


class TestUnit:
    @given(units, moments)
    def test_every_moment_lies_in_exactly_one_interval(self, unit: Unit, moment: datetime) -> None:
        start = unit.floor(moment)
        assert start <= moment < unit.shift(start, 1)
        assert unit.floor(start) == start

    @given(units, moments)
    def test_ceil_is_the_first_start_from_there(self, unit: Unit, moment: datetime) -> None:
        ceiling = unit.ceil(moment)
        assert unit.floor(ceiling) == ceiling >= moment
        assert ceiling == moment or unit.shift(ceiling, -1) < moment

    @given(units, moments, st.integers(-300, 300), st.integers(-300, 300))
    def test_shifts_add_up(self, unit: Unit, moment: datetime, one: int, two: int) -> None:
        start = unit.floor(moment)
        assert unit.shift(unit.shift(start, one), two) == unit.shift(start, one + two)

    @given(moments)
    def test_weeks_start_on_monday(self, moment: datetime) -> None:
        assert Unit.WEEK.floor(moment).isoweekday() == 1

    @pytest.mark.parametrize(
        ("unit", "count", "shifted"),
        [
            (Unit.MONTH, 1, "2024-02-01"),
            (Unit.MONTH, -1, "2023-12-01"),
            (Unit.MONTH, 11, "2024-12-01"),
            (Unit.MONTH, -13, "2022-12-01"),
            (Unit.YEAR, 4, "2028-01-01"),
            (Unit.DAY, 59, "2024-02-29"),
            (Unit.HOUR, -1, "2023-12-31T23:00"),
        ],
    )
    def test_shift(self, unit: Unit, count: int, shifted: str) -> None:
        assert unit.shift(parse_moment("2024-01-01"), count) == parse_moment(shifted)


class TestTimeRange:
    @given(windows())
    def test_text_and_back(self, window: TimeRange) -> None:
        assert TimeRange.parse(*str(window).split("/")) == window

    @pytest.mark.parametrize(("start", "end"), [("2024-01-02", "2024-01-02"), ("2024-01-02", "2024-01-01")])
    def test_an_empty_range_is_refused(self, start: str, end: str) -> None:
        with pytest.raises(UsageError, match="is empty"):
            TimeRange.parse(start, end)

    def test_a_bound_without_time_zone_is_refused(self) -> None:
        with pytest.raises(UsageError, match="no time zone"):
            TimeRange(datetime(2024, 1, 1), datetime(2024, 1, 2, tzinfo=UTC))

    def test_other_zones_become_utc(self) -> None:
        berlin_summer = timezone(timedelta(hours=2))
        window = TimeRange(datetime(2024, 6, 1, tzinfo=berlin_summer), datetime(2024, 6, 2, tzinfo=berlin_summer))
        assert str(window) == "2024-05-31T22:00:00Z/2024-06-01T22:00:00Z"
        assert window == TimeRange.parse("2024-05-31T22:00", "2024-06-01T22:00")

    @given(windows(), windows())
    def test_intersect_is_what_both_have(self, one: TimeRange, two: TimeRange) -> None:
        both = one.intersect(two)
        assert both == two.intersect(one)
        if both is None:
            assert one.end <= two.start or two.end <= one.start
        else:
            assert (both.start, both.end) == (max(one.start, two.start), min(one.end, two.end))


class TestCadence:
    @given(units, windows())
    def test_align_is_inside_and_cover_outside(self, unit: Unit, window: TimeRange) -> None:
        cadence = Cadence("at", unit)
        cover, inside = cadence.cover(window), cadence.align(window)
        assert cover.start <= window.start < window.end <= cover.end
        assert cadence.align(cover) == cover == cadence.cover(cover)
        assert unit.shift(cover.start, 1) > window.start
        assert unit.shift(cover.end, -1) < window.end
        if inside is None:
            assert unit.shift(unit.ceil(window.start), 1) > window.end
        else:
            assert inside.intersect(window) == inside
            assert unit.shift(inside.start, -1) < window.start
            assert unit.shift(inside.end, 1) > window.end

    @given(st.sampled_from([Unit.DAY, Unit.WEEK, Unit.MONTH, Unit.YEAR]), windows())
    def test_chunks_of_one_cover_the_window_without_gap_or_overlap(self, unit: Unit, window: TimeRange) -> None:
        cadence = Cadence("at", unit)
        aligned = cadence.cover(window)
        pieces = list(cadence.chunks(aligned, 1))
        assert (pieces[0].start, pieces[-1].end) == (aligned.start, aligned.end)
        assert all(left.end == right.start for left, right in pairwise(pieces))
        assert all(unit.shift(piece.start, 1) == piece.end for piece in pieces)

    @given(st.sampled_from([Unit.WEEK, Unit.MONTH]), windows(), st.integers(1, 40))
    def test_chunks_are_whole_intervals(self, unit: Unit, window: TimeRange, size: int) -> None:
        cadence = Cadence("at", unit)
        aligned = cadence.cover(window)
        chunks = list(cadence.chunks(aligned, size))
        assert [piece for chunk in chunks for piece in cadence.chunks(chunk, 1)] == list(cadence.chunks(aligned, 1))
        assert all(len(list(cadence.chunks(chunk, 1))) == size for chunk in chunks[:-1])

    def test_chunks_of_nothing_are_refused(self) -> None:
        with pytest.raises(UsageError, match="Pieces of 0"):
            list(Cadence("at", Unit.DAY).chunks(TimeRange.parse("2024-01-01", "2024-01-02"), 0))

    def test_a_window_without_a_whole_interval(self) -> None:
        assert Cadence("at", Unit.MONTH).align(TimeRange.parse("2024-01-02", "2024-02-28")) is None

    def test_a_negative_lookback_is_refused(self) -> None:
        with pytest.raises(DeclarationError, match="'at' is -1"):
            Cadence("at", Unit.DAY, -1)

    @pytest.mark.parametrize("unit", Unit)
    def test_the_default_partition_is_exact(self, unit: Unit) -> None:
        cadence = Cadence("at", unit)
        assert cadence.is_exact_on(cadence.partition)

    @pytest.mark.parametrize(
        ("unit", "field", "exact"),
        [
            (Unit.HOUR, "hour(at)", True),
            (Unit.HOUR, "day(at)", False),
            (Unit.DAY, "hour(at)", True),
            (Unit.DAY, "month(at)", False),
            (Unit.WEEK, "day(at)", True),
            (Unit.WEEK, "month(at)", False),  # weeks cross the ends of months
            (Unit.WEEK, "year(at)", False),
            (Unit.MONTH, "day(at)", True),
            (Unit.MONTH, "year(at)", False),
            (Unit.YEAR, "month(at)", True),
            (Unit.DAY, "day(other)", False),
            (Unit.DAY, "at", True),
            (Unit.DAY, "bucket(4, at)", False),
            (Unit.DAY, "truncate(4, at)", False),
        ],
    )
    def test_which_partitions_are_exact(self, unit: Unit, field: str, exact: bool) -> None:
        assert Cadence("at", unit).is_exact_on(field) is exact


class TestRangeSet:
    @given(small_sets(), small_sets())
    def test_it_is_a_set_of_moments(self, one: tuple[RangeSet, set[int]], two: tuple[RangeSet, set[int]]) -> None:
        (left, left_hours), (right, right_hours) = one, two
        assert hours(left) == left_hours
        assert hours(left | right) == left_hours | right_hours
        assert hours(left & right) == left_hours & right_hours
        assert hours(left - right) == left_hours - right_hours
        assert (left == right) == (left_hours == right_hours)
        assert bool(left) == bool(left_hours)

    @given(small_sets())
    def test_ranges_are_sorted_and_neither_overlap_nor_touch(self, given_set: tuple[RangeSet, set[int]]) -> None:
        ranges = given_set[0].ranges
        assert all(left.end < right.start for left, right in pairwise(ranges))

    @given(small_sets())
    def test_equal_sets_hash_alike_and_text_comes_back(self, given_set: tuple[RangeSet, set[int]]) -> None:
        ranges = given_set[0]
        back = RangeSet.parse(str(ranges))
        assert back == ranges
        assert hash(back) == hash(ranges)
        assert repr(ranges) == f"RangeSet({ranges})"

    def test_the_empty_set(self) -> None:
        assert not RangeSet()
        assert RangeSet.parse("") == RangeSet()
        assert RangeSet() != "nothing"


class TestMoments:
    @pytest.mark.parametrize(
        ("text", "moment"),
        [
            ("2024-01-31", datetime(2024, 1, 31, tzinfo=UTC)),
            ("2024-01-31T12:00", datetime(2024, 1, 31, 12, tzinfo=UTC)),
            ("2024-01-31T12:00:00Z", datetime(2024, 1, 31, 12, tzinfo=UTC)),
            ("2024-01-31T12:00:00.5+02:00", datetime(2024, 1, 31, 10, 0, 0, 500_000, tzinfo=UTC)),
        ],
    )
    def test_dates_and_timestamps_are_read(self, text: str, moment: datetime) -> None:
        assert parse_moment(text) == moment
        assert parse_moment(text).tzinfo is UTC

    @pytest.mark.parametrize("text", ["", "yesterday", "2024-02-30", "31.01.2024", "0001-01-01T00:00:00+05:00"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="is not a date or timestamp"):
            parse_moment(text)

    def test_dates_timestamps_and_texts_mean_the_same(self) -> None:
        assert (
            as_moment(date(2024, 1, 31))
            == as_moment(datetime(2024, 1, 31))
            == as_moment("2024-01-31")
            == datetime(2024, 1, 31, tzinfo=UTC)
        )
