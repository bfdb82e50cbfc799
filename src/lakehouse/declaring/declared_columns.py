"""Rows in the columns that their table declares: matched by name, cast to the declared types."""

from typing import TYPE_CHECKING

from asgard.common.errors import DeclarationError, UsageError
from asgard.lakehouse.declaring.alignment import aligned, fields_by_name, mismatch
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.schema_changes import quoted, type_sql
from asgard.lakehouse.declaring.stored_types import require_storable

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructField, StructType


def declared_schema(table: Table) -> "StructType":
    """The schema that `columns=` declares; only for a table that has `columns=`.

    Raises:
        UsageError: `columns=` is not valid DDL.
        DeclarationError: Iceberg can't store one of the columns.
    """
    from pyspark.errors import PySparkException
    from pyspark.sql.types import StructType

    try:
        schema = StructType.fromDDL(table.columns or "")
    except PySparkException as error:
        raise UsageError(
            f"The columns of {table.name} can't be read: {table.columns!r}.",
            hint="Write them as in SQL: 'id bigint, name string, price decimal(10,2)'.",
        ) from error
    if not isinstance(schema, StructType):
        raise UsageError(f"The columns of {table.name} name no column: {table.columns!r}.", hint="Write 'name type'.")
    for field in schema.fields:
        require_storable(table, (field.name,), field.dataType)
    return schema


def in_declared_columns(table: Table, frame: "DataFrame") -> "DataFrame":
    """The rows with exactly the declared columns, cast to their declared types, and the columns that start with `_`.

    Args:
        table: declares columns.
        frame: its rows; no column name occurs twice.

    Raises:
        DeclarationError: the rows lack a column, have others, or have one of a kind that can't be cast.
    """
    from pyspark.sql import functions as F

    wanted, fields = declared_schema(table), fields_by_name(frame.schema)
    names = fields_by_name(wanted)
    extra = [field.name for name, field in fields.items() if name not in names and not name.startswith("_")]
    missing = [field.name for name, field in names.items() if name not in fields]
    if extra or missing:
        raise DeclarationError(
            f"{table.name} declares columns ({', '.join(wanted.names)}), but its rows "
            + " and ".join(
                text for text, found in ((f"lack {missing}", missing), (f"also have {extra}", extra)) if found
            )
            + ".",
            hint="Make the function's columns and `columns=` agree.",
        )
    cast = [_cast(table, frame, fields[name], field) for name, field in names.items()]
    own = [F.col(quoted(field.name)) for name, field in fields.items() if name.startswith("_") and name not in names]
    return frame.select(*cast, *own)


def _cast(table: Table, frame: "DataFrame", own: "StructField", wanted: "StructField") -> "Column":
    from pyspark.errors import AnalysisException
    from pyspark.sql import functions as F

    if mismatch(own.dataType, wanted.dataType) or not _has_the_same_fields(own.dataType, wanted.dataType):
        raise _refused(table, own.dataType, wanted)
    value = aligned(F.col(quoted(own.name)), own.dataType, wanted.dataType).alias(wanted.name)
    if own.dataType.simpleString() != wanted.dataType.simpleString():
        try:
            frame.select(value)
        except AnalysisException as error:
            raise _refused(table, own.dataType, wanted) from error
    return value


def _refused(table: Table, own: "DataType", wanted: "StructField") -> DeclarationError:
    return DeclarationError(
        f"{table.name}: column {wanted.name} is declared as {type_sql(wanted.dataType)}, but the rows have "
        f"{type_sql(own)}, which can't be cast to it.",
        hint="Make the function's columns and `columns=` agree; the fields of a struct are matched by name.",
    )


def _has_the_same_fields(own: "DataType", wanted: "DataType") -> bool:
    """Whether the structs in two types of the same kind have the same field names, in any order."""
    from pyspark.sql.types import ArrayType, MapType, StructType

    match own, wanted:
        case StructType(), StructType():
            one, other = fields_by_name(own), fields_by_name(wanted)
            return one.keys() == other.keys() and all(
                _has_the_same_fields(one[name].dataType, other[name].dataType) for name in one
            )
        case ArrayType(), ArrayType():
            return _has_the_same_fields(own.elementType, wanted.elementType)
        case MapType(), MapType():
            return _has_the_same_fields(own.keyType, wanted.keyType) and _has_the_same_fields(
                own.valueType, wanted.valueType
            )
        case _:
            return True
