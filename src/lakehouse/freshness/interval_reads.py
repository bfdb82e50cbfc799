"""What each interval of a computed stretch read of an input, though many intervals are computed by one call.

A function that is given January may read from December 2nd on: thirty days before. That February 1st alone reads from
January 2nd on follows from no single call. So the plans of some single intervals, spread over all, are looked
at too (nothing is computed), and the bounds are taken for functions of the interval: a length of time, or a
number of hours, days, weeks, months or years before its start or after its end. Where several of them fit, the widest
counts; where none fits, each interval counts as having read what the whole call read.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from asgard.common.names import TableName
from asgard.lakehouse.declaring.intervals import Cadence, TimeRange, Unit
from asgard.lakehouse.freshness.spark_reads import Reads
from asgard.lakehouse.freshness.stretch import EVERYTHING, Stretch, micros, moment_of

_Bound = Callable[[datetime], int | None]
_MOST_UNITS = 400
_SAMPLES = 12
_GOLDEN = 0.6180339887


def intervals_of(cadence: Cadence, window: TimeRange) -> list[TimeRange]:
    """The intervals of an aligned stretch of time, in order."""
    starts = list(cadence.unit.starts(window))
    return [TimeRange(start, cadence.unit.shift(start, 1)) for start in starts]


def reads_by_interval(
    cadence: Cadence,
    window: TimeRange,
    inputs: Iterable[TableName],
    plan: Callable[[TimeRange], Reads],
    whole: Reads,
) -> dict[TimeRange, Mapping[TableName, Stretch]]:
    """What each interval of a computed stretch read of each input.

    Args:
        cadence: of the table.
        window: that one call computed.
        inputs: of the table.
        plan: what a call for another stretch of time would read; asked for single intervals.
        whole: what the call read.
    """
    intervals = intervals_of(cadence, window)
    names = sorted(set(inputs))
    if len(intervals) == 1:
        return {intervals[0]: {name: whole.of(name) for name in names}}
    if all(not whole.of(name).is_bounded for name in names):
        return {interval: dict.fromkeys(names, EVERYTHING) for interval in intervals}
    last = len(intervals) - 1
    spread = (int(last * (_GOLDEN * each % 1)) for each in range(1, _SAMPLES))  # no period: bounds may go in steps
    samples = {0, 1, last - 1, last, *spread}
    seen = {intervals[each]: plan(intervals[each]) for each in sorted(samples)}
    by_name = {
        name: _translated(intervals, {each: reads.of(name) for each, reads in seen.items()}, whole.of(name))
        for name in names
    }
    return {interval: {name: by_name[name][place] for name in names} for place, interval in enumerate(intervals)}


def _translated(intervals: Sequence[TimeRange], seen: Mapping[TimeRange, Stretch], whole: Stretch) -> list[Stretch]:
    columns = {each.column for each in (*seen.values(), whole)}
    if len(columns) > 1 or not whole.is_bounded:
        return [EVERYTHING] * len(intervals)
    lows = _fitting([(each.start, stretch.start) for each, stretch in seen.items()], before=True)
    highs = _fitting([(each.end, stretch.end) for each, stretch in seen.items()], before=False)
    if not lows or not highs:
        return [whole] * len(intervals)
    nulls = whole.nulls or any(each.nulls for each in seen.values())
    found = []
    for interval in intervals:
        low, high = [rule(interval.start) for rule in lows], [rule(interval.end) for rule in highs]
        start = None if None in low else min(each for each in low if each is not None)
        end = None if None in high else max(each for each in high if each is not None)
        found.append(Stretch(whole.column, start, end, nulls))
    return found


def _fitting(seen: Sequence[tuple[datetime, int | None]], *, before: bool) -> list[_Bound]:
    """The rules that give each seen bound: of an interval's start where `before`, else of its end."""
    values = [value for _, value in seen]
    if None in values:
        return [lambda _moment: None] if set(values) == {None} else []
    rules: list[_Bound] = []
    bounds = [(moment, value) for moment, value in seen if value is not None]
    first, value = bounds[0]
    if len({each for _, each in bounds}) == 1:
        rules.append(lambda _moment: value)
    distance = value - micros(first)
    rules.append(lambda moment: micros(moment) + distance)
    rules.extend(
        _in_units(unit, count, before=before) for unit in Unit for count in _counts(unit, first, value, before=before)
    )
    return [rule for rule in rules if all(rule(moment) == wanted for moment, wanted in bounds)]


def _in_units(unit: Unit, count: int, *, before: bool) -> _Bound:
    def bound(moment: datetime) -> int:
        return micros(unit.shift(unit.floor(moment) if before else unit.ceil(moment), count))

    return bound


def _counts(unit: Unit, moment: datetime, value: int, *, before: bool) -> Iterable[int]:
    """How many units a bound lies from an interval's start or end, if it is a whole number."""
    try:
        wanted = moment_of(value)
    except OverflowError:  # beyond the years of Python
        return
    if unit.floor(wanted) != wanted:
        return
    start = unit.floor(moment) if before else unit.ceil(moment)
    step = 1 if wanted >= start else -1
    for count in range(0, step * _MOST_UNITS, step):
        reached = unit.shift(start, count)
        if reached == wanted:
            yield count
        if (reached - wanted).total_seconds() * step >= 0:
            return
