"""The `packed` codec, version 1: one entity's row of a view in one compact value, which any language can read.

All numbers are little-endian. `docs/online.md` describes the layout to the byte:

```
u8      version, 1
i64     event timestamp, microseconds since 1970-01-01 UTC
bitmap  one bit for each feature in order, the lowest bit of a byte first; a set bit means null
...     each feature of a fixed width, in order; a null is zeros
...     each feature of a variable width, in order: u32 length in bytes, then the bytes; a null has length 0
```

Equal rows have equal bytes: minus zero is written as zero, and every NaN as the same NaN.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from functools import cache, cached_property, partial, reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from asgard.common.data_type import DataType
from asgard.common.errors import ServiceError
from asgard.serving.codecs.base import Columns

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

VERSION = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_NTZ = datetime(1970, 1, 1)
_EPOCH_DAY = date(1970, 1, 1)
_BITMAP_AT = 9
"""Bytes before the bitmap: version and event timestamp."""
_LONG_DECIMAL = 18
"""Most decimal digits that fit in 64 bits."""
_EXACT = Context(prec=40)
"""Used instead of the thread's own context, which may round: 128 bits have at most 39 digits."""


@dataclass(frozen=True)
class _Fixed:
    """A type of fixed width: how `struct` and numpy read it, and how to convert it to a Python value."""

    code: str
    numpy: str
    size: int
    value: Callable[[Any], Any] | None = None


@cache
def _fixed(kind: DataType) -> _Fixed | None:
    """Return the fixed layout of a type; None for a type of variable width."""
    if kind.digits:
        precision, scale = kind.digits
        bound = 10**precision
        if precision <= _LONG_DECIMAL:
            return _Fixed("q", "<i8", 8, lambda found: _decimal(found, bound, scale))
        return _Fixed(
            "16s", "V16", 16, lambda found: _decimal(int.from_bytes(found, "little", signed=True), bound, scale)
        )
    return {
        "boolean": _Fixed("?", "u1", 1),
        "int": _Fixed("i", "<i4", 4),
        "bigint": _Fixed("q", "<i8", 8),
        "float": _Fixed("f", "<f4", 4),
        "double": _Fixed("d", "<f8", 8),
        "date": _Fixed("i", "<i4", 4, lambda found: _EPOCH_DAY + timedelta(days=found)),
        "timestamp": _Fixed("q", "<i8", 8, lambda found: _EPOCH + timedelta(microseconds=found)),
        "timestamp_ntz": _Fixed("q", "<i8", 8, lambda found: _EPOCH_NTZ + timedelta(microseconds=found)),
    }.get(kind.base)


def _decimal(unscaled: int, bound: int, scale: int) -> Decimal:
    if not -bound < unscaled < bound:
        raise _unreadable("a decimal has too many digits")
    return _EXACT.scaleb(Decimal(unscaled), -scale)


class Packed:
    """The layout of one view's rows.

    Args:
        features: name -> type, in the view's order.
    """

    def __init__(self, features: Mapping[str, str]) -> None:
        self.names = tuple(features)
        self._kinds = tuple(map(DataType.parse, features.values()))
        columns = [(place, kind, _fixed(kind)) for place, kind in enumerate(self._kinds)]
        self._fixed = [(place, fixed) for place, _, fixed in columns if fixed is not None]
        self._variable = [(place, kind) for place, kind, fixed in columns if fixed is None]
        self._readers = [(place, _reader(kind)) for place, kind in self._variable]
        self._bitmap = (len(self._kinds) + 7) // 8
        codes = "".join(fixed.code for _, fixed in self._fixed)
        self._head = struct.Struct(f"<xq{self._bitmap}x{codes}")
        self._values = [(place, fixed.value) for place, fixed in self._fixed if fixed.value is not None]
        nulls = bytes([VERSION]).ljust(_BITMAP_AT, b"\0") + b"\xff" * self._bitmap
        self._blank = nulls.ljust(self._head.size, b"\0") + bytes(4 * len(self._variable))

    @cached_property
    def _row(self) -> "np.dtype[Any]":
        import numpy as np

        bitmap = [("bitmap", "u1", (self._bitmap,))] if self._bitmap else []
        fixed = [(f"f{place}", fixed.numpy) for place, fixed in self._fixed]
        return np.dtype([("version", "u1"), ("event", "<i8"), *bitmap, *fixed])

    def encode(self, batch: "pa.RecordBatch", events: "np.ndarray[Any, Any]") -> list[bytes]:
        """Encode a batch's rows.

        Args:
            batch: rows with the features' columns, in their declared types.
            events: int64, event timestamps in microseconds since 1970.
        """
        import numpy as np

        rows = np.zeros(batch.num_rows, dtype=self._row)
        rows["version"], rows["event"] = VERSION, events
        columns = [batch.column(name) for name in self.names]
        for place, column in enumerate(columns):
            if column.null_count:
                rows["bitmap"][:, place // 8] |= (_nulls(column) << (place % 8)).astype(np.uint8)
        for place, fixed in self._fixed:
            rows[f"f{place}"] = _numbers(columns[place], self._kinds[place], fixed)
        content, size = rows.tobytes(), self._row.itemsize
        heads = [content[at : at + size] for at in range(0, len(content), size)]
        if not self._variable:
            return heads
        tails = [_tails(columns[place], kind) for place, kind in self._variable]
        return [b"".join(parts) for parts in zip(heads, *tails, strict=True)]

    def decode(self, values: Sequence[bytes | None]) -> Columns:
        """Decode event timestamps and feature values, by column; None for a null, and where there is no row.

        Raises:
            ServiceError: a value is not in this layout, or has a date that Python can't represent (after year 9999).
        """
        if not values:
            return Columns((), [() for _ in self.names])
        try:
            return self._decoded(values)
        except (struct.error, IndexError, UnicodeDecodeError, OverflowError) as error:
            raise _unreadable(str(error)) from error

    def _decoded(self, values: Sequence[bytes | None]) -> Columns:
        size, count = self._head.size, len(values)
        given = [self._blank if value is None else value for value in values]
        heads = [value[:size] for value in given] if self._variable else given
        if list(map(len, heads)).count(size) != count:
            raise _unreadable(f"its length is not {size} bytes")
        content = b"".join(heads)
        if content[::size].count(VERSION) != count:
            raise _unreadable(f"its version is {next(each for each in content[::size] if each != VERSION)}")
        events, *fixed = zip(*self._head.iter_unpack(content), strict=True)
        columns: list[Sequence[Any]] = [*fixed]
        if self._variable:
            tails = zip(*map(self._tails, given), strict=True)
            for (place, read), contents in zip(self._readers, tails, strict=True):
                columns.insert(place, [None if x is None else read(x) for x in contents])
        bitmap = slice(_BITMAP_AT, _BITMAP_AT + self._bitmap)
        if any(content[at::size].count(0) != count for at in range(bitmap.start, bitmap.stop)):
            nulls = [int.from_bytes(head[bitmap], "little") for head in heads]
            some = reduce(or_, nulls)
            for place, column in enumerate(columns):
                if some >> place & 1:
                    columns[place] = [None if null >> place & 1 else x for x, null in zip(column, nulls, strict=True)]
            events = tuple(None if value is None else event for value, event in zip(values, events, strict=True))
        for place, convert in self._values:
            columns[place] = [None if x is None else convert(x) for x in columns[place]]
        return Columns(events, columns)

    def _tails(self, value: bytes) -> list[bytes | None]:
        """Split off the features of variable width, without decoding them."""
        contents: list[bytes | None] = []
        at = self._head.size
        for place, _ in self._variable:
            content, at = _take(value, at)
            contents.append(None if value[_BITMAP_AT + place // 8] >> (place % 8) & 1 else content)
        if at != len(value):
            raise _unreadable(f"{len(value) - at} bytes are left over")
        return contents


def _unreadable(why: str) -> ServiceError:
    return ServiceError(
        f"A value in Redis is not in its view's layout: {why}.",
        hint="Another program wrote it: `asgard online-sync --view V --full` rewrites the view.",
    )


def _nulls(column: "pa.Array") -> "np.ndarray[Any, Any]":
    mask: np.ndarray[Any, Any] = column.is_null().to_numpy(zero_copy_only=False)
    return mask


def _numbers(column: "pa.Array", kind: DataType, fixed: _Fixed) -> "np.ndarray[Any, Any]":
    """A column's values in the format in which they are written; nulls as zeros."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind.digits:
        stored = np.frombuffer(column.buffers()[1], dtype=np.uint8)[
            column.offset * 16 : (column.offset + len(column)) * 16
        ]
        unscaled = stored.reshape(-1, 16).copy()
        if column.null_count:
            unscaled[_nulls(column)] = 0
        return unscaled.view("V16").ravel() if fixed.size > 8 else unscaled[:, :8].copy().view("<i8").ravel()
    if kind.base == "boolean":
        column = column.cast(pa.uint8())
    elif kind.base in ("timestamp", "timestamp_ntz"):
        column = column.view(pa.int64())
    elif kind.base == "date":
        column = column.view(pa.int32())
    numbers: np.ndarray[Any, Any] = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    if kind.is_floating:
        numbers = numbers + numbers.dtype.type(0)
        numbers[np.isnan(numbers)] = np.nan
    return numbers


def _tails(column: "pa.Array", kind: DataType) -> list[bytes]:
    """Length and bytes of each value of a column."""
    pack = struct.Struct("<I").pack
    contents = (b"" if value is None else to_bytes(value, kind) for value in column.to_pylist())
    return [pack(len(content)) + content for content in contents]


def to_bytes(value: Any, kind: DataType) -> bytes:
    """Encode one value that is not null, without its length."""
    if kind.element is not None:
        return _array_bytes(value, kind.element)
    return bytes(value) if kind.base == "binary" else str(value).encode()


def _array_bytes(values: Sequence[Any], kind: DataType) -> bytes:
    """Encode an array: the number of elements, a bitmap of the nulls, and each element as it is written in a row."""
    import numpy as np
    import pyarrow as pa

    parts, fixed = [struct.pack("<I", len(values)), _bitmap_of(values)], _fixed(kind)
    if fixed:
        numbers = _numbers(pa.array(values, kind.to_arrow()), kind, fixed)
        return b"".join((*parts, np.asarray(numbers).astype(fixed.numpy).tobytes()))
    contents = [to_bytes(item, kind) for item in values if item is not None]
    return b"".join((*parts, *(struct.pack("<I", len(content)) + content for content in contents)))


def _bitmap_of(values: Sequence[Any]) -> bytes:
    bitmap = bytearray((len(values) + 7) // 8)
    for place, value in enumerate(values):
        if value is None:
            bitmap[place // 8] |= 1 << (place % 8)
    return bytes(bitmap)


def _take(value: bytes, at: int) -> tuple[bytes, int]:
    """Read bytes that follow their length; returns them and the position after them."""
    try:
        (length,) = struct.unpack_from("<I", value, at)
    except struct.error as error:
        raise _unreadable("it ends too early") from error
    end = at + 4 + length
    if end > len(value):
        raise _unreadable("it ends too early")
    return value[at + 4 : end], end


def _reader(kind: DataType) -> Callable[[bytes], Any]:
    """Return the function that reads values of a type of variable width."""
    if kind.element is not None:
        return partial(_array, kind=kind.element)
    return bytes if kind.base == "binary" else bytes.decode


def _array(content: bytes, kind: DataType) -> list[Any]:
    (count,) = struct.unpack_from("<I", content)
    bitmap, at = content[4:], 4 + (count + 7) // 8
    fixed, values = _fixed(kind), []
    read = bytes if fixed else _reader(kind)
    for place in range(count):
        null = bitmap[place // 8] >> (place % 8) & 1
        if fixed:
            value = None if null else struct.unpack_from(f"<{fixed.code}", content, at)[0]
            at += fixed.size
            values.append(fixed.value(value) if fixed.value and value is not None else value)
        elif null:
            values.append(None)
        else:
            inner, at = _take(content, at)
            values.append(read(inner))
    if at != len(content):
        raise _unreadable("the length of an array is not that of its elements")
    return values
