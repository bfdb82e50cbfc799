"""Feast's `ValueProto` and protobuf's `Timestamp` as bytes: the few shapes of them that features need.

Wire format: https://protobuf.dev/programming-guides/encoding. Field numbers: Feast 0.67, `feast/types/Value.proto`.
A null is a `ValueProto` without a value, which is no bytes at all. Feast keeps timestamps and dates as whole seconds.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from asgard.common.data_type import DataType
from asgard.common.errors import ServiceError

if TYPE_CHECKING:
    import pyarrow as pa

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
"""Wire types."""
_NUMBERS = {
    "binary": (1, 11),
    "string": (2, 12),
    "int": (3, 13),
    "bigint": (4, 14),
    "double": (5, 15),
    "float": (6, 16),
    "boolean": (7, 17),
    "date": (8, 18),
    "timestamp": (8, 18),
    "timestamp_ntz": (8, 18),
    "decimal": (44, 45),
}
"""Fields of `ValueProto`: for one value, and for a list of them."""
_WIRES = {"binary": _BYTES, "string": _BYTES, "decimal": _BYTES, "double": _EIGHT, "float": _FOUR}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_NTZ = datetime(1970, 1, 1)
_EPOCH_DAY = date(1970, 1, 1)
_SECOND, _DAY = timedelta(seconds=1), 86_400
_MILLION = 1_000_000


def is_known(kind: str) -> bool:
    """Whether Feast has a type for it: scalars, and arrays of them."""
    return _base(_inner(kind) or kind) in _NUMBERS


@cache
def _inner(kind: str) -> str | None:
    element = DataType.parse(kind).element
    return None if element is None else str(element)


@cache
def _base(kind: str) -> str:
    return DataType.parse(kind).base


def values(column: "pa.Array", kind: str) -> list[bytes]:
    """A column's values, each as a `ValueProto`.

    Raises:
        ValueError: an array has nulls.
    """
    inner = _inner(kind)
    if inner:
        tag, content = _tag(_NUMBERS[_base(inner)][1], _BYTES), _list_writer(inner)
        lists = (None if value is None else content(value) for value in column.to_pylist())
        return [b"" if found is None else tag + _varint(len(found)) + found for found in lists]
    tag, write = _tag(_NUMBERS[_base(kind)][0], _WIRES.get(_base(kind), _VARINT)), _writer(kind)
    return [b"" if value is None else tag + write(value) for value in column.to_pylist()]


def _writer(kind: str) -> Callable[[Any], bytes]:
    """How one value follows its tag."""

    def text(value: Any) -> bytes:
        content = str(value).encode()
        return _varint(len(content)) + content

    def binary(value: bytes) -> bytes:
        return _varint(len(value)) + value

    writers: dict[str, Callable[[Any], bytes]] = {
        "binary": binary,
        "string": text,
        "decimal": text,
        "double": partial(_real, struct.Struct("<d").pack),
        "float": partial(_real, struct.Struct("<f").pack),
        "boolean": lambda value: b"\x01" if value else b"\x00",
        "date": lambda value: _varint((value - _EPOCH_DAY).days * _DAY),
        "timestamp": lambda value: _varint((value - _EPOCH) // _SECOND),
        "timestamp_ntz": lambda value: _varint((value - _EPOCH_NTZ) // _SECOND),
    }
    return writers.get(_base(kind), _varint)


def _real(pack: Callable[[float], bytes], value: float) -> bytes:
    """Equal rows are equal bytes: minus zero is written as zero, every NaN as the same one."""
    return pack(value + 0.0 if value == value else float("nan"))


def _list_writer(kind: str) -> Callable[[Sequence[Any]], bytes]:
    """The message of a list: numbers one after the other behind their length, texts one by one."""
    write = _writer(kind)

    def whole(given: Sequence[Any]) -> Sequence[Any]:
        if any(value is None for value in given):
            raise ValueError("an array of it has nulls")
        return given

    def texts(given: Sequence[Any]) -> bytes:
        return b"".join(_tag(1, _BYTES) + write(value) for value in whole(given))

    def numbers(given: Sequence[Any]) -> bytes:
        content = b"".join(map(write, whole(given)))
        return _tag(1, _BYTES) + _varint(len(content)) + content if content else b""

    return texts if _WIRES.get(_base(kind)) == _BYTES else numbers


def timestamp(micros: int) -> bytes:
    """A `Timestamp`, from microseconds since 1970."""
    seconds, rest = divmod(micros, _MILLION)
    first = _tag(1, _VARINT) + _varint(seconds) if seconds else b""
    return first + (_tag(2, _VARINT) + _varint(rest * 1_000) if rest else b"")


def moment(content: bytes) -> int:
    """Microseconds since 1970, from a `Timestamp`.

    Raises:
        ServiceError: it is none.
    """
    found = {1: 0, 2: 0}
    for number, given in _fields(content):
        if number in found and isinstance(given, int):
            found[number] = given
    return found[1] * _MILLION + found[2] // 1_000


def value(content: bytes, kind: str) -> Any:
    """The value of a `ValueProto`; None for a null.

    Raises:
        ServiceError: it is of another type, or no `ValueProto`.
    """
    inner = _inner(kind)
    number = _NUMBERS[_base(inner or kind)][1 if inner else 0]
    found = None
    for each, given in _fields(content):
        if each != number or (inner and not isinstance(given, bytes)):
            raise _unreadable(f"field {each} is set, for {kind} it is {number}")
        found = _list(given, inner) if inner and isinstance(given, bytes) else _read(given, kind)
    return found


def _list(content: bytes, kind: str) -> list[Any]:
    wire, found = _WIRES.get(_base(kind), _VARINT), []
    for _, given in _fields(content):
        if wire == _BYTES or not isinstance(given, bytes):
            found.append(_read(given, kind))
        elif wire == _VARINT:
            at = 0
            while at < len(given):
                number, at = _take_varint(given, at)
                found.append(_read(number, kind))
        else:
            size = 8 if wire == _EIGHT else 4
            found += [_read(given[at : at + size], kind) for at in range(0, len(given), size)]
    return found


def _read(given: int | bytes, kind: str) -> Any:
    if isinstance(given, int) != (_WIRES.get(_base(kind), _VARINT) == _VARINT):
        raise _unreadable(f"{given!r} is no {kind}")
    try:
        return _reader(_base(kind))(given)
    except (struct.error, ValueError, TypeError, OverflowError, InvalidOperation) as error:
        raise _unreadable(f"{given!r} is no {kind}") from error


def _reader(kind: str) -> Callable[[Any], Any]:
    return {
        "binary": bytes,
        "string": lambda given: given.decode(),
        "decimal": lambda given: Decimal(given.decode()),
        "double": lambda given: struct.unpack("<d", given)[0],
        "float": lambda given: struct.unpack("<f", given)[0],
        "boolean": bool,
        "date": lambda given: _EPOCH_DAY + timedelta(days=given // _DAY),
        "timestamp": lambda given: _EPOCH + timedelta(seconds=given),
        "timestamp_ntz": lambda given: _EPOCH_NTZ + timedelta(seconds=given),
    }.get(kind, int)


def _tag(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _varint(number: int) -> bytes:
    """Seven bits in each byte, the lowest first; negative numbers as their 64 bits."""
    rest = number & 0xFFFF_FFFF_FFFF_FFFF
    if rest < 0x80:
        return bytes((rest,))
    found = bytearray()
    while rest >= 0x80:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    found.append(rest)
    return bytes(found)


def _take_varint(content: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while True:
        if at >= len(content) or shift > 63:
            raise _unreadable("it ends too early")
        byte, at = content[at], at + 1
        found |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            found &= 0xFFFF_FFFF_FFFF_FFFF
            return found - (1 << 64) if found >> 63 else found, at


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Each field's number, and its content: an integer, or bytes."""
    at = 0
    while at < len(content):
        tag, at = _take_varint(content, at)
        wire = tag & 7
        if wire == _VARINT:
            number, at = _take_varint(content, at)
            yield tag >> 3, number
            continue
        if wire == _BYTES:
            size, at = _take_varint(content, at)
        elif wire in (_EIGHT, _FOUR):
            size = 8 if wire == _EIGHT else 4
        else:
            raise _unreadable(f"wire type {wire}")
        if size < 0 or at + size > len(content):
            raise _unreadable("it ends too early")
        yield tag >> 3, content[at : at + size]
        at += size


def _unreadable(why: str) -> ServiceError:
    return ServiceError(
        f"A value in Redis is not what Feast writes: {why}.",
        hint="Something else wrote it: `asgard online-sync --view V --full` writes what differs anew.",
    )
