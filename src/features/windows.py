"""Windowed aggregates: how much, how often, how recently, in the last 5 minutes, 7 days or 2 years.

A declaration compiles to one Spark aggregation over the events, or to two that meet half-way: `partials` keeps what
each bucket of time adds (an interval of a table, computed once), and `combine` adds the buckets up for each as-of
moment. So the newest interval costs its own events and one row per key and bucket, not the whole window again.

An as-of moment `m` sees events with `m - window <= time < m`. Times are cut to the precision: all events of a bucket
count together, and moments and windows are whole buckets. So a row as of `m` never knows what happened at `m` or later.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from asgard.common.errors import DeclarationError, UsageError
from asgard.common.names import check_identifier
from asgard.lakehouse.intervals import TimeRange

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import StructType

BUCKET = "bucket"
"""Column of the partials: the start of the bucket."""
_DURATION = re.compile(r"([1-9]\d*)(m|h|d|w|y)")
_UNITS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "y": 365 * 86_400}
_DAY = timedelta(days=1)
_LG_K = 12
"""Of HyperLogLog sketches: 4,096 registers, 1.6 % standard error (Apache DataSketches)."""


class Function(StrEnum):
    """What is computed of a column's values within a window; nulls don't count."""

    COUNT = "count"
    """How many values; of no column: how many events. 0 where there are none."""
    SUM = "sum"
    """0 where there are none."""
    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    STDDEV = "stddev"
    """Of a sample (n - 1); null for fewer than two values."""
    DISTINCT = "distinct"
    """How many different values, exactly; the partials keep them all."""
    APPROX_DISTINCT = "approx_distinct"
    """The same by a HyperLogLog sketch: 1.6 % standard error, small partials."""
    LAST = "last"
    """The value of the latest event that has one; of equal times the greatest."""


@dataclass(frozen=True)
class Aggregate:
    """One function of one column, over some windows.

    Attributes:
        function: see `Function`.
        column: of the events; None only for count.
        over: windows such as `5m`, `1h`, `7d`, `4w`, `1y` (365 days).
        name: of the features, before the window; default `<column>_<function>`, or `count`.
    """

    function: Function
    column: str | None
    over: tuple[str, ...]
    name: str

    def feature(self, window: str) -> str:
        """The column of one window."""
        return f"{self.name}_{window}"


def aggregate(function: str, column: str | None = None, *, over: Sequence[str], name: str | None = None) -> Aggregate:
    """Declare an aggregate; see `Aggregate`.

    Raises:
        DeclarationError: no such function, no window, or a column too few or too many.
    """
    if function not in tuple(Function):
        raise DeclarationError(f"{function!r} is no aggregate.", hint=f"Use one of {', '.join(Function)}.")
    kind = Function(function)
    if column is None and kind is not Function.COUNT:
        raise DeclarationError(f"Aggregate {function} needs a column.", hint=f"aggregate('{function}', 'amount', ...)")
    windows = (over,) if isinstance(over, str) else tuple(over)
    if not windows:
        raise DeclarationError(f"Aggregate {function} has no window.", hint="over=('7d', '30d')")
    for window in windows:
        duration(window)
    if len(set(windows)) < len(windows):
        raise DeclarationError(f"Aggregate {function} names a window twice.", hint="Name each once.")
    default = f"{column}_{function}" if column else "count"
    return Aggregate(kind, column, windows, check_identifier(name or default, "feature name"))


def duration(text: str) -> timedelta:
    """Read a window or a precision.

    Raises:
        DeclarationError: it is none.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise DeclarationError(f"{text!r} is no length of time.", hint="E.g. '5m', '1h', '7d', '4w', '1y'.")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


@dataclass(frozen=True)
class Windowed:
    """Aggregates over events of a key.

    A key has a row as of a moment if something happened to it within the longest window before, or within `every`
    before that: so the last row of a key that fell silent is one of zeros and nulls, not a stale one.

    Attributes:
        keys: columns that name the entity.
        at: column with the events' times (timestamp).
        aggregates: what to compute.
        precision: length of a bucket; a whole day holds a whole number of them.
        every: distance of the as-of moments.
    """

    keys: tuple[str, ...]
    at: str
    aggregates: tuple[Aggregate, ...]
    precision: timedelta
    every: timedelta

    @cached_property
    def longest(self) -> timedelta:
        """The longest window."""
        return max(duration(window) for each in self.aggregates for window in each.over)

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that `compute` and `combine` give beside keys and event_timestamp."""
        return tuple(each.feature(window) for each in self.aggregates for window in each.over)

    def reach(self, moments: Sequence[datetime]) -> TimeRange:
        """The events, and buckets, that rows as of these moments are made of."""
        return TimeRange(min(moments) - self.longest - self.every, max(moments))

    def compute(self, events: "DataFrame", moments: Sequence[datetime]) -> "DataFrame":
        """All of it at once, in one aggregation over the events.

        Args:
            events: keys, time and columns.
            moments: as-of moments.

        Returns:
            keys, event_timestamp, created_at (both the moment), and the features.

        Raises:
            UsageError: a moment is not at the start of a bucket.
        """
        from pyspark.sql import functions as F

        self._require_moments(moments)
        start = self._bucket(F.col(self.at))
        return self._gathered(
            events, start, moments, lambda each, inside: _direct(each, inside, self.at, events.schema)
        )

    def partials(self, events: "DataFrame") -> "DataFrame":
        """What each bucket adds: one row per key and bucket that has events.

        Returns:
            keys, bucket (timestamp), and columns that `combine` reads.
        """
        from pyspark.sql import functions as F

        states: dict[str, Column] = {}
        for each in self.aggregates:
            states |= _states(each, self.at)
        named = [column.alias(name) for name, column in states.items()]
        return events.groupBy(*self.keys, F.timestamp_micros(self._bucket(F.col(self.at))).alias(BUCKET)).agg(*named)

    def combine(self, partials: "DataFrame", moments: Sequence[datetime]) -> "DataFrame":
        """Rows as of some moments, from what their buckets added; see `compute` for the columns.

        Raises:
            UsageError: a moment is not at the start of a bucket.
        """
        from pyspark.sql import functions as F

        self._require_moments(moments)
        start = F.unix_micros(F.col(BUCKET))
        return self._gathered(partials, start, moments, lambda each, inside: _merged(each, inside, partials.schema))

    def _gathered(
        self,
        rows: "DataFrame",
        start: "Column",
        moments: Sequence[datetime],
        measure: "Callable[[Aggregate, Column], Column]",
    ) -> "DataFrame":
        """Group rows by key and as-of moment, each window as a condition."""
        from pyspark.sql import functions as F

        times = sorted({_micros(moment) for moment in moments})
        reach, source = self.reach(moments), BUCKET if BUCKET in rows.columns else self.at
        found = rows.where(F.col(source) >= F.lit(reach.start)).where(F.col(source) < F.lit(reach.end))
        found = found.withColumn("__start", start)
        if len(times) == 1:
            found = found.withColumn("__moment", F.lit(times[0]))
        else:
            grid = rows.sparkSession.createDataFrame([(time,) for time in times], "__moment bigint")
            span = _length(self.longest + self.every)
            seen = (F.col("__start") < F.col("__moment")) & (F.col("__start") >= F.col("__moment") - F.lit(span))
            found = found.join(F.broadcast(grid), seen)
        columns = []
        for each in self.aggregates:
            for window in each.over:
                inside = F.col("__start") >= F.col("__moment") - F.lit(_length(duration(window)))
                columns.append(measure(each, inside).alias(each.feature(window)))
        moment = F.timestamp_micros("__moment")
        return (
            found.groupBy(*self.keys, "__moment")
            .agg(*columns)
            .select(*self.keys, moment.alias("event_timestamp"), moment.alias("created_at"), *self.features)
        )

    def _bucket(self, time: "Column") -> "Column":
        from pyspark.sql import functions as F

        micros, length = F.unix_micros(time), _length(self.precision)
        return micros - F.pmod(micros, F.lit(length))

    def _require_moments(self, moments: Sequence[datetime]) -> None:
        if not moments:
            raise UsageError("There is no as-of moment.", hint="Give at least one.")
        odd = next((moment for moment in moments if _micros(moment) % _length(self.precision)), None)
        if odd is not None:
            raise UsageError(
                f"As-of moment {odd.isoformat()} lies within a bucket of {self.precision}.",
                hint="Use moments at which buckets start, or a finer precision.",
            )


def windowed(
    *, keys: Sequence[str], at: str, aggregates: Sequence[Aggregate], precision: str = "1d", every: str | None = None
) -> Windowed:
    """Declare aggregates over the events of a key; see `Windowed` for the arguments.

    Args:
        precision: such as `5m`, `1h`, `1d`; at most a day.
        every: default: the precision.

    Raises:
        DeclarationError: a window is no whole number of buckets, or two features have one name.
    """
    bucket = duration(precision)
    if _DAY % bucket:
        raise DeclarationError(f"A day is no whole number of {precision}.", hint="Use e.g. '5m', '15m', '1h' or '1d'.")
    step = duration(every) if every else bucket
    found = Windowed((keys,) if isinstance(keys, str) else tuple(keys), at, tuple(aggregates), bucket, step)
    if not found.keys or not found.aggregates:
        raise DeclarationError("Windowed aggregates need keys and aggregates.", hint="keys=('customer_id',)")
    for text in dict.fromkeys(
        (*(window for each in found.aggregates for window in each.over), *((every,) if every else ()))
    ):
        if duration(text) % bucket:
            raise DeclarationError(
                f"{text} is no whole number of {precision}.", hint="Use a finer precision, or a longer window."
            )
    names = [*found.keys, *found.features, "event_timestamp", "created_at", BUCKET]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DeclarationError(f"{', '.join(twice)} would be there twice.", hint="Give aggregates names: name='...'.")
    return found


def _states(each: Aggregate, at: str) -> "Mapping[str, Column]":
    """What a bucket keeps for an aggregate."""
    from pyspark.sql import functions as F

    column = each.column
    if column is None:
        return {"events": F.count(F.lit(1))}
    value = F.col(f"`{column}`")
    count, total = {f"{column}__count": F.count(value)}, {f"{column}__sum": F.sum(value)}
    match each.function:
        case Function.COUNT:
            return count
        case Function.SUM:
            return total
        case Function.MEAN:
            return count | total
        case Function.MIN:
            return {f"{column}__min": F.min(value)}
        case Function.MAX:
            return {f"{column}__max": F.max(value)}
        case Function.STDDEV:
            real = value.cast("double")
            spread = F.struct(
                F.count(real).alias("n"), F.avg(real).alias("mean"), (F.var_pop(real) * F.count(real)).alias("m2")
            )
            return {f"{column}__spread": spread}
        case Function.DISTINCT:
            return {f"{column}__values": F.collect_set(value)}
        case Function.APPROX_DISTINCT:
            return {f"{column}__sketch": F.hll_sketch_agg(value, _LG_K)}
        case Function.LAST:
            return {
                f"{column}__last": F.max(
                    F.when(value.isNotNull(), F.struct(F.col(at).alias("at"), value.alias("value")))
                )
            }


def _merged(each: Aggregate, inside: "Column", schema: "StructType") -> "Column":
    """An aggregate of the buckets of a window."""
    from pyspark.sql import functions as F

    def state(name: str) -> "Column":
        return F.when(inside, F.col(f"`{each.column}__{name}`"))

    match each.function:
        case Function.COUNT:
            kept = F.when(inside, F.col("events")) if each.column is None else state("count")
            return F.coalesce(F.sum(kept), F.lit(0).cast("bigint"))
        case Function.SUM:
            kind = schema[f"{each.column}__sum"].dataType
            return F.coalesce(F.sum(state("sum")).cast(kind), F.lit(0).cast(kind))
        case Function.MEAN:
            return F.sum(state("sum")).cast("double") / F.nullif(F.sum(state("count")), F.lit(0)).cast("double")
        case Function.MIN:
            return F.min(state("min"))
        case Function.MAX:
            return F.max(state("max"))
        case Function.STDDEV:
            return _stddev(F.sort_array(F.collect_list(state("spread"))))  # in one order: the same answer each time
        case Function.DISTINCT:
            return F.size(F.array_distinct(F.flatten(F.collect_list(state("values"))))).cast("bigint")
        case Function.APPROX_DISTINCT:
            return F.coalesce(F.hll_sketch_estimate(F.hll_union_agg(state("sketch"))), F.lit(0).cast("bigint"))
        case Function.LAST:  # no two buckets share a time; and Spark hashes this, where it would sort for max(struct)
            return F.max_by(state("last")["value"], state("last")["at"])


def _direct(each: Aggregate, inside: "Column", at: str, schema: "StructType") -> "Column":
    """An aggregate of the events of a window."""
    from pyspark.sql import functions as F

    if each.column is None:
        return F.count(F.when(inside, F.lit(1)))
    value = F.when(inside, F.col(f"`{each.column}`"))
    match each.function:
        case Function.COUNT:
            return F.count(value)
        case Function.SUM:
            kind = _sum_type(schema[each.column].dataType.simpleString())
            return F.coalesce(F.sum(value).cast(kind), F.lit(0).cast(kind))
        case Function.MEAN:
            return F.sum(value).cast("double") / F.nullif(F.count(value), F.lit(0)).cast("double")
        case Function.MIN:
            return F.min(value)
        case Function.MAX:
            return F.max(value)
        case Function.STDDEV:
            return F.stddev_samp(value.cast("double"))
        case Function.DISTINCT:
            return F.size(F.collect_set(value)).cast("bigint")
        case Function.APPROX_DISTINCT:
            return F.coalesce(F.hll_sketch_estimate(F.hll_sketch_agg(value, _LG_K)), F.lit(0).cast("bigint"))
        case Function.LAST:
            return F.max(F.when(value.isNotNull(), F.struct(F.col(at), value.alias("value"))))["value"]


def _stddev(spreads: "Column") -> "Column":
    """Of several buckets' count, mean and sum of squared distances, merged pair by pair.

    Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """
    from pyspark.sql import functions as F

    def merge(one: "Column", other: "Column") -> "Column":
        n = one["n"] + other["n"]
        apart = other["mean"] - one["mean"]
        return F.when(other["n"] == 0, one).otherwise(
            F.struct(
                n.alias("n"),
                (one["mean"] + apart * other["n"] / n).alias("mean"),
                (one["m2"] + other["m2"] + apart * apart * one["n"] * other["n"] / n).alias("m2"),
            )
        )

    nothing = F.struct(F.lit(0).cast("bigint").alias("n"), F.lit(0.0).alias("mean"), F.lit(0.0).alias("m2"))
    return F.aggregate(
        spreads, nothing, merge, lambda all_: F.when(all_["n"] > 1, F.sqrt(all_["m2"] / (all_["n"] - 1)))
    )


def _sum_type(kind: str) -> str:
    """What Spark's sum of a column is of."""
    decimal = re.fullmatch(r"decimal\((\d+),(\d+)\)", kind)
    if decimal:
        return f"decimal({min(38, int(decimal[1]) + 10)},{decimal[2]})"
    return "double" if kind in ("double", "float") else "bigint"


def _length(time: timedelta) -> int:
    return round(time.total_seconds() * 1_000_000)


def _micros(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise UsageError(f"As-of moment {moment.isoformat()} has no time zone.", hint="Use UTC.")
    return _length(moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC))
