"""Parse texts as numbers, in bulk and without Spark: the exact number, or null where the type can't represent it.

Leading and trailing zeros, a plus sign, an exponent and surrounding white space do not change a number. A text is
exactly a floating-point number if that number, printed with as many digits, equals the text: `0.1`,
`0.10000000000000001` (C's `%.17g`), `9007199254740992`. So a double can represent any number of up to 15 digits within
its range, but neither `9007199254740993` nor `0.100000000000000001`.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from asgard.common.data_type import WHOLE_BITS, DataType

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

FLOATING_DIGITS: Mapping[str, int] = {"double": 15, "float": 6}
"""Spark's floating-point numbers, and how many digits of a decimal number always survive in them (IEEE 754)."""

SPACES = " \t\r\n\f\v"
_SURE_DIGITS = {8: 2, 16: 4, 32: 9, 64: 18}
"""Number of digits that always fit into a whole number of this many bits."""
_PLAIN_WHOLE = "^-?[0-9]{1,18}$"
_PLAIN_DECIMAL = r"^-?[0-9]{1,19}(\.[0-9]{1,19})?$"
"""At most 38 digits: of longer numbers, Arrow silently keeps the lower 128 bits."""
_PLAIN_FLOATING = r"^-?[0-9]{1,300}(\.[0-9]{1,300})?$"
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"([+-]?)0*([0-9]*)(?:\.0+)?")
_SPECIAL = re.compile(r"(?i)[+-]?inf(?:inity)?|nan")
_LONGEST_EXPONENT = 9
"""Digits of an exponent that Python's decimals always accept."""


def number_type(kind: str) -> "pa.DataType | None":
    """The Arrow type of a numeric column, by Spark's short name; None for any other column."""
    found = DataType.parse(kind)
    return found.to_arrow() if found.is_number else None


def exact_numbers(texts: "pa.Array", kind: str) -> "pa.Array":
    """Parse texts as numbers of a type.

    Args:
        texts: strings.
        kind: a numeric type, by Spark's short name.

    Returns:
        An array of `number_type(kind)`; null for null, and for a text that is not a number or that the type can't
        represent exactly.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    arrow = number_type(kind)
    if kind in FLOATING_DIGITS:
        is_plain = pc.match_substring_regex(texts, _PLAIN_FLOATING)
        is_plain = pc.and_(is_plain, _is_given_back(texts, is_plain, kind))
    else:
        is_plain = pc.match_substring_regex(texts, _PLAIN_WHOLE if kind in WHOLE_BITS else _PLAIN_DECIMAL)
    is_plain = pc.fill_null(is_plain, True)
    nothing = pa.scalar(None, pa.string())
    try:
        if pc.all(is_plain).as_py() is not False:
            return texts.cast(arrow)
        plain = pc.if_else(is_plain, texts, nothing).cast(arrow)
        rest = pc.if_else(is_plain, nothing, texts)
    except pa.ArrowInvalid:  # one is too large, or has more digits than the type
        fits = pc.fill_null(pc.match_substring_regex(texts, _surely_fits(kind)), True)
        plain = pc.if_else(fits, texts, nothing).cast(arrow)
        rest = pc.if_else(fits, nothing, texts)
    each = rest.dictionary_encode()
    read = _reader(kind)
    values = pa.array([None if text is None else read(text) for text in each.dictionary.to_pylist()], arrow)
    return pc.coalesce(plain, values.take(each.indices))


def _surely_fits(kind: str) -> str:
    """A pattern of plain numbers that fit a type, whatever their digits are."""
    if kind in FLOATING_DIGITS:
        return _PLAIN_FLOATING
    if kind in WHOLE_BITS:
        return rf"^-?[0-9]{{1,{_SURE_DIGITS[WHOLE_BITS[kind]]}}}$"
    precision, scale = _precision_and_scale(kind)
    whole = f"[0-9]{{1,{precision - scale}}}" if precision > scale else "0"
    return rf"^-?{whole}(\.[0-9]{{1,{scale}}})?$" if scale else f"^-?{whole}$"


def exact_number(text: str, kind: str) -> Any:
    """Parse one text as `exact_numbers` does, to a Python number or None."""
    return _reader(kind)(text)


def _is_given_back(texts: "pa.Array", is_plain: "pa.Array", kind: str) -> "pa.Array":
    """Which plain numbers are short, or are printed unchanged by the floating-point type."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_short = pc.less_equal(pc.utf8_length(texts), FLOATING_DIGITS[kind])
    if pc.all(is_short).as_py() is not False:
        return is_short
    long = pc.if_else(pc.and_not(is_plain, is_short), texts, pa.scalar(None, pa.string()))
    printed = long.cast(number_type(kind)).cast(pa.string())
    return pc.or_(is_short, pc.fill_null(pc.equal(printed, long), False))


def _reader(kind: str) -> Callable[[str], Any]:
    if kind in WHOLE_BITS:
        return partial(_whole, bits=WHOLE_BITS[kind])
    if kind in FLOATING_DIGITS:
        return _double if kind == "double" else _float
    precision, scale = _precision_and_scale(kind)
    return partial(_decimal, precision=precision, scale=scale)


def _precision_and_scale(kind: str) -> tuple[int, int]:
    digits = DataType.parse(kind).digits
    if digits is None:
        raise ValueError(f"{kind} is not a numeric type")
    return digits


def _whole(text: str, bits: int) -> int | None:
    """Parse a whole number; 12.0 is 12, as pandas writes whole numbers in a column with missing values."""
    match = _WHOLE.fullmatch(text.strip(SPACES))
    if match is None or len(match[2]) > bits or not re.search("[0-9]", text.partition(".")[0]):
        return None
    value = int(f"{match[1]}{match[2] or 0}")
    return value if -(1 << bits - 1) <= value < 1 << bits - 1 else None


def _decimal(text: str, precision: int, scale: int) -> Decimal | None:
    number = _as_decimal(text)
    if number is None:
        return None
    sign, digits, exponent = number.as_tuple()
    significant = "".join(map(str, digits)).lstrip("0")
    shifted = significant.rstrip("0")
    if not shifted:
        return Decimal((0, (0,), -scale))
    lowest = int(exponent) + len(significant) - len(shifted)  # power of ten of the last digit
    if lowest < -scale or len(shifted) + lowest > precision - scale:
        return None
    return Decimal((sign, tuple(map(int, shifted + "0" * (lowest + scale))), -scale))


def _double(text: str) -> float | None:
    stripped = text.strip(SPACES)
    if _SPECIAL.fullmatch(stripped):
        return float(stripped)
    if not _NUMBER.fullmatch(stripped):
        return None
    value = float(stripped)
    return value if _says(stripped, value, repr(value)) else None


def _float(text: str) -> "np.float32 | None":
    import numpy as np

    stripped = text.strip(SPACES)
    special = _SPECIAL.fullmatch(stripped)
    if not special and not _NUMBER.fullmatch(stripped):
        return None
    with np.errstate(over="ignore"):
        value = np.float32(float(stripped))
    return value if special or _says(stripped, float(value), str(value)) else None


def _says(text: str, value: float, shortest: str) -> bool:
    """Whether a text is exactly a floating-point number: printed with as many digits, the number equals the text."""
    if value in (float("inf"), float("-inf")):
        return False
    if value == 0:
        return not re.search("[1-9]", re.split("[eE]", text)[0])  # else it is too small for the type
    number = _as_decimal(text)
    if number is None:
        return False
    printed = Decimal(f"{value:.{len(number.as_tuple().digits) - 1}e}")
    return number in (Decimal(shortest), Decimal(value), printed)


def _as_decimal(text: str) -> Decimal | None:
    stripped = text.strip(SPACES)
    if not _NUMBER.fullmatch(stripped):
        return None
    mantissa, _, exponent = stripped.lower().partition("e")
    if len(exponent.lstrip("+-0")) > _LONGEST_EXPONENT:
        return None if re.search("[1-9]", mantissa) else Decimal(0)
    return Decimal(stripped)
