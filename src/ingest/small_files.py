"""CSV and TSV files that are not ingested (keys of entities, labels), read by ingest's parser of delimited text.

They have a header, a comma or a tab between fields, and are in UTF-8. A malformed record, which ingest keeps, is an
error here: a key or a label must not get lost.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard.common.errors import InputDataError, UsageError
from asgard.ingest.files import SourceFile
from asgard.ingest.formats import Format, TextOptions
from asgard.ingest.own_columns import CORRUPT
from asgard.ingest.text import TextFile

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN = 80


@dataclass(frozen=True)
class SmallFile:
    """A CSV or TSV file with its header.

    Attributes:
        name: for messages.
        columns: the names in its header, without surrounding white space; `column_3` for a column without a name.
    """

    name: str
    file: TextFile
    columns: tuple[str, ...]

    @classmethod
    def open(cls, file: SourceFile, kind: Format, name: str) -> "SmallFile":
        """Read its header.

        Raises:
            UsageError: it can't be read, or names a column twice.
        """
        try:
            found = TextFile(file, kind, TextOptions()).with_header()
        except InputDataError as error:
            raise _unread(name, kind, error) from error
        columns = tuple(column.strip() or f"column_{place}" for place, column in enumerate(found.own, start=1))
        counts = Counter(column.casefold() for column in columns)
        twice = [column for column in columns if counts[column.casefold()] > 1]
        if twice:
            raise UsageError(
                f"{name} names {', '.join(sorted({*twice}))} twice.",
                hint="Name each column once in its first line; letter case is ignored.",
            )
        return cls(name, found, columns)

    def tables(self) -> Iterator["pa.Table"]:
        """Its records, as texts in its columns.

        Raises:
            UsageError: it can't be read, or some of its records can't be parsed.
        """
        rows = 0
        try:
            for table in self.file.tables():
                corrupt = table.column(CORRUPT)
                if corrupt.null_count < len(corrupt):
                    place, text = next((at, text) for at, text in enumerate(corrupt.to_pylist(), 1) if text is not None)
                    raise UsageError(
                        f"{self.name}: record {rows + place} can't be parsed: {text[:_SHOWN]!r}.",
                        hint=f"The header has {len(self.columns)} fields. Does a value without quotes contain a "
                        "delimiter, a quote or a carriage return?",
                    )
                rows += table.num_rows
                yield table.drop_columns([CORRUPT]).rename_columns(list(self.columns))
        except InputDataError as error:
            raise _unread(self.name, self.file.kind, error) from error


def _unread(name: str, kind: Format, error: InputDataError) -> UsageError:
    without_options = [part for part in re.split(r"(?<=[.?]) ", error.hint or "") if "--" not in part]
    hint = (
        " ".join(without_options) or f"Write it in UTF-8, with {TextOptions().delimiter_of(kind)!r} between the fields."
    )
    return UsageError(f"{name} can't be read: {error.message}", hint=hint)
