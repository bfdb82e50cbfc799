"""Windowed aggregates: how much, how often, how recently, in the last 5 minutes, 7 days or 2 years.

A declaration compiles to one Spark aggregation over the events, or to two: `partials` keeps what each bucket of time
contributes (an interval of a table, computed once), and `combine` merges the buckets for each as-of moment. So the
latest interval costs its own events and one row per key and bucket, not the whole window again.

An as-of moment `m` counts events with `m - window <= time < m`. Times are cut to the precision: all events of a bucket
count together, and moments and windows are whole buckets. So a row as of `m` never contains what happened at `m` or
later.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from asgard.common import arguments
from asgard.common.arguments import declares, optional
from asgard.common.errors import DeclarationError, UsageError
from asgard.features.aggregates import Aggregate, aggregate, direct, duration, is_state, merged, states
from asgard.lakehouse.declaring.intervals import TimeRange

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["BUCKET", "KNOWN_AT", "Aggregate", "Windowed", "aggregate", "duration", "windowed"]
BUCKET = "bucket"
"""Column of the partials: the start of the bucket."""
KNOWN_AT = "known_at"
"""Column of the partials: when the last of the bucket's events became known."""
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Windowed:
    """Aggregates over events of a key.

    A key has a row as of a moment if it had an event within the longest window before the moment, or within `every`
    before that window. So the last row of a key without further events has zeros and nulls, not stale values.

    Attributes:
        keys: columns that name the entity.
        at: column with the events' times (timestamp).
        aggregates: what to compute.
        precision: length of a bucket; a day must be a whole number of buckets.
        every: distance between as-of moments.
        known_at: column with the time at which an event became known (timestamp), if that may be later than its moment.
    """

    keys: tuple[str, ...]
    at: str
    aggregates: tuple[Aggregate, ...]
    precision: timedelta
    every: timedelta
    known_at: str | None = None

    @cached_property
    def longest(self) -> timedelta:
        """The longest window."""
        return max(duration(window) for each in self.aggregates for window in each.over)

    @property
    def features(self) -> tuple[str, ...]:
        """The features' columns in what `compute` and `combine` return."""
        return tuple(each.feature(window) for each in self.aggregates for window in each.over)

    def reach(self, moments: Sequence[datetime]) -> TimeRange:
        """The time range of the events and buckets that rows as of these moments are computed from."""
        return TimeRange(min(moments) - self.longest - self.every, max(moments))

    def compute(self, events: "DataFrame", moments: Sequence[datetime]) -> "DataFrame":
        """Compute rows directly, in one aggregation over the events.

        Args:
            events: keys, time and columns.
            moments: as-of moments.

        Returns:
            keys, event_timestamp (the moment), created_at (when the row could first be known: the moment, or when the
            last of its events became known, if that was later), and the features.

        Raises:
            UsageError: a moment is not at the start of a bucket.
        """
        from pyspark.sql import functions as F

        self._require_moments(moments)
        start = self._bucket(F.col(self.at))
        return self._gathered(
            events,
            self.at,
            start,
            self.known_at,
            moments,
            lambda each, inside: direct(each, inside, self.at, events.schema),
        )

    def partials(self, events: "DataFrame") -> "DataFrame":
        """What each bucket contributes: one row per key and bucket that has events.

        Returns:
            keys, bucket (timestamp), known_at where it is declared, and columns that `combine` reads.
        """
        from pyspark.sql import functions as F

        kept: dict[str, Column] = {KNOWN_AT: F.max(f"`{self.known_at}`")} if self.known_at else {}
        for each in self.aggregates:
            kept |= states(each, self.at, events.schema)
        named = [column.alias(name) for name, column in kept.items()]
        return events.groupBy(*self.keys, F.timestamp_micros(self._bucket(F.col(self.at))).alias(BUCKET)).agg(*named)

    def combine(self, partials: "DataFrame", moments: Sequence[datetime]) -> "DataFrame":
        """Rows as of some moments, computed from the partials of their buckets; see `compute` for the columns.

        Raises:
            UsageError: a moment is not at the start of a bucket.
        """
        from pyspark.sql import functions as F

        self._require_moments(moments)
        start, known_at = F.unix_micros(F.col(BUCKET)), KNOWN_AT if self.known_at else None
        return self._gathered(
            partials, BUCKET, start, known_at, moments, lambda each, inside: merged(each, inside, partials.schema)
        )

    def _gathered(
        self,
        rows: "DataFrame",
        time: str,
        start: "Column",
        known_at: str | None,
        moments: Sequence[datetime],
        measure: "Callable[[Aggregate, Column], Column]",
    ) -> "DataFrame":
        """Group rows by key and as-of moment, each window as a condition."""
        from pyspark.sql import functions as F

        times = sorted({_micros(moment) for moment in moments})
        reach = self.reach(moments)
        reached = rows.where(F.col(time) >= F.lit(reach.start)).where(F.col(time) < F.lit(reach.end))
        reached = reached.withColumn("__start", start)
        if len(times) == 1:
            reached = reached.withColumn("__moment", F.lit(times[0]))
        else:
            grid = rows.sparkSession.createDataFrame([(time,) for time in times], "__moment bigint")
            span = _length(self.longest + self.every)
            seen = (F.col("__start") < F.col("__moment")) & (F.col("__start") >= F.col("__moment") - F.lit(span))
            reached = reached.join(F.broadcast(grid), seen)
        columns = []
        for each in self.aggregates:
            for window in each.over:
                inside = F.col("__start") >= F.col("__moment") - F.lit(_length(duration(window)))
                columns.append(measure(each, inside).alias(each.feature(window)))
        moment = F.timestamp_micros("__moment")
        created = F.greatest(moment, F.col("__known")) if known_at else moment
        if known_at:
            columns.append(F.max(f"`{known_at}`").alias("__known"))
        return (
            reached.groupBy(*self.keys, "__moment")
            .agg(*columns)
            .select(*self.keys, moment.alias("event_timestamp"), created.alias("created_at"), *self.features)
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
                f"As-of moment {odd.isoformat()} is not at the start of a bucket of {self.precision}.",
                hint="Use moments at which buckets start, or a finer precision.",
            )


@declares(
    "Windowed aggregates",
    keys=arguments.names("('customer_id',)"),
    at=arguments.text("'purchased_at'", blank=False),
    aggregates=arguments.several(Aggregate, "a list of aggregates", "[aggregate('sum', 'amount', over='30d')]"),
    precision=arguments.text("'1d'"),
    every=optional(arguments.text("'1d'", blank=False)),
    known_at=optional(arguments.text("'loaded_at'", blank=False)),
)
def windowed(
    *,
    keys: Sequence[str],
    at: str,
    aggregates: Sequence[Aggregate],
    precision: str = "1d",
    every: str | None = None,
    known_at: str | None = None,
) -> Windowed:
    """Declare aggregates over the events of a key; see `Windowed` for the arguments.

    Args:
        precision: such as `5m`, `1h`, `1d`; at most a day.
        every: default: the precision.

    Raises:
        DeclarationError: a window is not a whole number of buckets, or two features have one name.
    """
    bucket = duration(precision)
    if _DAY % bucket:
        raise DeclarationError(
            f"A day is not a whole number of {precision}.", hint="Use e.g. '5m', '15m', '1h' or '1d'."
        )
    step = duration(every) if every else bucket
    windowed = Windowed(tuple(keys), at, tuple(aggregates), bucket, step, known_at)
    if not windowed.keys or not windowed.aggregates:
        raise DeclarationError("Windowed aggregates need keys and aggregates.", hint="keys=('customer_id',)")
    for text in dict.fromkeys(
        (*(window for each in windowed.aggregates for window in each.over), *((every,) if every else ()))
    ):
        if duration(text) % bucket:
            raise DeclarationError(
                f"{text} is not a whole number of {precision}.", hint="Use a finer precision, or a longer window."
            )
    names = [*windowed.keys, *windowed.features, "event_timestamp", "created_at", BUCKET, KNOWN_AT]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DeclarationError(f"{', '.join(twice)} would occur twice.", hint="Give aggregates names: name='...'.")
    taken = [key for key in windowed.keys if any(is_state(key, each) for each in windowed.aggregates)]
    if taken:
        raise DeclarationError(
            f"Key {', '.join(taken)} has the same name as a column of the partials.", hint="Rename it in the events."
        )
    return windowed


def _length(time: timedelta) -> int:
    return round(time.total_seconds() * 1_000_000)


def _micros(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise UsageError(f"As-of moment {moment.isoformat()} has no time zone.", hint="Use UTC.")
    return _length(moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC))
