"""Convert values to the types of a table's columns, keeping the text of each value that does not fit exactly.

A column contains exactly the file's value, or null: then `_raw` has the text under the column's name. Two exceptions: a
time finer than a microsecond is cut to microseconds, and `_raw` has the full text; a blank text (empty, or only white
space, quoted or not) in a column that is not text is null, and `_raw` does not have it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from asgard.common.data_type import DataType
from asgard.common.errors import UsageError
from asgard.ingest.converted_numbers import converted, is_numeric, written_number
from asgard.ingest.exact_numbers import SPACES, exact_numbers
from asgard.ingest.moments import read_moment
from asgard.ingest.nested import can_lose, is_nested, json_of, nested_value
from asgard.ingest.own_columns import RAW
from asgard.lakehouse.declaring.schema_changes import quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

NANOSECONDS = "nanoseconds"
"""Not a type of Spark: a bigint that counts nanoseconds since 1970 (Parquet's TIMESTAMP(NANOS))."""

_DATE = r"^\s*[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}\s*$"
_STARTS_WITH_DATE = r"^\s*[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
_LOCAL_MOMENT = rf"{_STARTS_WITH_DATE}([ T][0-9]{{1,2}}:[0-9]{{1,2}}(:[0-9]{{1,2}}(\.[0-9]{{1,9}})?)?)?\s*$"
_FINER_THAN_MICROS = r"[.,][0-9]{6}[0-9]*[1-9]"
_LONGEST_WITH_MICROS = len("2024-01-31 23:59:58.123456")


@dataclass(frozen=True)
class FittedColumn:
    """A column to convert from type `source` to type `target`.

    Attributes:
        parsed: a column with the values that are already parsed; the source column is null in those rows. For a numeric
            target, every text was tried already.
    """

    name: str
    source: str
    target: str
    parsed: str | None = None


def fitted_columns(
    rows: "DataFrame", wanted: Sequence[FittedColumn], timestamp_format: str | None = None
) -> "DataFrame":
    """The wanted columns in their types, `_raw` with the texts that do not fit, and the other columns unchanged.

    Args:
        rows: contains a column of each wanted name.
        wanted: in their order.
        timestamp_format: pattern of the times in text, for timestamp columns; None: ISO 8601.

    Raises:
        UsageError: text can't be read as a wanted type.
    """
    from pyspark.sql import functions as F

    names = {name for column in wanted for name in (column.name, column.parsed)}
    others = [F.col(quoted(name)) for name in rows.columns if name not in names]
    given = {column.name: f"given {place}" for place, column in enumerate(wanted) if _can_miss(column)}
    # Values first, then `_raw` from them: each value is computed once, and a row where all fit costs almost nothing.
    valued = rows.select(
        *(_value(F.col(quoted(one.name)), one, timestamp_format).alias(one.name) for one in wanted),
        *(F.col(quoted(name)).alias(alias) for name, alias in given.items()),
        *others,
    )
    kept = {
        one.name: _kept(F.col(quoted(one.name)), F.col(quoted(given[one.name])), one, timestamp_format)
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


def _can_miss(wanted: FittedColumn) -> bool:
    """Whether a value may not fit the column."""
    if is_nested(wanted.source) and is_nested(wanted.target):
        return can_lose(wanted.source, wanted.target)
    same = wanted.source == wanted.target or (wanted.source, wanted.target) == ("timestamp_ntz", "timestamp")
    return not same and wanted.target not in ("string", "binary")


def _kept(value: "Column", given: "Column", wanted: FittedColumn, timestamp_format: str | None) -> "Column":
    """The text to keep in `_raw` where the value does not represent all of what was given; null elsewhere.

    Args:
        value: what `_value` made of it.
        given: what was given.
        wanted: the column.
        timestamp_format: pattern of the times in text.
    """
    from pyspark.sql import functions as F

    if wanted.source == NANOSECONDS:
        fraction = F.lpad(F.pmod(given, F.lit(1_000_000_000)).cast("string"), 9, "0")
        text = F.concat(F.date_format(value, "yyyy-MM-dd HH:mm:ss"), F.lit("."), fraction)
        return F.when(F.pmod(given, F.lit(1000)) != 0, text)
    missed = value.isNull() & given.isNotNull()
    if wanted.source == "string":
        missed = missed & (F.trim(given, F.lit(SPACES)) != "")
        if wanted.target in ("timestamp", "timestamp_ntz"):
            is_long = F.lit(True) if timestamp_format else F.length(given) > _LONGEST_WITH_MICROS
            missed = missed | (is_long & given.rlike(_FINER_THAN_MICROS))
    return F.when(missed, json_of(given) if is_nested(wanted.source) else given.cast("string"))


def _value(given: "Column", wanted: FittedColumn, timestamp_format: str | None) -> "Column":
    """The given value as the column's type; null where it does not fit.

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
            if one == "string" and is_numeric(other):
                return value_of_text(part, other)
            return _value(part, FittedColumn(wanted.name, one, other), timestamp_format)

        return nested_value(given, source, target, leaf)
    if not _can_miss(wanted):
        return given.cast(target)
    if source == "string":
        if wanted.parsed and DataType.parse(target).element is not None:
            return F.col(quoted(wanted.parsed))
        if is_numeric(target):
            return F.col(quoted(wanted.parsed)) if wanted.parsed else _numbers(given, target)
        value = _read(given, wanted, timestamp_format)
        return F.coalesce(F.col(quoted(wanted.parsed)), value) if wanted.parsed else value
    if is_numeric(source) and is_numeric(target):
        return converted(given, source, target)
    value = given.try_cast(target)
    return F.when(value.try_cast(source).eqNullSafe(given), value)


def value_of_text(text: "Column", kind: str) -> "Column":
    """Parse the text of a part of a nested value as a type; null where it does not fit.

    It is called inside Spark's `transform`, where no Python function can run.

    Raises:
        UsageError: text can't be read as this type.
    """
    wanted = FittedColumn("a part of a nested value", "string", kind)
    return written_number(text, kind) if is_numeric(kind) else _value(text, wanted, None)


def _numbers(texts: "Column", kind: str) -> "Column":
    """Parse texts as numbers on the Python workers."""
    import pyarrow as pa
    from pyspark.sql.pandas.functions import arrow_udf

    def read(some: pa.Array) -> pa.Array:
        return exact_numbers(some, kind)

    on_workers: Callable[[Column], Column] = arrow_udf(read, kind)  # type: ignore[call-overload]
    return on_workers(texts)


def _read(text: "Column", wanted: FittedColumn, timestamp_format: str | None) -> "Column":
    """Parse text as a type that is not numeric; null for a text that only Spark's lenient casts accept.

    Spark's own casts ignore surrounding white space.
    """
    from pyspark.sql import functions as F

    kind = wanted.target
    if kind in ("timestamp", "timestamp_ntz") and timestamp_format:
        return read_moment(text, timestamp_format, kind)
    if kind == "boolean":
        return text.try_cast(kind)
    if kind == "date":
        return F.when(text.rlike(_DATE), text.try_cast("date"))
    if kind == "timestamp":
        return F.when(text.rlike(_STARTS_WITH_DATE), text.try_cast("timestamp"))
    if kind == "timestamp_ntz":
        return F.when(text.rlike(_LOCAL_MOMENT), text.try_cast("timestamp_ntz"))
    raise UsageError(
        f"Column {wanted.name}: text can't be read as {kind}.",
        hint="Declare it as string, and parse it in silver, e.g. with from_json.",
    )


def text_as(text: "Column", kind: str) -> "Column":
    """Parse text as a type, as ingest does; null where it does not fit.

    Raises:
        UsageError: text can't be read as this type.
    """
    return _value(text, FittedColumn("text", "string", kind), None)
