"""Aggregates of events within windows, and the state that each bucket of time keeps for them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from asgard.common import arguments
from asgard.common.arguments import declares, optional
from asgard.common.errors import DeclarationError
from asgard.common.names import check_identifier

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql.types import DataType, StructType

_DURATION = re.compile(r"([1-9]\d*)(m|h|d|w|y)")
_UNITS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "y": 365 * 86_400}
_LG_K = 12
"""Size of HyperLogLog sketches: 4,096 registers, 1.6 % standard error (Apache DataSketches)."""
_UNIT_DIGITS = 15
"""Decimals of at most this many digits are summed as 64-bit integers, four times as fast."""
_SUM_DIGITS = 10
"""Number of digits that Spark's sum of decimals has more than the decimals."""
_UNIT_SUM = re.compile(r"sum_(\d+)_(\d+)")


class Function(StrEnum):
    """What is computed from a column's values within a window; nulls are ignored."""

    COUNT = "count"
    """Number of values; without a column, number of events. 0 if there are none."""
    SUM = "sum"
    """0 if there are no values."""
    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    STDDEV = "stddev"
    """Of a sample (n - 1); null for fewer than two values."""
    DISTINCT = "distinct"
    """Exact number of distinct values; the partials keep all of them."""
    APPROX_DISTINCT = "approx_distinct"
    """Number of distinct values by a HyperLogLog sketch: 1.6 % standard error, small partials."""
    LAST = "last"
    """The value of the latest event that has one; the greatest of several at that time."""


@dataclass(frozen=True)
class Aggregate:
    """One function of one column, over some windows.

    Attributes:
        function: see `Function`.
        column: of the events; None only for count.
        over: windows such as `5m`, `1h`, `7d`, `4w`, `1y` (365 days).
        name: start of the features' names, before the window; default `<column>_<function>`, or `count`.
    """

    function: Function
    column: str | None
    over: tuple[str, ...]
    name: str

    def feature(self, window: str) -> str:
        """The column's name for one window."""
        return f"{self.name}_{window}"


@declares(
    "Aggregate {function}",
    function=arguments.text("'sum'"),
    column=optional(arguments.text("'amount'", blank=False)),
    over=arguments.names("('7d', '30d')"),
    name=optional(arguments.text("'spent'", blank=False)),
)
def aggregate(function: str, column: str | None = None, *, over: Sequence[str], name: str | None = None) -> Aggregate:
    """Declare an aggregate; see `Aggregate`.

    Raises:
        DeclarationError: the function is unknown, a window or the column is missing, or a window is named twice.
    """
    if function not in tuple(Function):
        meant = arguments.nearest(function, Function)
        raise DeclarationError(
            f"{function!r} is not an aggregate.",
            hint=f"{f'Did you mean {str(meant)!r}? ' if meant else ''}Use one of {', '.join(Function)}.",
        )
    kind = Function(function)
    if column is None and kind is not Function.COUNT:
        raise DeclarationError(f"Aggregate {function} needs a column.", hint=f"aggregate('{function}', 'amount', ...)")
    windows = tuple(over)
    if not windows:
        raise DeclarationError(f"Aggregate {function} has no window.", hint="over=('7d', '30d')")
    for window in windows:
        duration(window)
    if len(set(windows)) < len(windows):
        raise DeclarationError(f"Aggregate {function} names a window twice.", hint="Name each once.")
    default = f"{column}_{function}" if column else "count"
    return Aggregate(kind, column, windows, check_identifier(name or default, "feature name"))


def duration(text: str) -> timedelta:
    """Parse a window or a precision.

    Raises:
        DeclarationError: it is not a duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise DeclarationError(f"{text!r} is not a duration.", hint="E.g. '5m', '1h', '7d', '4w', '1y'.")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def states(each: Aggregate, at: str, schema: "StructType") -> "dict[str, Column]":
    """The state that a bucket keeps for an aggregate: column name -> expression over the bucket's events."""
    from pyspark.sql import functions as F

    column = each.column
    if column is None:
        return {"events": F.count(F.lit(1))}
    value = F.col(f"`{column}`")
    count, total = {f"{column}__count": F.count(value)}, _sum_state(column, value, schema[column].dataType)
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


def is_state(name: str, each: Aggregate) -> bool:
    """Whether a column with this name can be the aggregate's state in the partials."""
    return name == "events" if each.column is None else name.startswith(f"{each.column}__")


def merged(each: Aggregate, inside: "Column", schema: "StructType") -> "Column":
    """An aggregate computed from the buckets of a window."""
    from pyspark.sql import functions as F

    def state(name: str) -> "Column":
        return F.when(inside, F.col(f"`{each.column}__{name}`"))

    def total() -> "Column":
        prefix = f"{each.column}__"
        for name in schema.names:
            kept = _UNIT_SUM.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
            if kept:
                return _of_units(F.sum(state(kept[0])), int(kept[1]), int(kept[2]))
        return F.sum(state("sum")).cast(schema[f"{each.column}__sum"].dataType)

    match each.function:
        case Function.COUNT:
            kept = F.when(inside, F.col("events")) if each.column is None else state("count")
            return F.coalesce(F.sum(kept), F.lit(0).cast("bigint"))
        case Function.SUM:
            return F.coalesce(total(), F.lit(0))
        case Function.MEAN:
            return total().cast("double") / F.nullif(F.sum(state("count")), F.lit(0)).cast("double")
        case Function.MIN:
            return F.min(state("min"))
        case Function.MAX:
            return F.max(state("max"))
        case Function.STDDEV:
            return _stddev(F.sort_array(F.collect_list(state("spread"))))  # sorted: the same result each time
        case Function.DISTINCT:
            return F.size(F.array_distinct(F.flatten(F.collect_list(state("values"))))).cast("bigint")
        case Function.APPROX_DISTINCT:
            return F.coalesce(F.hll_sketch_estimate(F.hll_union_agg(state("sketch"))), F.lit(0).cast("bigint"))
        case Function.LAST:  # no two buckets share a time; Spark hashes max_by, but would sort for max(struct)
            return F.max_by(state("last")["value"], state("last")["at"])


def direct(each: Aggregate, inside: "Column", at: str, schema: "StructType") -> "Column":
    """An aggregate computed from the events of a window."""
    from pyspark.sql import functions as F

    if each.column is None:
        return F.count(F.when(inside, F.lit(1)))
    value = F.when(inside, F.col(f"`{each.column}`"))
    match each.function:
        case Function.COUNT:
            return F.count(value)
        case Function.SUM:
            kind = _sum_type(schema[each.column].dataType)
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
    """Standard deviation from the count, mean and sum of squared distances of several buckets, merged in pairs.

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


def _sum_state(column: str, value: "Column", kind: "DataType") -> "dict[str, Column]":
    """A bucket's sum; for short decimals in units of their last place, as `<column>__sum_<precision>_<scale>`."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import DecimalType

    if not isinstance(kind, DecimalType) or kind.precision > _UNIT_DIGITS:
        return {f"{column}__sum": F.sum(value)}
    units = (F.sum(value) * F.lit(Decimal(10**kind.scale))).cast("bigint")
    return {f"{column}__sum_{kind.precision + _SUM_DIGITS}_{kind.scale}": units}


def _of_units(units: "Column", precision: int, scale: int) -> "Column":
    from pyspark.sql import functions as F

    return (units.cast("decimal(19,0)") * F.lit(Decimal(1).scaleb(-scale))).cast(f"decimal({precision},{scale})")


def _sum_type(kind: "DataType") -> str:
    """The type of Spark's sum of a column."""
    from pyspark.sql.types import DecimalType, FractionalType

    if isinstance(kind, DecimalType):
        return f"decimal({min(38, kind.precision + _SUM_DIGITS)},{kind.scale})"
    return "double" if isinstance(kind, FractionalType) else "bigint"
