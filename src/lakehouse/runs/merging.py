"""What a merge by key changes: repeated keys, and rows that differ from the table's rows."""

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

from asgard.common.errors import DeclarationError
from asgard.lakehouse.declaring.alignment import comparable, fields_by_name, has_map
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.schema_changes import quoted, type_sql

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import StructType


def require_keys(table: Table, schema: "StructType") -> None:
    """Refuse keys that the rows lack, or that are not comparable.

    Raises:
        DeclarationError: a key column is missing, or is a map or contains one.
    """
    fields = fields_by_name(schema)
    missing = [key for key in table.keys if key.lower() not in fields]
    if missing:
        raise DeclarationError(
            f"{table.name} is merged by {', '.join(table.keys)}, but its rows lack {', '.join(missing)}.",
            hint=f"Their columns are {', '.join(schema.names)}.",
        )
    for key in table.keys:
        kind = fields[key.lower()].dataType
        if has_map(kind):
            raise DeclarationError(
                f"{table.name} is merged by {key}, which is {type_sql(kind)}: rows can't be found by a map.",
                hint="Take a column that identifies a row, e.g. a digest of the map's sorted entries.",
            )


def repeated_keys(frame: "DataFrame", keys: Sequence[str]) -> list[dict[str, Any]]:
    """Up to three of the keys that more than one row has."""
    from pyspark.sql import functions as F

    places = [f"k{place}" for place in range(len(keys))]  # works for any names of the keys
    placed = frame.select(*(F.col(quoted(key)).alias(place) for key, place in zip(keys, places, strict=True)))
    twice = placed.groupBy(*places).agg(F.count(F.lit(1)).alias("rows")).where("rows > 1").take(3)
    return [dict(zip(keys, tuple(row)[:-1], strict=True)) for row in twice]


def changed_rows(frame: "DataFrame", existing: "DataFrame") -> "DataFrame":
    """The rows that a table doesn't contain in the same form; `comparable` defines which values are the same.

    Args:
        frame: rows in the table's schema.
        existing: the table's rows.
    """
    from pyspark.sql import functions as F

    fields = list(enumerate(existing.schema.fields))
    # Distinct names on both sides: the rows may come from the same table.
    new = frame.select(*(F.col(quoted(field.name)).alias(f"n{place}") for place, field in fields))
    old = existing.select(*(comparable(F.col(quoted(f.name)), f.dataType).alias(f"o{place}") for place, f in fields))
    same: list[Column] = [comparable(F.col(f"n{p}"), f.dataType).eqNullSafe(F.col(f"o{p}")) for p, f in fields]
    changed = new.join(old, reduce(lambda one, other: one & other, same), "left_anti")
    return changed.select(*(F.col(f"n{place}").alias(field.name) for place, field in fields))
