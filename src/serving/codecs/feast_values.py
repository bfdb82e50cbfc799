"""Feast's `ValueProto` and protobuf's `Timestamp` as bytes, by their generated classes.

A null is a `ValueProto` without a value: zero bytes. Feast stores timestamps and dates as whole seconds.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from asgard.common.data_type import DataType
from asgard.common.errors import ServiceError

if TYPE_CHECKING:
    import pyarrow as pa

_FIELDS = {
    "binary": "bytes",
    "string": "string",
    "int": "int32",
    "bigint": "int64",
    "double": "double",
    "float": "float",
    "boolean": "bool",
    "date": "unix_timestamp",
    "timestamp": "unix_timestamp",
    "timestamp_ntz": "unix_timestamp",
    "decimal": "decimal",
}
"""Names of a type's fields in a `ValueProto`: `<name>_val`, and for an array `<name>_list_val`."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_NTZ = datetime(1970, 1, 1)
_EPOCH_DAY = date(1970, 1, 1)
_SECOND, _DAY = timedelta(seconds=1), 86_400
_MILLION = 1_000_000


def _same(value: Any) -> Any:
    return value


def _real(value: float) -> float:
    """Normalize a float so that equal rows have equal bytes: minus zero becomes zero, every NaN the same NaN."""
    return value + 0.0 if value == value else float("nan")


_WRITERS: Mapping[str, Callable[[Any], Any]] = {
    "decimal": str,
    "double": _real,
    "float": _real,
    "date": lambda value: (value - _EPOCH_DAY).days * _DAY,
    "timestamp": lambda value: (value - _EPOCH) // _SECOND,
    "timestamp_ntz": lambda value: (value - _EPOCH_NTZ) // _SECOND,
}
"""Conversions of values to the content of a field, for types that need one."""
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "decimal": Decimal,
    "date": lambda given: _EPOCH_DAY + timedelta(days=given // _DAY),
    "timestamp": lambda given: _EPOCH + timedelta(seconds=given),
    "timestamp_ntz": lambda given: _EPOCH_NTZ + timedelta(seconds=given),
}
"""Conversions of a field's content to values, for types that need one."""
_MODULE = "feast.protos.feast.types.Value_pb2"


def _value_class() -> Any:
    """Return Feast's class from its module alone: importing all of Feast takes seconds.

    Raises:
        ModuleNotFoundError: Feast is not installed.
    """
    module = sys.modules.get(_MODULE)
    if module is None or not hasattr(module, "Value"):  # without `Value`, another thread is importing it right now
        feast = find_spec("feast")
        folders = (feast.submodule_search_locations or []) if feast else []
        path = next((Path(folder, *_MODULE.split(".")[1:]).with_suffix(".py") for folder in folders), None)
        spec = spec_from_file_location(_MODULE, path) if path is not None and path.is_file() else None
        if spec is None or spec.loader is None:
            raise ModuleNotFoundError("No module named 'feast'", name="feast")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)  # registers the class only once, even if Feast is imported later
    return module.Value


_Value = _value_class()


def is_known(kind: str) -> bool:
    """Whether Feast has a type for this scalar, or array of scalars."""
    found = DataType.parse(kind)
    return (found.element or found).base in _FIELDS


@dataclass(frozen=True)
class _Shape:
    """How a type is stored: the field, whether it is a list, and the conversions."""

    field: str
    is_list: bool
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


@cache
def _shape(kind: str) -> _Shape:
    found = DataType.parse(kind)
    base, is_list = (found.element or found).base, found.element is not None
    name = f"{_FIELDS[base]}_list_val" if is_list else f"{_FIELDS[base]}_val"
    return _Shape(name, is_list, _WRITERS.get(base, _same), _READERS.get(base, _same))


def values(column: "pa.Array", kind: str) -> list[bytes]:
    """Serialize a column's values, each as a `ValueProto`.

    Raises:
        ValueError: an array has nulls.
    """
    shape = _shape(kind)
    given = column.to_pylist()
    if shape.is_list:
        return [b"" if value is None else _list(shape, value) for value in given]
    # One message for all values: a new one for each takes four times as long.
    message, field, write = _Value(), shape.field, shape.write
    found = []
    for value in given:
        if value is None:
            found.append(b"")
        else:
            setattr(message, field, write(value))
            found.append(message.SerializeToString())
    return found


def _list(shape: _Shape, given: Sequence[Any]) -> bytes:
    if any(value is None for value in given):
        raise ValueError("one of its arrays has nulls")
    message = _Value()
    content = getattr(message, shape.field)
    content.SetInParent()  # an empty list is not a null
    content.val.extend(map(shape.write, given))
    return bytes(message.SerializeToString())


def timestamps(moments: Sequence[int]) -> list[bytes]:
    """Serialize moments, in microseconds since 1970, each as a `Timestamp`."""
    message = Timestamp()
    found = []
    for micros in moments:
        message.seconds, rest = divmod(micros, _MILLION)
        message.nanos = rest * 1_000
        found.append(message.SerializeToString())
    return found


def moment(content: bytes) -> int:
    """Parse a `Timestamp` into microseconds since 1970.

    Raises:
        ServiceError: the content is not a `Timestamp`.
    """
    try:
        found = Timestamp.FromString(content)
    except DecodeError as error:
        raise _unreadable(f"{content!r} is not a Timestamp") from error
    return int(found.seconds * _MILLION + found.nanos // 1_000)


def value(content: bytes, kind: str) -> Any:
    """Parse the value of a `ValueProto`; None for a null.

    Raises:
        ServiceError: the value has another type, or the content is not a `ValueProto`.
    """
    if not content:
        return None
    try:
        message = _Value.FromString(content)
    except DecodeError as error:
        raise _unreadable(f"{content!r} is not a ValueProto") from error
    shape, found = _shape(kind), message.WhichOneof("val")
    if found != shape.field:
        raise _unreadable(f"{found or 'no known field'} is set, but {kind} needs {shape.field}")
    given = getattr(message, shape.field)
    try:
        return list(map(shape.read, given.val)) if shape.is_list else shape.read(given)
    except (ValueError, OverflowError, InvalidOperation) as error:
        raise _unreadable(f"{content!r} is not of type {kind}") from error


def _unreadable(why: str) -> ServiceError:
    return ServiceError(
        f"A value in Redis is not in Feast's format: {why}.",
        hint="Another program wrote it: `asgard online-sync --view V --full` rewrites the values that differ.",
    )
