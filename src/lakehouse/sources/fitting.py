"""Read values as the types of a table's columns, keeping the text of each one that does not fit exactly.

A column holds exactly what the file said, or null; `_raw` then has the text under the column's name. One
exception: a time finer than a microsecond is cut to it, and `_raw` has it in full.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard.common.errors import UsageError
from asgard.lakehouse.schema_changes import quoted
from asgard.lakehouse.sources.own_columns import RAW

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

NANOSECONDS = "nanoseconds"
"""Not a type of Spark: a bigint that counts nanoseconds since 1970 (Parquet's TIMESTAMP(NANOS))."""

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_SPECIAL = r"(?i)^([+-]?(inf|infinity)|nan)$"
_DATE = r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}$"
_CLOCK = r"[ T][0-9]{1,2}:[0-9]{1,2}(:[0-9]{1,2}(\.[0-9]{1,9})?)?"
_ZONE = r" ?(Z|UTC|GMT|[+-][0-9]{1,2}(:?[0-9]{2})?|[A-Za-z]+/[A-Za-z_/]+)"
_MOMENT = rf"^[0-9]{{4}}-[0-9]{{1,2}}-[0-9]{{1,2}}({_CLOCK}({_ZONE})?)?$"
_LOCAL_MOMENT = rf"^[0-9]{{4}}-[0-9]{{1,2}}-[0-9]{{1,2}}({_CLOCK})?$"
_FINER_THAN_MICROS = r"\.[0-9]{6}[0-9]*[1-9]"
_SPACES = " \t\r\n\f\v"
_WHOLE_TYPES = frozenset({"tinyint", "smallint", "int", "bigint"})


@dataclass(frozen=True)
class Fitted:
    """A value in its column's type, whether that is all of it, and what the file said."""

    value: "Column"
    exact: "Column | None"
    """None: always."""
    text: "Column"


@dataclass(frozen=True)
class Wanted:
    """A column to make: from one of type `source`, as type `target`."""

    name: str
    source: str
    target: str


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

    names = {column.name for column in wanted}
    others = [F.col(quoted(name)) for name in rows.columns if name not in names]
    fits = {column.name: fit(F.col(quoted(column.name)), column, timestamp_format) for column in wanted}
    values = [found.value.alias(name) for name, found in fits.items()]
    return rows.select(*values, _raw(fits).alias(RAW), *others)


def _raw(fits: Mapping[str, Fitted]) -> "Column":
    from pyspark.sql import functions as F

    doubtful = {name: found for name, found in fits.items() if found.exact is not None}
    nothing = F.lit(None).cast("map<string,string>")
    if not doubtful:
        return nothing
    unfit = {name: ~found.exact for name, found in doubtful.items() if found.exact is not None}
    entries = F.array(
        *(
            F.when(unfit[name], F.struct(F.lit(name).alias("key"), found.text.alias("value")))
            for name, found in doubtful.items()
        )
    )
    some = F.lit(False)
    for condition in unfit.values():
        some = some | condition
    return F.when(some, F.map_from_entries(F.array_compact(entries))).otherwise(nothing)


def fit(column: "Column", wanted: Wanted, timestamp_format: str | None = None) -> Fitted:
    """One value as a column's type.

    Raises:
        UsageError: text can't be read as this type.
    """
    from pyspark.sql import functions as F

    text = column.cast("string")
    if wanted.source == NANOSECONDS:
        return _from_nanoseconds(column)
    if wanted.source == wanted.target:
        return Fitted(column, None, text)
    if wanted.target == "string":
        return Fitted(text, None, text)
    if wanted.source == "string":
        return _from_text(column, wanted, timestamp_format)
    if (wanted.source, wanted.target) == ("timestamp_ntz", "timestamp"):
        return Fitted(column.cast("timestamp"), None, text)
    value = column.try_cast(wanted.target)
    back = value.try_cast(wanted.source).eqNullSafe(column)
    if (wanted.source, wanted.target) == ("double", "float"):  # the nearest will do, as it does for text
        back = F.isnan(column) | ((F.abs(value) == float("inf")) == (F.abs(column) == float("inf")))
    return Fitted(F.when(back, value), column.isNull() | F.coalesce(back, F.lit(False)), text)


def _from_nanoseconds(column: "Column") -> Fitted:
    from pyspark.sql import functions as F

    rest = F.pmod(column, F.lit(1000))
    value = F.timestamp_micros(F.call_function("div", column - rest, F.lit(1000)))
    fraction = F.lpad(F.pmod(column, F.lit(1_000_000_000)).cast("string"), 9, "0")
    text = F.concat(F.date_format(value, "yyyy-MM-dd HH:mm:ss"), F.lit("."), fraction)
    return Fitted(value, column.isNull() | (rest == 0), text)


def _from_text(column: "Column", wanted: Wanted, timestamp_format: str | None) -> Fitted:
    """Text as a type: blank is null, and what only Spark's leniency would take does not fit."""
    from pyspark.sql import functions as F

    trimmed = F.trim(column, F.lit(_SPACES))
    value, exact = _read(trimmed, wanted, timestamp_format)
    return Fitted(value, column.isNull() | (trimmed == "") | F.coalesce(exact, F.lit(False)), column)


def _read(text: "Column", wanted: Wanted, timestamp_format: str | None) -> "tuple[Column, Column]":
    from pyspark.sql import functions as F

    kind = wanted.target
    if kind == "timestamp" and timestamp_format:
        value = F.try_to_timestamp(text, F.lit(timestamp_format))
        return value, value.isNotNull()
    if kind == "boolean":
        value = text.try_cast(kind)
        return value, value.isNotNull()
    if kind in _WHOLE_TYPES:  # 12.0 is 12: pandas writes whole numbers so where some are missing
        value = F.coalesce(text.try_cast(kind), F.regexp_replace(text, r"(?<=\d)\.0+$", "").try_cast(kind))
        return value, value.isNotNull()
    if kind.startswith("decimal("):
        return _read_decimal(text, kind)
    if kind in ("double", "float"):
        plain = text.rlike(_NUMBER)
        value = F.when(plain | text.rlike(_SPECIAL), text.try_cast(kind))
        finite = F.abs(value) < F.lit(float("inf"))
        value = F.when(~plain | finite, value)
        return value, value.isNotNull()
    if kind == "date":
        value = F.when(text.rlike(_DATE), text.try_cast("date"))
        return value, value.isNotNull()
    if kind in ("timestamp", "timestamp_ntz"):
        value = F.when(text.rlike(_MOMENT if kind == "timestamp" else _LOCAL_MOMENT), text.try_cast(kind))
        return value, value.isNotNull() & ~text.rlike(_FINER_THAN_MICROS)
    if kind == "binary":
        return text.cast("binary"), F.lit(True)
    raise UsageError(
        f"Column {wanted.name}: text can't be read as {kind}.",
        hint="Declare it as string, and take it apart in silver, e.g. with from_json.",
    )


def _read_decimal(text: "Column", kind: str) -> "tuple[Column, Column]":
    """A decimal that needs no rounding."""
    from pyspark.sql import functions as F

    scale = int(kind[len("decimal(") : -1].split(",")[1])
    value = F.when(text.rlike(_NUMBER), text.try_cast(kind))
    with_exponent = text.rlike("[eE]")
    exact = F.when(with_exponent, text.try_cast("decimal(38,18)") == value).otherwise(
        ~text.rlike(rf"\.[0-9]{{{scale}}}[0-9]*[1-9]")
    )
    value = F.when(exact, value)
    return value, value.isNotNull()
