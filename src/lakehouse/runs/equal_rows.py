"""Intervals whose rows come out as they were keep their files: what reads them is not stale then.

An overwrite replaces the files of all of its intervals, also of those whose rows are the same. So right after it, the
rows that it removed and those that it added are compared by interval, as multisets: by their number and the sums of two
64-bit hashes. Where they are equal, one further snapshot puts the old files back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgard.common.spark_utils import explained
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.intervals import TimeRange
from asgard.lakehouse.declaring.schema_changes import quoted
from asgard.lakehouse.freshness.file_index import file_number, paths_by_interval
from asgard.lakehouse.freshness.stretch import EVERYTHING, Stretch, micros
from asgard.lakehouse.runs.file_swap import Files, FileSwap

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.types import DataType

_WHOLE = 0


@dataclass(frozen=True)
class Overwrite:
    """One overwrite on a branch, by a table's mode replace or overwrite_interval.

    Attributes:
        sql_name: of the table on the branch.
        before, after: the table's state around it.
        interval: that it wrote; None for a table without intervals.
        provenance: what each snapshot says of its origin.
    """

    session: "SparkSession"
    table: Table
    sql_name: str
    before: TableState
    after: TableState
    interval: TimeRange | None
    provenance: Mapping[str, str]

    def keep_equal(self) -> bool:
        """Put the old files of the intervals back whose rows are equal; whether there was one.

        Raises:
            AsgardError: Spark failed; the message says what to do.
        """
        if self.before.columns != self.after.columns or self.before.has_delete_files():
            return False
        new = self.after.snapshot_ids - self.before.snapshot_ids
        if len(new) != 1:
            return False
        cadence = self.table.interval if self.interval else None
        column, unit = (cadence.column, cadence.unit) if cadence else ("", None)
        files = paths_by_interval(self.after, next(iter(new)), column, unit)
        if files is None or not any(each.removed for each in files.values()):
            return False
        with explained(f"Comparing the rows of {self.table.name} with those that were there"):
            # A day with another number of rows is another day: nothing needs to be read for that.
            alike = [start for start, each in files.items() if each.removed and each.added and not each.rows]
            equal = self._equal(alike)
            if equal:
                removed = {path for start in equal for path in files[start].removed}
                return self._restore(removed, {path for start in equal for path in files[start].added})
        return False

    def _equal(self, starts: list[int]) -> list[int]:
        if not starts:
            return []
        then = self.session.read.option("versionAsOf", self.before.snapshot_id or 0)
        before = self._sums(then.table(self.sql_name))
        after = self._sums(self.session.table(self.sql_name))
        return [start for start in starts if start in before and before[start] == after.get(start)]

    def _sums(self, frame: "DataFrame") -> dict[int, tuple[int, Any, Any]]:
        """Number of rows and sums of their hashes, by the start of the interval."""
        from pyspark.sql import functions as F

        from asgard.lakehouse.runs.tables import within

        start: Column = F.lit(_WHOLE).cast("bigint")
        if self.interval is not None and self.table.interval is not None:
            cadence = self.table.interval
            frame = frame.where(within(cadence.column, self.interval, frame.schema))
            moment = F.date_trunc(cadence.unit, F.col(quoted(cadence.column)).cast("timestamp"))
            start = F.unix_micros(moment)
        hashes = [row_hash(frame, seed).cast("decimal(20,0)") for seed in (1, 2)]
        sums = frame.groupBy(start.alias("start")).agg(F.count("*"), F.sum(hashes[0]), F.sum(hashes[1])).collect()
        return {row[0]: (row[1], row[2], row[3]) for row in sums}

    def _restore(self, removed: set[str], added: set[str]) -> bool:
        """Put files back; False, and nothing is done, if one of them is not found."""
        within = self._stretch()
        back, out = (frozenset(map(file_number, paths)) for paths in (removed, added))
        swap = FileSwap(self.session, self.sql_name, self.provenance)
        return swap.commit(Files(self.before, back, within), Files(self.after, out, within))

    def _stretch(self) -> Stretch:
        if self.interval is None or self.table.interval is None:
            return EVERYTHING
        return Stretch(self.table.interval.column, micros(self.interval.start), micros(self.interval.end))


def row_hash(frame: "DataFrame", seed: int) -> "Column":
    """64 bits of all columns of a row, nulls and nested values included.

    `xxhash64` passes over nulls and empty arrays: alone it can't tell (null, 5) from (5, null). So each value comes
    with a flag that says whether it is null, and each array with its length.
    """
    from pyspark.sql import functions as F

    columns = [each for one in frame.schema.fields for each in _flagged(F.col(quoted(one.name)), one.dataType)]
    return F.xxhash64(F.lit(seed), *columns)


def _flagged(value: "Column", kind: "DataType") -> "list[Column]":
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, MapType, StructType

    flag = value.isNull()
    if isinstance(kind, StructType):
        fields = [each for one in kind.fields for each in _flagged(value.getField(one.name), one.dataType)]
        return [flag, *fields]
    if isinstance(kind, ArrayType):
        element = kind.elementType
        return [flag, F.size(value), F.transform(value, lambda each: F.xxhash64(*_flagged(each, element)))]
    if isinstance(kind, MapType):
        keys, values = (ArrayType(each) for each in (kind.keyType, kind.valueType))
        return [flag, *_flagged(F.map_keys(value), keys), *_flagged(F.map_values(value), values)]
    return [flag, value]
