"""Read values as the types of a table's columns, keeping the text of each one that does not fit exactly.

A column holds exactly what the file said, or null; `_raw` then has the text under the column's name. One
exception: a time finer than a microsecond is cut to it, and `_raw` has it in full.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from asgard.common.errors import UsageError
from asgard.lakehouse.schema_changes import quoted
from asgard.lakehouse.sources.nested import can_lose, is_nested, json_of, nested_value
from asgard.lakehouse.sources.own_columns import RAW

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

NANOSECONDS = "nanoseconds"
"""Not a type of Spark: a bigint that counts nanoseconds since 1970 (Parquet's TIMESTAMP(NANOS))."""

_SPECIAL = r"(?i)^\s*([+-]?(inf|infinity)|nan)\s*$"
_NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
_DATE = r"^\s*[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}\s*$"
_STARTS_WITH_DATE = r"^\s*[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
_LOCAL_MOMENT = rf"{_STARTS_WITH_DATE}([ T][0-9]{{1,2}}:[0-9]{{1,2}}(:[0-9]{{1,2}}(\.[0-9]{{1,9}})?)?)?\s*$"
_FINER_THAN_MICROS = r"\.[0-9]{6}[0-9]*[1-9]"
_LONGEST_WITH_MICROS = len("2024-01-31 23:59:58.123456")
_LONGEST_FINITE = {"double": 300, "float": 38}
"""Characters that a number without an exponent may have and still be finite."""
_SPACES = " \t\r\n\f\v"
_WHOLE_TYPES = frozenset({"tinyint", "smallint", "int", "bigint"})


@dataclass(frozen=True)
class Wanted:
    """A column to make: from one of type `source`, as type `target`.

    Attributes:
        parsed: a column with the value, where it is known already; the other one is null there.
    """

    name: str
    source: str
    target: str
    parsed: str | None = None


def fitted_columns(rows: "DataFrame", wanted: Sequence[Wanted], timestamp_format: str | None = None) -> "DataFrame":
    """The wanted columns in their types, `_raw` with the texts that do not fit, and the other columns as they are.

    Args:
        rows: holds a column of each wanted name.
        wanted: in their order.
        timestamp_format: pattern of the times in text, for timestamp columns; None: ISO 8601.

    Raises:
        UsageError: text can't be read as a wanted type.
    """
    from pyspark.sql import functions as F

    names = {name for column in wanted for name in (column.name, column.parsed)}
    others = [F.col(quoted(name)) for name in rows.columns if name not in names]
    given = {column.name: f"given {place}" for place, column in enumerate(wanted) if _can_miss(column)}
    # Values first, and `_raw` from them: so a value is computed once, and a row where all fit costs next to nothing.
    valued = rows.select(
        *(_value(F.col(quoted(one.name)), one, timestamp_format).alias(one.name) for one in wanted),
        *(F.col(quoted(name)).alias(alias) for name, alias in given.items()),
        *others,
    )
    kept = {
        one.name: _kept(F.col(quoted(one.name)), F.col(quoted(given[one.name])), one)
        for one in wanted
        if one.name in given
    }
    return valued.select(*(F.col(quoted(one.name)) for one in wanted), _raw(kept).alias(RAW), *others)


def _raw(kept: "Mapping[str, Column]") -> "Column":
    from pyspark.sql import functions as F

    nothing = F.lit(None).cast("map<string,string>")
    if not kept:
        return nothing
    some = reduce(lambda one, other: one | other, (text.isNotNull() for text in kept.values()))
    none = F.array().cast("array<struct<key:string,value:string>>")
    entries = [
        F.when(text.isNotNull(), F.array(F.struct(F.lit(name).alias("key"), text.alias("value")))).otherwise(none)
        for name, text in kept.items()
    ]
    return F.when(some, F.map_from_entries(F.concat(*entries))).otherwise(nothing)


def _can_miss(wanted: Wanted) -> bool:
    """Whether a value may not fit the column."""
    if is_nested(wanted.source) and is_nested(wanted.target):
        return can_lose(wanted.source, wanted.target)
    same = wanted.source == wanted.target or (wanted.source, wanted.target) == ("timestamp_ntz", "timestamp")
    return not same and wanted.target not in ("string", "binary")


def _kept(value: "Column", given: "Column", wanted: Wanted) -> "Column":
    """The text to keep of what was given, where the value is not all of it; null where it is.

    Args:
        value: what `_value` made of it.
        given: what was given.
        wanted: the column.
    """
    from pyspark.sql import functions as F

    if wanted.source == NANOSECONDS:
        fraction = F.lpad(F.pmod(given, F.lit(1_000_000_000)).cast("string"), 9, "0")
        text = F.concat(F.date_format(value, "yyyy-MM-dd HH:mm:ss"), F.lit("."), fraction)
        return F.when(F.pmod(given, F.lit(1000)) != 0, text)
    missed = value.isNull() & given.isNotNull()
    if wanted.source == "string":
        missed = missed & (F.trim(given, F.lit(_SPACES)) != "")
        if wanted.target in ("timestamp", "timestamp_ntz"):
            long = F.length(given) > _LONGEST_WITH_MICROS
            missed = missed | (long & given.rlike(_FINER_THAN_MICROS))
    return F.when(missed, json_of(given) if is_nested(wanted.source) else given.cast("string"))


def _value(given: "Column", wanted: Wanted, timestamp_format: str | None) -> "Column":
    """What was given, as the column's type; null where it does not fit.

    Raises:
        UsageError: text can't be read as this type.
    """
    from pyspark.sql import functions as F

    source, target = wanted.source, wanted.target
    if source == NANOSECONDS:
        whole = given - F.pmod(given, F.lit(1000))
        return F.timestamp_micros(F.call_function("div", whole, F.lit(1000)))
    if is_nested(source) and is_nested(target):

        def leaf(part: "Column", one: str, other: str) -> "Column":
            return _value(part, Wanted(wanted.name, one, other), timestamp_format)

        return nested_value(given, source, target, leaf)
    if not _can_miss(wanted):
        return given.cast(target)
    if source == "string":
        if wanted.parsed and target.startswith("array<"):
            return F.col(quoted(wanted.parsed))
        value = _read(given, wanted, timestamp_format)
        return F.coalesce(F.col(quoted(wanted.parsed)), value) if wanted.parsed else value
    value = given.try_cast(target)
    if (source, target) == ("double", "float"):  # the nearest will do, as it does for text
        return F.when(F.abs(value) == float("inf"), F.when(F.abs(given) == float("inf"), value)).otherwise(value)
    return F.when(value.try_cast(source).eqNullSafe(given), value)


def value_of_text(text: "Column", kind: str) -> "Column":
    """Text as a type; null where it does not fit.

    Raises:
        UsageError: text can't be read as this type.
    """
    return _value(text, Wanted("an array's element", "string", kind), None)


def _read(text: "Column", wanted: Wanted, timestamp_format: str | None) -> "Column":
    """Text as a type; null for what only Spark's leniency would take, or what would be rounded.

    Spark's own casts leave out the white space around.
    """
    from pyspark.sql import functions as F

    kind = wanted.target
    if kind == "timestamp" and timestamp_format:
        return F.try_to_timestamp(F.trim(text, F.lit(_SPACES)), F.lit(timestamp_format))
    if kind == "boolean":
        return text.try_cast(kind)
    if kind in _WHOLE_TYPES:  # 12.0 is 12: pandas writes whole numbers so where some are missing
        without_zeros = F.when(text.rlike(r"^\s*[+-]?\d+\.0+\s*$"), F.substring_index(text, ".", 1))
        return F.coalesce(text.try_cast(kind), without_zeros.try_cast(kind))
    if kind.startswith("decimal("):
        scale = int(kind[len("decimal(") : -1].split(",")[1])
        rounded = F.when(text.rlike("[eE]"), text.try_cast("decimal(38,18)") != text.try_cast(kind)).otherwise(
            text.rlike(rf"\.[0-9]{{{scale}}}[0-9]*[1-9]")
        )
        return F.when(~F.coalesce(rounded, F.lit(True)), text.try_cast(kind))
    if kind in ("double", "float"):  # with letters: 1e5, inf; but also Java's own 1.5f and 0x1p3
        value = text.try_cast(kind)
        finite = F.when(text.rlike(_NUMBER) & (F.abs(value) != float("inf")), value)
        careful = F.when(text.rlike(_SPECIAL), value).otherwise(finite)
        return F.when(text.rlike("[a-zA-Z]") | (F.length(text) > _LONGEST_FINITE[kind]), careful).otherwise(value)
    if kind == "date":
        return F.when(text.rlike(_DATE), text.try_cast("date"))
    if kind == "timestamp":
        return F.when(text.rlike(_STARTS_WITH_DATE), text.try_cast("timestamp"))
    if kind == "timestamp_ntz":
        return F.when(text.rlike(_LOCAL_MOMENT), text.try_cast("timestamp_ntz"))
    raise UsageError(
        f"Column {wanted.name}: text can't be read as {kind}.",
        hint="Declare it as string, and take it apart in silver, e.g. with from_json.",
    )
