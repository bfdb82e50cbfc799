"""Read CSV and TSV (RFC 4180): records are numbered, and the text of a malformed record is kept.

One regular expression defines a record; Arrow's parser only splits what the expression accepted. A field is either
quoted (quotes inside it are doubled), or text without delimiters and line breaks that does not start with a quote.
Lines end with LF or CRLF; or with CR, if the first line does. In a file with LF line ends, a lone CR does not end a
line: a record with a CR outside of quotes is malformed, as it may be one record or two. Blank lines are not records.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from asgard.common.errors import InputDataError
from asgard.ingest.files import printable
from asgard.ingest.own_columns import CORRUPT

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 4 << 20
"""Characters that are parsed at once."""
MAX_RECORD = 64 << 20
"""Characters that one record may have."""


def line_end(text: str) -> str:
    """How the first line of a text ends: `\\n` (also for CRLF) or `\\r`; "" if it has not ended yet."""
    match = re.search(r"\r\n|\n|\r(?!\Z)", text)
    return "" if match is None else match[0][-1]


@dataclass(frozen=True)
class Grammar:
    """Regular expressions for fields and records, for one delimiter and quote.

    Attributes:
        end: how lines end: `\\n` (with or without CR before it) or `\\r` (with or without LF after it).
    """

    delimiter: str
    quote: str
    end: str = "\n"

    def records(self, fields: int) -> re.Pattern[str]:
        """Any number of records that each have this many fields."""
        return re.compile(f"(?:(?![\r\n])(?:{self._field}{self._then}){{{fields - 1}}}{self._field}{self._end})*+")

    @cached_property
    def fields(self) -> re.Pattern[str]:
        """One record with any number of fields, without its line end."""
        return re.compile(f"(?:{self._field}{self._then})*+{self._field}")

    @cached_property
    def record(self) -> re.Pattern[str]:
        """One record with any number of fields."""
        return re.compile(f"{self.fields.pattern}{self._end}")

    @cached_property
    def broken(self) -> re.Pattern[str]:
        """One record in which text follows a closing quote, or another line break occurs; it ends with its line."""
        rest = f"[^{self.end}]*+{self.end}"
        other = "\n" if self.end == "\r" else "\r"
        return re.compile(f"(?:{self._field}{self._then})*+(?:{self._quoted}{rest}|{self._bare}{other}{rest})")

    @cached_property
    def blank(self) -> re.Pattern[str]:
        """Blank lines."""
        return re.compile(f"{self._end}++")

    @property
    def _end(self) -> str:
        return r"(?:\r?\n)" if self.end == "\n" else r"(?:\r\n?)"

    def split(self, record: str) -> list[str]:
        """The fields of one record, with or without its line end."""
        one = re.compile(f"({self._quoted})|({self._bare})")
        fields, position = [], 0
        while match := one.match(record, position):
            quoted, bare = match.groups()
            fields.append(bare if quoted is None else quoted[1:-1].replace(self.quote * 2, self.quote))
            position = match.end() + 1
            if not record.startswith(self.delimiter, match.end()):
                break
        return fields

    @property
    def _then(self) -> str:
        return re.escape(self.delimiter)

    @property
    def _field(self) -> str:
        return f"(?:{self._quoted}|{self._bare})"

    @property
    def _quoted(self) -> str:
        quote = re.escape(self.quote)
        return f"{quote}(?:[^{quote}]++|{quote}{quote})*+{quote}" if quote else "(?!)"

    @property
    def _bare(self) -> str:
        return f"(?:[^{re.escape(self.quote)}{self._then}\r\n][^{self._then}\r\n]*+|)"


class Parser:
    """Parses the text of one file into records.

    Args:
        pieces: of the text, in order.
        grammar: of its records.
        name: of the file, for messages.
    """

    def __init__(self, pieces: Iterable[str], grammar: Grammar, name: str) -> None:
        self._pieces = iter(pieces)
        self._grammar = grammar
        self._is_settled = False
        self._name = name
        self._text = ""
        self._at = 0
        self._ended = False
        self._count = 0

    def first(self) -> list[str]:
        """Consume the first record and return its fields; none for a file without records.

        Raises:
            InputDataError: the record is malformed.
        """
        while self._grow():
            self._skip_blank()
            match = self._grammar.record.match(self._text, self._at)
            if match:
                self._at = match.end()
                return self._grammar.split(match[0])
            if self._grammar.broken.match(self._text, self._at):
                raise InputDataError(
                    f"{printable(self._name)}: text follows a closing quote in the first record.",
                    hint="Is this the right file, and the right --quote?",
                )
            self._require_progress()
        return []

    def batches(self, columns: int, null_values: Sequence[str] = ("",)) -> Iterator["pa.Table"]:
        """The remaining records, in order.

        Args:
            columns: number of fields of a record; a record with another number is malformed.
            null_values: texts that mean null where they are not quoted.

        Returns:
            Tables of string columns `0`, `1`, ... and `_corrupt`; a record has either fields or `_corrupt`.

        Raises:
            InputDataError: a quote is never closed, or a record is longer than `MAX_RECORD`.
        """
        import pyarrow as pa

        while self._grow():
            records = self._grammar.records(columns)
            parts: list[pa.Table] = []
            broken: list[str] = []
            while self._at < len(self._text):
                start, end = self._at, records.match(self._text, self._at).end()  # type: ignore[union-attr]
                if end > start:
                    parts += _broken_rows(broken, columns)
                    parts.append(self._split(self._text[start:end], columns, null_values))
                    self._at, broken = end, []
                elif not self._skip_blank():
                    match = self._malformed()
                    if match is None:
                        break
                    broken.append(match.rstrip("\r\n"))
            parts += _broken_rows(broken, columns)
            if parts:
                batch = pa.concat_tables(parts)
                self._count += batch.num_rows
                yield batch
            self._require_progress()

    def _grow(self) -> bool:
        """Append another block to the remaining text; False if no text remains."""
        self._is_settled = self._is_settled or self._at > 0
        kept = [self._text[self._at :]]
        size, last = 0, self._text[-1:]
        while not self._ended and (size < BLOCK or last == "\r"):  # an LF may follow the CR
            piece = next(self._pieces, None)
            if piece is None:
                self._ended = True
            else:
                kept.append(piece)
                size += len(piece)
                last = piece[-1:] or last
        self._text, self._at = "".join(kept), 0
        if not self._is_settled:
            self._settle()
        if self._ended and self._text and self._text[-1] != self._grammar.end:
            self._text += self._grammar.end
        return bool(self._text)

    def _settle(self) -> None:
        """Detect how lines end, from the first record."""
        text = self._text.lstrip("\r\n")
        blank = len(self._text) - len(text)
        first = self._grammar.fields.match(text)
        rest = text[first.end() :] if first else ""
        is_open = bool(self._grammar.quote) and rest.startswith(self._grammar.quote)  # a field that has not ended yet
        end = line_end(self._text[: blank + 1]) or ("" if is_open else line_end(rest))
        if end:
            self._grammar, self._is_settled = replace(self._grammar, end=end), True

    def _skip_blank(self) -> bool:
        match = self._grammar.blank.match(self._text, self._at)
        if match:
            self._at = match.end()
        return match is not None

    def _malformed(self) -> str | None:
        """Consume one malformed record; None if it is not complete yet."""
        match = self._grammar.record.match(self._text, self._at) or self._grammar.broken.match(self._text, self._at)
        if match:
            self._at = match.end()
        return match[0] if match else None

    def _require_progress(self) -> None:
        left = len(self._text) - self._at
        if left and (self._ended or left > MAX_RECORD):
            what = "opens a quote that never closes" if self._ended else f"does not end within {MAX_RECORD} characters"
            raise InputDataError(
                f"{printable(self._name)}: record {self._count + 1} {what}.",
                hint="Was the file cut off? If quotes mean nothing in it, say --quote ''.",
            )

    def _split(self, text: str, columns: int, null_values: Sequence[str]) -> "pa.Table":
        import pyarrow as pa
        from pyarrow import csv

        data = text.encode()
        if text.startswith("\ufeff"):
            data = b"\n" + data  # Arrow drops a byte-order mark at the start of what it is given
        names = [str(number) for number in range(columns)]
        table = csv.read_csv(
            pa.BufferReader(data),
            csv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1),
            csv.ParseOptions(
                delimiter=self._grammar.delimiter,
                quote_char=self._grammar.quote or False,
                newlines_in_values=True,
            ),
            csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=list(null_values),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        return table.append_column(CORRUPT, pa.nulls(table.num_rows, pa.string()))


def _broken_rows(texts: Sequence[str], columns: int) -> list["pa.Table"]:
    import pyarrow as pa

    if not texts:
        return []
    nothing = pa.nulls(len(texts), pa.string())
    names = [*map(str, range(columns)), CORRUPT]
    return [pa.table([*(nothing for _ in range(columns)), pa.array(texts, pa.string())], names=names)]
