"""Convert database rows to a bronze table's rows: its typed columns, and `_raw` with the texts that did not fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard.common.aliases import Say
from asgard.common.data_type import DataType
from asgard.ingest.columns import FileColumns, TableColumns, all_columns
from asgard.ingest.database_types import ColumnRead
from asgard.ingest.fitting import FittedColumn, fitted_columns, value_of_text
from asgard.ingest.own_columns import CORRUPT, SOURCE_FILE, SOURCE_ROW
from asgard.ingest.reading import tell, wider

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


@dataclass(frozen=True)
class Landing:
    """How the columns of a database's table land in a bronze table.

    Attributes:
        source: name of the database's table.
        columns: of the bronze table, in order, with their types.
        names: the bronze table's name of each column that is read.
        reads: how each column is read.
    """

    source: str
    columns: Mapping[str, str]
    names: tuple[str, ...]
    reads: tuple[ColumnRead, ...]

    def rows(self, frame: "DataFrame") -> "DataFrame":
        """The table's columns, `_raw`, `_corrupt`, `_source_file`, `_source_row` (null)."""
        from pyspark.sql import functions as F

        given = {name: (place, read) for place, (name, read) in enumerate(zip(self.names, self.reads, strict=True))}
        selected, wanted = [], []
        for place, (name, kind) in enumerate(self.columns.items()):
            if name not in given:
                selected.append(F.lit(None).cast(kind).alias(name))
                wanted.append(FittedColumn(name, kind, kind))
                continue
            read_place, read = given[name]
            selected.append(F.col(f"c{read_place}").alias(name))
            parsed = None
            if read.elements is not None and DataType.parse(kind).element is not None:
                parsed = f"parsed {place}"
                selected.append(_array(F.col(f"e{read_place}"), kind, read).alias(parsed))
            wanted.append(FittedColumn(name, read.source, kind, parsed))
        stamps = {
            CORRUPT: F.lit(None).cast("string"),
            SOURCE_FILE: F.lit(self.source),
            SOURCE_ROW: F.lit(None).cast("bigint"),
        }
        return fitted_columns(frame.select(*selected).withColumns(stamps), wanted)


def landing(
    table: str, source: str, reads: Sequence[ColumnRead], known: TableColumns, say: Say, *, allow_missing: bool = False
) -> Landing:
    """How a database's columns land in a table.

    Args:
        table: name of the bronze table, for messages.
        source: name of the database's table.
        reads: how its columns are read.
        known: the columns that the table has, or that are declared.
        say: called with one line about the new columns.
        allow_missing: whether the source may lack columns, which are null then.

    Raises:
        ContractError: the source's columns do not fit the table's.
    """
    names = known.names_for(tuple(read.column.name for read in reads))
    types = dict(known.types)
    for name, read in zip(names, reads, strict=True):
        types[name] = wider(types.get(name), read.wanted, fixed=name in known.types and name not in known.undeclared)
    columns = all_columns(table, known, [FileColumns(source, names)], allow_missing=allow_missing)
    found = {name: types[name] for name in columns}
    tell(known, found, say)
    return Landing(source, found, names, tuple(reads))


def _array(texts: "Column", kind: str, read: ColumnRead) -> "Column":
    """Convert a JSON array of the elements' texts to an array of a type; null if an element does not fit."""
    from pyspark.sql import functions as F

    found = DataType.parse(kind)
    if _depth(found) != read.column.dimensions:
        return F.lit(None).cast(kind)
    return _value(F.from_json(texts, str(_of_strings(found))), found)


def _value(text: "Column", kind: DataType) -> "Column":
    from pyspark.sql import functions as F

    if kind.element is not None:
        return _elements(text, kind.element)
    if kind.base == "binary":  # a byte string of PostgreSQL: \x and hexadecimal digits
        return F.unhex(F.substring(text, 3, 2**31 - 1))
    return value_of_text(text, str(kind))


def _elements(texts: "Column", kind: DataType) -> "Column":
    from pyspark.sql import functions as F

    def value(text: "Column") -> "Column":
        return _value(text, kind)

    values = F.transform(texts, value)
    missed = F.zip_with(texts, values, lambda text, found: text.isNotNull() & found.isNull())
    return F.when(~F.exists(missed, lambda one: one), values)


def _depth(kind: DataType) -> int:
    return 0 if kind.element is None else 1 + _depth(kind.element)


def _of_strings(kind: DataType) -> DataType:
    """The same array type, with text elements."""
    return DataType("string") if kind.element is None else DataType.array(_of_strings(kind.element))
