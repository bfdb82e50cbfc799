"""Names of entities in Redis: the values of their keys as text, which any language can produce and people can read.

Whole numbers are decimal digits; texts are UTF-8; booleans are `true` and `false`; a date is in ISO form; a timestamp
is microseconds since 1970-01-01 UTC; a decimal is its digits without the point. `%` and `|` in a text are `%25` and
`%7C`. Several values are joined by `|`, in the order of the view's keys.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from asgard.common.data_type import DataType
from asgard.common.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

_WIDTHS = {"int": 32, "bigint": 64}
_CODES = {"int": "i", "bigint": "q"}
"""Type codes of `array` for whole numbers."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class EntityKey:
    """The keys of a view.

    Args:
        keys: name -> type, in the view's order.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self.keys = tuple(keys)
        self._kinds = tuple(keys.values())
        self._writers = tuple(_writer(name, kind) for name, kind in keys.items())

    def of(self, given: Mapping[str, Any]) -> str:
        """Return the name of one entity.

        Raises:
            UsageError: a key is missing, null, or has another type.
        """
        try:
            return "|".join([write(given[name]) for name, write in zip(self.keys, self._writers, strict=True)])
        except KeyError as error:
            raise UsageError(
                f"The entity lacks {error.args[0]}.", hint=f"Give a value for each of {', '.join(self.keys)}."
            ) from None

    def names(self, entities: Sequence[Mapping[str, Any]], start: str) -> list[str]:
        """The names of many entities, each after `start`; see `of`."""
        if len(self.keys) == 1:
            values = [entity.get(self.keys[0]) for entity in entities]
            if _are_plain(values, self._kinds[0]):
                return [f"{start}{value}" for value in values]
        return [start + self.of(entity) for entity in entities]

    def column(self, batch: "pa.RecordBatch") -> list[bytes]:
        """The names of a batch's entities; no key may be null."""
        parts = [_column(batch.column(name), kind) for name, kind in zip(self.keys, self._kinds, strict=True)]
        if len(parts) == 1:
            return parts[0]
        return [b"|".join(row) for row in zip(*parts, strict=True)]


def _are_plain(values: Sequence[Any], kind: str) -> bool:
    """Whether all values have the key's type and `str` gives their names; `_writer` decides the same value by value."""
    types = set(map(type, values))
    if kind in _CODES and types == {int}:
        with suppress(OverflowError):
            array(_CODES[kind], values)
            return True
    if kind == "string" and types == {str}:
        text = "".join(values)
        return text.isascii() and "%" not in text and "|" not in text
    return False


def _writer(name: str, kind: str) -> Callable[[Any], str]:
    def refuse(value: object) -> UsageError:
        return UsageError(
            f"Key {name} is {value!r}, which is not of type {kind}.", hint="Give a value of the key's type."
        )

    def whole(value: Any) -> str:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise refuse(value)
        number = int(value)
        if not -(1 << _WIDTHS[kind] - 1) <= number < 1 << _WIDTHS[kind] - 1:
            raise refuse(value)
        return str(number)

    def text(value: Any) -> str:
        if not isinstance(value, str):
            raise refuse(value)
        try:
            value.encode()
        except UnicodeEncodeError:  # half of a surrogate pair
            raise refuse(value) from None
        return value.replace("%", "%25").replace("|", "%7C") if "%" in value or "|" in value else value

    def boolean(value: Any) -> str:
        if not isinstance(value, bool):
            raise refuse(value)
        return "true" if value else "false"

    def day(value: Any) -> str:
        if not isinstance(value, date) or isinstance(value, datetime):
            raise refuse(value)
        return value.isoformat()

    def moment(value: Any) -> str:
        if not isinstance(value, datetime) or (value.tzinfo is None) != (kind == "timestamp_ntz"):
            raise refuse(value)
        since = value - (_EPOCH if value.tzinfo else _EPOCH.replace(tzinfo=None))
        return str(since // _MICROSECOND)

    def decimal(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, Decimal | int) or not Decimal(value).is_finite():
            raise refuse(value)
        sign, digits, exponent = Decimal(value).as_tuple()
        shift = scale + int(exponent)
        unscaled, rest = divmod(int("".join(map(str, digits))) * 10 ** max(shift, 0), 10 ** max(-shift, 0))
        if rest:
            raise refuse(value)
        return str(-unscaled if sign else unscaled)

    scale = DataType.parse(kind).scale or 0
    special = {
        "boolean": boolean,
        "date": day,
        "timestamp": moment,
        "timestamp_ntz": moment,
        "string": text,
        "decimal": decimal,
    }
    return special.get(DataType.parse(kind).base, whole)


def _column(column: "pa.Array", kind: str) -> list[bytes]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if DataType.parse(kind).digits:
        write = _writer("", kind)
        return [write(value).encode() for value in column.to_pylist()]
    if kind in ("timestamp", "timestamp_ntz"):
        column = column.view(pa.int64())
    texts = column.cast(pa.string())
    if kind == "string":
        texts = pc.replace_substring(pc.replace_substring(texts, "%", "%25"), "|", "%7C")
    names: list[bytes] = texts.cast(pa.binary()).to_pylist()
    return names
