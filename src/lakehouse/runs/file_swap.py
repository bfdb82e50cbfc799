"""Put old data files of a table back, and take others out, by one Iceberg overwrite: no row is read or written.

Old files are listed by the metadata file of the state that had them, so it does not matter whether the table's present
metadata still lists that snapshot.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgard.common.spark_utils import explained
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.freshness.file_index import file_number
from asgard.lakehouse.freshness.stretch import EVERYTHING, Stretch, moment_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Files:
    """Some live files of a table at one state.

    Attributes:
        state: that has them.
        numbers: of the files, as a file index has them.
        within: a stretch that all of them lie in, by a column of time: only its part of the metadata is read.
    """

    state: TableState
    numbers: Collection[int]
    within: Stretch = EVERYTHING


@dataclass(frozen=True)
class FileSwap:
    """Changes the files of one table on a branch.

    Attributes:
        sql_name: of the table on the branch.
        provenance: what the snapshot says of its origin.
    """

    session: "SparkSession"
    sql_name: str
    provenance: Mapping[str, str]

    def commit(self, back: Files, out: Files) -> bool:
        """Put files back and take others out; False, and nothing is done, if one of them is not found.

        Raises:
            AsgardError: Spark failed; the message says what to do.
        """
        with explained(f"Changing the files of {self.sql_name}"):
            iceberg = self._java.spark.Spark3Util.loadIcebergTable(self.session._jsparkSession, self.sql_name)
            change = iceberg.newOverwrite()
            for files, apply in ((back, change.addFile), (out, change.deleteFile)):
                left = set(files.numbers)
                for file in self._listed(iceberg, files) if left else ():
                    number = file_number(str(file.location()))
                    if number in left:
                        apply(file.copy())
                        left.remove(number)
                    if not left:
                        break
                if left:
                    return False
            for name, value in self.provenance.items():
                change.set(name, value)
            change.commit()
        return True

    def _listed(self, iceberg: Any, files: Files) -> Iterator[Any]:
        """The live files of a state that may hold rows of the stretch, with their statistics."""
        operations = self._java.StaticTableOperations(files.state.table.metadata_location, iceberg.io())
        scan = self._java.BaseTable(operations, self.sql_name).newScan().includeColumnStats()
        stretch, columns = files.within, files.state.columns
        if stretch.is_bounded and stretch.column in columns:
            kind, expressions = columns[stretch.column], self._java.expressions.Expressions
            for bound, compare in (
                (stretch.start, expressions.greaterThanOrEqual),
                (stretch.end, expressions.lessThan),
            ):
                text = _literal(bound, kind) if bound is not None else None
                if text is not None:
                    scan = scan.filter(compare(stretch.column, text))
        tasks = scan.planFiles()
        try:
            each = tasks.iterator()
            while each.hasNext():
                yield each.next().file()
        finally:
            tasks.close()

    @property
    def _java(self) -> Any:
        return self.session._jvm.org.apache.iceberg  # type: ignore[union-attr]


def _literal(value: int, kind: str) -> str | None:
    """A moment, in microseconds since 1970 in UTC, as Iceberg reads it for a column of a type.

    None outside of Python's years 1 to 9999: without the bound more is read, and the same found.
    """
    try:
        moment = moment_of(value)
    except OverflowError:
        return None
    if kind == "date":
        return str(moment.date())
    return str(moment.isoformat() if kind == "timestamp" else moment.replace(tzinfo=None).isoformat())
