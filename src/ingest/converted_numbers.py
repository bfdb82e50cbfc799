"""Convert numbers from one Spark type to another: the same number, or null.

As with texts (`exact_numbers`), a floating-point number matches its exact value and its shortest text: the decimal 0.1
is the double 0.1, and the double 0.1 is the float 0.1. Where both are whole numbers that differ (from 2^53 on), only
the exact value counts.
"""

from typing import TYPE_CHECKING

from asgard.common.data_type import WHOLE_BITS, DataType
from asgard.ingest.exact_numbers import FLOATING_DIGITS, SPACES

if TYPE_CHECKING:
    from pyspark.sql import Column

_SPECIAL = r"(?i)^([+-]?(inf|infinity)|nan)$"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_EXACT_WHOLE = {"double": 2.0**53, "float": 2.0**24}
"""Up to this number the type represents every whole number exactly."""


def is_numeric(kind: str) -> bool:
    """Whether a type, given by Spark's short name, is numeric."""
    return DataType.parse(kind).is_number


def converted(given: "Column", source: str, target: str) -> "Column":
    """Convert a number to the target type; null where the result would be another number.

    Args:
        given: of the type `source`.
        source: a numeric type, by Spark's short name.
        target: a numeric type.
    """
    from pyspark.sql import functions as F

    value = given.try_cast(target)
    if target in FLOATING_DIGITS:
        if source in WHOLE_BITS:
            same = _is_whole(value, given)
        elif source in FLOATING_DIGITS:  # the shortest text of a float, read as a double
            same = value.cast("string").cast("double").eqNullSafe(given) | value.cast("double").eqNullSafe(given)
        else:
            same = (value.cast("string").try_cast(source) == given) | _is_whole(value, given)
        return F.when(same, value)
    if source in FLOATING_DIGITS:
        if target in WHOLE_BITS:
            return F.when(_is_within(given, WHOLE_BITS[target]) & (value.try_cast(source) == given), value)
        by_text = given.cast("string").try_cast(target)
        whole = F.when(_is_within(given, 64), given.try_cast("bigint")).try_cast(target)
        value = F.when(F.abs(given) < _EXACT_WHOLE[source], by_text).otherwise(whole)
        return F.when(value.cast("string").try_cast(source) == given, value)
    return F.when(value.try_cast(source) == given, value)


def written_number(text: "Column", kind: str) -> "Column":
    """Parse a text as a number with Spark's own functions; null where the number does not reproduce the text's digits.

    Used for parts of nested values, where Python functions can't run. `exact_numbers` accepts more texts: those that a
    floating-point number prints with the same number of digits, although its shortest text differs (C's `%.17g`).
    """
    from pyspark.sql import functions as F

    trimmed = F.trim(text, F.lit(SPACES))
    if kind in WHOLE_BITS:
        without_zeros = F.when(trimmed.rlike(r"^[+-]?[0-9]+\.0+$"), F.substring_index(trimmed, ".", 1))
        return F.coalesce(trimmed.try_cast(kind), without_zeros.try_cast(kind))
    value = trimmed.try_cast(kind)
    written, printed = _significant(trimmed), _significant(value.cast("string"))
    same = trimmed.rlike(_NUMBER)
    if kind in FLOATING_DIGITS:
        same = (same & ((written == printed) | _rounds_to(printed, written))) | trimmed.rlike(_SPECIAL)
    else:
        same &= written == printed
    return F.when(same, value)


def _rounds_to(printed: "Column", written: "Column") -> "Column":
    """Whether Java printed more digits than the text has, and the text is the same number with fewer.

    Java before 19 does not always print the shortest digits: 6.044835170513039e+16 as 6.0448351705130392E16, and 5e-324
    as 4.9E-324 (JDK-4511638). Both arguments are as `_significant` gives them.
    """
    from pyspark.sql import functions as F

    def digits(of: "Column") -> "Column":
        return F.substring_index(of, "e", 1)

    def point(of: "Column") -> "Column":
        return F.substring_index(of, "e", -1)

    length = F.length(digits(printed))
    padded = F.rpad(digits(written), length, F.lit("0"))
    apart = F.abs(padded.try_cast("decimal(38,0)") - digits(printed).try_cast("decimal(38,0)"))
    half = F.lit(5) * F.pow(F.lit(10), length - F.length(digits(written)) - 1)
    return (F.length(digits(written)) < length) & (point(written) == point(printed)) & (apart <= half)


def _significant(text: "Column") -> "Column":
    """A number's digits without leading and trailing zeros, and the place of its point: equal for equal numbers."""
    from pyspark.sql import functions as F

    mantissa = F.regexp_replace(text, "[eE].*|[+-]", "")
    exponent = F.coalesce(F.nullif(F.regexp_extract(text, "[eE](.*)", 1), F.lit("")), F.lit("0")).try_cast("int")
    whole = F.substring_index(mantissa, ".", 1)
    digits = F.regexp_replace(mantissa, r"\.", "")
    significant = F.regexp_replace(digits, "^0+", "")
    point = F.length(whole) - F.length(digits) + F.length(significant) + exponent
    stripped = F.regexp_replace(significant, "0+$", "")
    return F.when(stripped == "", F.lit("0")).otherwise(F.concat(stripped, F.lit("e"), point.cast("string")))


def _is_whole(value: "Column", given: "Column") -> "Column":
    """Whether a floating-point number equals a whole number of 64 bits."""
    return _is_within(value, 64) & (value.try_cast("bigint") == given)


def _is_within(value: "Column", bits: int) -> "Column":
    """Whether a floating-point number is in the range of whole numbers of these bits; Spark casts 2^63 to 2^63 - 1."""
    from pyspark.sql import functions as F

    limit = 2.0 ** (bits - 1)
    as_double = value.cast("double")
    return (as_double >= F.lit(-limit)) & (as_double < F.lit(limit))
