"""Structs, arrays and maps with types of their own: how a column's type grows with new files, and what fits it.

Fields are matched by name, as in `asgard.lakehouse.declaring.alignment`. A nested value lands with all of its parts
unchanged; otherwise it is null and its JSON is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import TYPE_CHECKING

from asgard.common.data_type import DataType as TypeName
from asgard.common.errors import ContractError
from asgard.ingest.files import printable
from asgard.lakehouse.declaring.alignment import aligned, fields_by_name, has_parts, is_same
from asgard.lakehouse.declaring.schema_changes import type_sql, widens

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql.types import DataType, StructType

VOID = "void"
"""The type of a column that contains only nulls and has no other type."""

_JSON = {
    "ignoreNullFields": "false",
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
}
_TIMES = frozenset({"date", "timestamp", "timestamp_ntz"})

ReadLeaf = Callable[["Column", str, str], "Column"]
"""Converts a single value, to null where it does not fit. Arguments: the value, its type, the wanted type."""


def is_nested(kind: str) -> bool:
    """Whether a type, by Spark's short name, has parts."""
    return TypeName.parse(kind).is_nested


@lru_cache(maxsize=1000)
def data_type(kind: str) -> "DataType":
    """The Spark type for a short name."""
    from pyspark.sql.types import DataType

    return DataType.fromDDL(kind)


@dataclass(frozen=True)
class Growth:
    """How the type of a table's column may grow with one file.

    Attributes:
        table, file: for messages.
        fixed: whether single values keep the type that they have.
        frozen: whether fields may not be added.
        allow_missing: whether the file may lack fields.
    """

    table: str
    file: str
    fixed: bool
    frozen: bool
    allow_missing: bool

    def grown(self, column: str, old: str | None, new: str) -> str | None:
        """The column's type including the file's; None while no file determines one.

        Raises:
            ContractError: the file lacks a field, has a new one where none may be added, or has another kind of value.
        """
        if new == VOID or old == new:
            return old
        if old is None:
            return new
        if is_nested(old) or is_nested(new):
            return type_sql(self._type((column,), data_type(old), data_type(new)))
        return new if not self.fixed and widens(old, new) else old

    def _type(self, path: tuple[str, ...], old: "DataType", new: "DataType") -> "DataType":
        from pyspark.sql.types import ArrayType, MapType, NullType, StructType

        match old, new:
            case NullType(), _:
                return new
            case _, NullType():
                return old
            case StructType(), StructType():
                return self._struct(path, old, new)
            case ArrayType(), ArrayType():
                return ArrayType(self._type((*path, "element"), old.elementType, new.elementType))
            case MapType(), MapType():
                key = self._type((*path, "key"), old.keyType, new.keyType)
                if not _only_widens(new.keyType, key):  # a key that does not fit can't become null
                    raise self._refused(path, old, new)
                return MapType(key, self._type((*path, "value"), old.valueType, new.valueType))
            case _:
                one, other = old.simpleString(), new.simpleString()
                if (
                    has_parts(old)
                    or has_parts(new)
                    or ((one in _TIMES) != (other in _TIMES) and "string" not in (one, other))
                ):
                    raise self._refused(path, old, new)
                return new if not self.fixed and widens(one, other) else old

    def _struct(self, path: tuple[str, ...], old: "StructType", new: "StructType") -> "StructType":
        from pyspark.sql.types import StructField, StructType

        old_fields, new_fields = fields_by_name(old), fields_by_name(new)
        missing = [".".join((*path, field.name)) for name, field in old_fields.items() if name not in new_fields]
        added = [".".join((*path, field.name)) for name, field in new_fields.items() if name not in old_fields]
        types = f"{'.'.join(path)} is {type_sql(old)} in the table but {type_sql(new)} in the file"
        if missing and not self.allow_missing:
            raise ContractError(
                f"{printable(self.file)} lacks {', '.join(missing)} of {self.table}: {types}.",
                hint="Fields of structs are matched by name. If they may be missing, say --allow-missing: then they "
                "are null.",
            )
        if added and self.frozen:
            raise ContractError(
                f"{printable(self.file)} has {', '.join(added)}, which {self.table} lacks, and its contract is "
                f"frozen: {types}.",
                hint="Declare them, or declare contract='compatible'.",
            )
        kept = [
            StructField(
                field.name,
                self._type((*path, field.name), field.dataType, new_fields[name].dataType)
                if name in new_fields
                else field.dataType,
            )
            for name, field in old_fields.items()
        ]
        return StructType([*kept, *(field for name, field in new_fields.items() if name not in old_fields)])

    def _refused(self, path: tuple[str, ...], old: "DataType", new: "DataType") -> ContractError:
        return refused(self.table, self.file, ".".join(path), type_sql(old), type_sql(new))


def refused(table: str, file: str, column: str, old: str, new: str) -> ContractError:
    """The error for a column whose type can't be converted to the table's."""
    return ContractError(
        f"{printable(file)}: column {column} is {new} in the file but {old} in {table}, and the file's type can't be "
        "converted to the table's.",
        hint="Cast it where the file is made, or ingest it into another table.",
    )


def settled(kind: str | None) -> str:
    """The final type of a column once all files are known; a part that no file gives a type is text."""
    if kind is None or not is_nested(kind):
        return kind or "string"
    return type_sql(_settled(data_type(kind)))


def _settled(kind: "DataType") -> "DataType":
    from pyspark.sql.types import ArrayType, MapType, NullType, StringType, StructField, StructType

    match kind:
        case NullType():
            return StringType()
        case StructType():
            return StructType([StructField(field.name, _settled(field.dataType)) for field in kind.fields])
        case ArrayType():
            return ArrayType(_settled(kind.elementType))
        case MapType():
            return MapType(_settled(kind.keyType), _settled(kind.valueType))
        case _:
            return kind


def nested_value(given: "Column", source: str, target: str, leaf: ReadLeaf) -> "Column":
    """Convert a nested value to another type; null where a part of it does not fit.

    Args:
        given: the value.
        source: its type.
        target: the wanted type, as `Growth` made it.
        leaf: reads the parts that are single values.
    """
    from pyspark.sql import functions as F

    def read(part: "Column", one: "DataType", other: "DataType") -> "Column":
        return leaf(part, type_sql(one), type_sql(other))

    value = aligned(given, data_type(source), data_type(target), read)
    lost = _lost(given, data_type(source), data_type(target), leaf)
    return value if lost is None else F.when(~lost, value)


def can_lose(source: str, target: str) -> bool:
    """Whether a nested value may not fit another type."""
    return not _only_widens(data_type(source), data_type(target))


def json_of(given: "Column") -> "Column":
    """The JSON text that is kept of a nested value."""
    from pyspark.sql import functions as F

    return F.to_json(given, _JSON)


def _lost(given: "Column", source: "DataType", target: "DataType", leaf: ReadLeaf) -> "Column | None":
    """Whether a part of a value does not fit; None where every part fits. Map keys always fit."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, MapType, StructType

    if _only_widens(source, target):
        return None
    match source, target:
        case StructType(), StructType():
            wanted = fields_by_name(target)
            losses = (
                _lost(given.getField(field.name), field.dataType, wanted[name].dataType, leaf)
                for name, field in fields_by_name(source).items()
            )
            return reduce(lambda one, other: one | other, (each for each in losses if each is not None))
        case ArrayType(), ArrayType():
            return _any_lost(given, source.elementType, target.elementType, leaf)
        case MapType(), MapType():
            return _any_lost(F.map_values(given), source.valueType, target.valueType, leaf)
        case _:
            return leaf(given, type_sql(source), type_sql(target)).isNull() & given.isNotNull()


def _any_lost(parts: "Column", source: "DataType", target: "DataType", leaf: ReadLeaf) -> "Column":
    from pyspark.sql import functions as F

    def lost(part: "Column") -> "Column":
        is_lost = _lost(part, source, target, leaf)
        return F.lit(False) if is_lost is None else is_lost

    return F.coalesce(F.exists(parts, lost), F.lit(False))


def _only_widens(source: "DataType", target: "DataType") -> bool:
    """Whether every value of a type fits another type: fields are reordered or added, numbers are widened."""
    from pyspark.sql.types import ArrayType, MapType, NullType, StructType

    if is_same(source, target):
        return True
    match source, target:
        case NullType(), _:
            return True
        case StructType(), StructType():
            wanted = fields_by_name(target)
            return all(
                _only_widens(field.dataType, wanted[name].dataType) for name, field in fields_by_name(source).items()
            )
        case ArrayType(), ArrayType():
            return _only_widens(source.elementType, target.elementType)
        case MapType(), MapType():
            return _only_widens(source.keyType, target.keyType) and _only_widens(source.valueType, target.valueType)
        case _:
            return widens(source.simpleString(), target.simpleString())
