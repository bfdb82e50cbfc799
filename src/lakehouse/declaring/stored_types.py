"""What an Iceberg table can store: the types of its columns, and their names."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from asgard.common.errors import DeclarationError
from asgard.lakehouse.declaring.declaration import PartitionField, Table

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType

_RESERVED = frozenset({
    "_file", "_pos", "_deleted", "_spec_id", "_partition", "_row_id", "_last_updated_sequence_number",
    "_change_type", "_change_ordinal", "_commit_snapshot_id",
})  # fmt: skip
"""Names of Iceberg's own columns: if a table has such a column, the table or its changes can't be read."""
_ENDS = {"bucket": "bucket", "truncate": "trunc"}
_HINTS = {
    "void": "All its values are null, so its type is unknown. Give it a type: F.lit(None).cast('string').",
    "variant": "Store it as text, by to_json, or extract the values that are needed.",
    "char": "Declare it as string, and limit the length by a check.",
    "varchar": "Declare it as string, and limit the length by a check.",
    "interval": "Store it as a number of days, months or seconds.",
    "time": "Store it as text, or as a number of microseconds.",
}


def stored_schema(table: Table, schema: "StructType") -> "StructType":
    """The schema in which rows of another schema are stored: whole numbers of at least 32 bits, no collations.

    A `void` column (all null) stays `void`: `require_storable` refuses it if the table has no column with its type.

    Raises:
        DeclarationError: a column, or a field of a struct, occurs twice.
    """
    from pyspark.sql.types import StructField, StructType

    for path, names in _names(schema, ()):
        twice = [name for name, count in Counter(name.lower() for name in names).items() if count > 1]
        if twice:
            given = [name for name in names if name.lower() in twice]
            raise DeclarationError(
                f"{table.name}: the rows have {'.'.join((*path, twice[0]))!r} more than once: {', '.join(given)}.",
                hint="Names that differ only in letter case are the same. Rename or drop one of them: after a join, "
                "by on='name', or .drop().",
            )
    fields = [StructField(field.name, stored_type(field.dataType), field.nullable) for field in schema.fields]
    return StructType(fields)


def stored_type(kind: "DataType") -> "DataType":
    """The type that a column has when it is stored."""
    from pyspark.sql.types import ArrayType, ByteType, IntegerType, MapType, ShortType, StringType, StructType
    from pyspark.sql.types import StructField as Field

    match kind:
        case ByteType() | ShortType():
            return IntegerType()
        case StringType() if kind.simpleString() != "string" and kind.typeName() == "string":
            return StringType()
        case StructType():
            return StructType([Field(one.name, stored_type(one.dataType), one.nullable) for one in kind.fields])
        case ArrayType():
            return ArrayType(stored_type(kind.elementType), kind.containsNull)
        case MapType():
            return MapType(stored_type(kind.keyType), stored_type(kind.valueType), kind.valueContainsNull)
        case _:
            return kind


def require_storable(table: Table, path: tuple[str, ...], kind: "DataType") -> None:
    """Refuse a new column, or a new field of a struct, that Iceberg can't store.

    Raises:
        DeclarationError: Iceberg reserves its name, or has no such type; the message names the column.
    """
    if len(path) == 1:
        _require_free(table, path[0])
    for where, part in _parts(kind, path):
        name = part.typeName().split("(")[0].split(" ")[0]
        if name == "struct" and not part.fieldNames():  # type: ignore[attr-defined]
            raise DeclarationError(
                f"{table.name}: {'.'.join(where)} is a struct without fields, which Parquet can't store.",
                hint="Drop the column, or give the struct a field.",
            )
        if not _is_storable(part):
            name = part.simpleString().split("(")[0].split(" ")[0]
            raise DeclarationError(
                f"{table.name}: column {'.'.join(where)} is {part.simpleString()}, a type that Iceberg tables lack.",
                hint=_HINTS.get(name, "Cast it to a type that Parquet has, e.g. string."),
            )


def _is_storable(kind: "DataType") -> bool:
    from pyspark.sql import types as T

    plain = (
        T.BooleanType, T.ByteType, T.ShortType, T.IntegerType, T.LongType, T.FloatType, T.DoubleType, T.DecimalType,
        T.StringType, T.BinaryType, T.DateType, T.TimestampType, T.TimestampNTZType,
        T.StructType, T.ArrayType, T.MapType,
    )  # fmt: skip
    return isinstance(kind, plain) and not isinstance(kind, T.CharType | T.VarcharType)


def _require_free(table: Table, name: str) -> None:
    if name.lower() in _RESERVED:
        raise DeclarationError(
            f"{table.name}: column {name} has the name of one of Iceberg's own columns.",
            hint=f"Rename it; reserved are {', '.join(sorted(_RESERVED))}.",
        )
    for field in table.partition_fields:
        if name.lower() == partition_name(field).lower() != field.column.lower():
            raise DeclarationError(
                f"{table.name}: column {name} has the name that Iceberg gives the partition field "
                f"{field.transform}({field.column}).",
                hint="Rename the column, or partition by another field.",
            )


def partition_name(field: PartitionField) -> str:
    """What Iceberg calls a partition field."""
    return f"{field.column}_{_ENDS.get(field.transform, field.transform)}" if field.transform else field.column


def _names(kind: "DataType", path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """The field names of each struct in a type, with its path."""
    for where, part in _parts(kind, path):
        if part.typeName() == "struct":
            yield where, part.fieldNames()  # type: ignore[attr-defined]


def _parts(kind: "DataType", path: tuple[str, ...]) -> "Iterator[tuple[tuple[str, ...], DataType]]":
    """A type and all types in it, each with its path as Iceberg writes it."""
    from pyspark.sql.types import ArrayType, MapType, StructType

    yield path, kind
    match kind:
        case StructType():
            for field in kind.fields:
                yield from _parts(field.dataType, (*path, field.name))
        case ArrayType():
            yield from _parts(kind.elementType, (*path, "element"))
        case MapType():
            yield from _parts(kind.keyType, (*path, "key"))
            yield from _parts(kind.valueType, (*path, "value"))
