"""Re-read rows: drop those that already landed, and keep the others.

Rows are counted: if the source has a row three times and the table has it twice, one lands. A row that differs in any
value from what landed is another row; columns that only one side has are ignored.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from asgard.ingest.own_columns import RAW, SOURCE_FILE
from asgard.lakehouse.declaring.schema_changes import quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_LANDED = "asgard landed"
_PLACE = "asgard place"
_COUNT = "asgard count"


def landed_rows(
    table: "DataFrame", source: str, renames: Mapping[str, str], since: "tuple[str, str] | None" = None
) -> "DataFrame":
    """The rows of a bronze table that came from a source.

    Args:
        table: as it was before this run.
        source: its name in `_source_file`.
        renames: old -> new name of columns, as declared.
        since: the cursor's column (by its new name) and the smallest value that counts, as text; None: all rows.
    """
    from pyspark.sql import functions as F

    rows = table.where(F.col(SOURCE_FILE) == source)
    for old, new in renames.items():
        if old in rows.columns and new not in rows.columns:
            rows = rows.withColumnRenamed(old, new)
            rows = rows.withColumn(RAW, _renamed(old, new))
    if since is not None and since[0].lower() in _lower(rows.columns):
        column = F.col(quoted(since[0]))
        kind = rows.select(column).schema[0].dataType
        if kind.typeName() != "string":  # texts sort in another order than their values
            least = F.lit(since[1]).try_cast(kind)
            rows = rows.where(column.isNull() | least.isNull() | (column >= least))
    return rows


def _renamed(old: str, new: str) -> "Column":
    """`_raw` with a column's new name."""
    from pyspark.sql import functions as F

    return F.transform_keys(RAW, lambda name, _: F.when(name == old, F.lit(new)).otherwise(name))


def _lower(names: Sequence[str]) -> frozenset[str]:
    """Names as Spark and the table's schema compare them: without letter case."""
    return frozenset(name.lower() for name in names)


def not_landed(rows: "DataFrame", landed: "DataFrame", columns: Sequence[str]) -> "DataFrame":
    """The rows without those that landed; each is dropped as often as it landed.

    Args:
        rows: in the table's columns and types.
        landed: may lack columns that are new, and have narrower types.
        columns: that the source has; only those that `landed` has too are compared.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    landed_names = _lower(landed.columns)
    compared = [name for name in columns if name.lower() in landed_names]
    before = landed.select(
        *(
            (F.col(quoted(one.name)) if one.name.lower() in landed_names else F.lit(None))
            .cast(one.dataType)
            .alias(one.name)
            for one in rows.schema.fields
        )
    )
    both = before.withColumn(_LANDED, F.lit(1)).unionByName(rows.withColumn(_LANDED, F.lit(0)))
    alike = Window.partitionBy(*(F.col(quoted(name)) for name in compared), _kept_texts(compared))
    counted = both.withColumns(
        {_PLACE: F.row_number().over(alike.orderBy(F.col(quoted(_LANDED)).desc())), _COUNT: F.sum(_LANDED).over(alike)}
    )
    # Landed rows come first among equal rows, and each cancels one of the rows that follow.
    late = counted.where((F.col(quoted(_LANDED)) == 0) & (F.col(quoted(_PLACE)) > 2 * F.col(quoted(_COUNT))))
    return late.select(*(F.col(quoted(name)) for name in rows.columns))


def _kept_texts(columns: Sequence[str]) -> "Column":
    """The entries of `_raw` for some columns, in a fixed order."""
    from pyspark.sql import functions as F

    entries = F.filter(
        F.map_entries(F.col(RAW)), lambda entry: F.lower(entry["key"]).isin([name.lower() for name in columns])
    )
    return F.coalesce(F.array_sort(entries), F.array().cast("array<struct<key:string,value:string>>"))
