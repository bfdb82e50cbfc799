"""Convert values to another type, field by field name: in structs, and in the structs of arrays and maps.

Spark's own casts and comparisons match fields by position, so all code that writes or compares rows uses this module.
Names are matched ignoring letter case, as in Spark; values that already have the type are unchanged.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from asgard.validation.sql_text import identifier

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructField, StructType

Leaf = Callable[["Column", "DataType", "DataType"], "Column"]
"""Converts a value; takes the value, its type and the wanted type. Neither type has parts."""


def plain_cast(given: "Column", source: "DataType", target: "DataType") -> "Column":
    """Spark's cast, which fails for a value that does not fit."""
    return given.cast(target)


def is_same(source: "DataType", target: "DataType") -> bool:
    """Whether two types have the same names in the same places, and the same parts; nullability is ignored."""
    return source == target or source.simpleString() == target.simpleString()


def fields_by_name(schema: "StructType") -> "Mapping[str, StructField]":
    """The fields of a struct by their names in lower case."""
    return {field.name.lower(): field for field in schema.fields}


def mismatch(source: "DataType", target: "DataType") -> "tuple[DataType, DataType] | None":
    """The first parts of two types that differ in kind: a struct, an array, a map, or a single value.

    It is not a mismatch if one type lacks a field, if two single values have different types, or if a type is `void`.
    """
    from pyspark.sql.types import ArrayType, MapType, NullType, StructType

    pairs: list[tuple[DataType, DataType]]
    match source, target:
        case NullType(), _:
            return None
        case StructType(), StructType():
            fields = fields_by_name(source)
            pairs = [(fields[f.name.lower()].dataType, f.dataType) for f in target.fields if f.name.lower() in fields]
        case ArrayType(), ArrayType():
            pairs = [(source.elementType, target.elementType)]
        case MapType(), MapType():
            pairs = [(source.keyType, target.keyType), (source.valueType, target.valueType)]
        case _:
            return (source, target) if has_parts(source) or has_parts(target) else None
    return next((found for one, other in pairs if (found := mismatch(one, other))), None)


def has_parts(kind: "DataType") -> bool:
    """Whether a type is a struct, an array or a map."""
    from pyspark.sql.types import ArrayType, MapType, StructType

    return isinstance(kind, ArrayType | MapType | StructType)


def aligned(given: "Column", source: "DataType", target: "DataType", leaf: Leaf = plain_cast) -> "Column":
    """A value converted to another type: fields matched by name, missing ones null, surplus ones left out.

    Args:
        given: the value.
        source: its type.
        target: the wanted type, without a `mismatch`.
        leaf: converts single values.
    """
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, MapType, NullType, StructType

    if is_same(source, target):
        return given
    match source, target:
        case NullType(), _:
            return F.lit(None).cast(target)
        case StructType(), StructType():
            fields = fields_by_name(source)
            parts = []
            for field in target.fields:
                own = fields.get(field.name.lower())
                value = (
                    F.lit(None).cast(field.dataType)
                    if own is None
                    else aligned(given.getField(own.name), own.dataType, field.dataType, leaf)
                )
                parts.append(value.alias(field.name))
            return F.when(given.isNotNull(), F.struct(*parts))
        case ArrayType(), ArrayType():
            return F.transform(given, lambda part: aligned(part, source.elementType, target.elementType, leaf))
        case MapType(), MapType():
            entries = given
            if not is_same(source.keyType, target.keyType):
                entries = F.transform_keys(entries, lambda key, _: aligned(key, source.keyType, target.keyType, leaf))
            if not is_same(source.valueType, target.valueType):
                entries = F.transform_values(
                    entries, lambda _, value: aligned(value, source.valueType, target.valueType, leaf)
                )
            return entries
        case _:
            return leaf(given, source, target)


def aligned_frame(frame: "DataFrame", target: "StructType") -> "DataFrame":
    """The rows with exactly the columns of a schema, in its order; the frame itself if nothing changes.

    Args:
        frame: has all of the columns, each once.
        target: the wanted schema, without a `mismatch`.
    """
    from pyspark.sql import functions as F

    if is_same(frame.schema, target):
        return frame
    fields = fields_by_name(frame.schema)
    columns = []
    for field in target.fields:
        own = fields[field.name.lower()]
        columns.append(aligned(F.col(identifier(own.name)), own.dataType, field.dataType).alias(field.name))
    return frame.select(*columns)


def comparable(given: "Column", kind: "DataType") -> "Column":
    """A value in a form that `<=>` and `GROUP BY` can compare: equal exactly if the given values are equal.

    Spark can't compare maps: a map becomes the list of its entries, ordered by key. Numbers are equal as in SQL:
    NaN equals NaN, and 0.0 equals -0.0. Both sides must have the same type.
    """
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, MapType, StructType

    if not has_map(kind):
        return given
    match kind:
        case MapType():
            entries = F.transform(
                F.map_entries(given),
                lambda entry: F.struct(
                    comparable(entry.getField("key"), kind.keyType).alias("key"),
                    comparable(entry.getField("value"), kind.valueType).alias("value"),
                ),
            )
            return F.array_sort(entries)
        case ArrayType():
            return F.transform(given, lambda part: comparable(part, kind.elementType))
        case StructType():
            parts = [comparable(given.getField(f.name), f.dataType).alias(f.name) for f in kind.fields]
            return F.when(given.isNotNull(), F.struct(*parts))
        case _:
            return given


def has_map(kind: "DataType") -> bool:
    """Whether a type is a map, or contains one."""
    from pyspark.sql.types import ArrayType, MapType, StructType

    match kind:
        case MapType():
            return True
        case ArrayType():
            return has_map(kind.elementType)
        case StructType():
            return any(has_map(field.dataType) for field in kind.fields)
        case _:
            return False
