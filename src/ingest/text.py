"""Text files as a DataFrame of texts: read by Python workers, several files per task, each file from its start.

A worker hashes the bytes that it parses and fails if they do not match the ledger's digest. So only the content that
was hashed can land, however late a file changes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from asgard.common.errors import InputDataError
from asgard.ingest.delimited import Grammar, Parser
from asgard.ingest.exact_numbers import exact_numbers, number_type
from asgard.ingest.files import SourceFile, printable
from asgard.ingest.fitting import FittedColumn
from asgard.ingest.formats import Format, TextOptions
from asgard.ingest.inference import Guess
from asgard.ingest.json_text import Record, as_table, in_batches, json_lines, json_values, keys_of
from asgard.ingest.own_columns import CORRUPT, SOURCE_FILE, SOURCE_ROW
from asgard.ingest.plain_values import arrow_type, plain_values
from asgard.ingest.streams import texts
from asgard.ingest.workers import in_groups, on_workers

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

_DELIMITERS = ",;\t|"
_TIMES = ("timestamp", "timestamp_ntz")
_AT_ONCE = 8 << 20
"""Total bytes up to which files are surveyed in this process, without a Spark job."""


@dataclass(frozen=True)
class TextFile:
    """A text file, and how it is to be read.

    Attributes:
        own: its columns as the file names them: header fields, or JSON keys.
    """

    file: SourceFile
    kind: Format
    options: TextOptions
    own: tuple[str, ...] = ()

    def tables(self) -> Iterator["pa.Table"]:
        """Its records in order: string columns `0`, `1`, ... in the order of `own`, and `_corrupt`.

        Raises:
            InputDataError: it can't be read, or changed since it was hashed.
        """
        if not self.kind.is_delimited:
            yield from (as_table(batch, self.own) for batch in in_batches(self.records()))
            return
        parser = self._parser()
        if self.options.header:
            parser.first()
        yield from parser.batches(max(len(self.own), 1), self.options.null_values)

    def records(self) -> Iterator[Record]:
        """Its JSON records."""
        pieces = texts(self.file, self.options.encoding, self.kind)
        read = json_lines if self.kind is Format.JSONL else json_values
        return read(pieces, self.file.name)

    def first_record(self) -> tuple[str, ...]:
        """The first record's fields; only for CSV and TSV.

        Raises:
            InputDataError: it can't be read, or is one field that contains other delimiters: the assumed one is wrong.
        """
        first = tuple(self._parser().first())
        others = [mark for mark in _DELIMITERS if len(first) == 1 and mark in first[0]]
        if others and self.options.delimiter is None:
            name, assumed = printable(self.file.name), self.options.delimiter_of(self.kind)
            raise InputDataError(
                f"{name} starts with one field, {first[0][:80]!r}, if its delimiter is {assumed!r}.",
                hint=f"Say --delimiter, perhaps {others[0]!r}; or {assumed!r} if it has one column.",
            )
        return first

    def with_header(self) -> "TextFile":
        """The same file with its columns as its header names them; only for CSV and TSV.

        Raises:
            InputDataError: as for `first_record`.
        """
        return replace(self, own=self.first_record())

    def _parser(self) -> Parser:
        grammar = Grammar(self.options.delimiter_of(self.kind), self.options.quote)
        return Parser(texts(self.file, self.options.encoding, self.kind), grammar, self.file.name)


@dataclass(frozen=True)
class Survey:
    """What a first pass found in one file.

    Attributes:
        rows: records, malformed ones included.
        own: the file's columns as it names them.
        guesses: for each column, the types that fit its texts.
    """

    rows: int
    own: tuple[str, ...]
    guesses: tuple[Guess, ...]

    def to_text(self) -> str:
        """The JSON that a worker returns."""
        guesses = [guess.to_json() for guess in self.guesses]
        return json.dumps({"rows": self.rows, "own": self.own, "guesses": guesses})

    @classmethod
    def from_text(cls, text: str) -> "Survey":
        """The survey that `to_text` described."""
        content = json.loads(text)
        return cls(content["rows"], tuple(content["own"]), tuple(map(Guess.from_json, content["guesses"])))


def survey(file: TextFile) -> Survey:
    """Read a file once to find its columns and their possible types.

    Raises:
        InputDataError: it can't be read, or changed since it was hashed.
    """
    return _survey_delimited(file) if file.kind.is_delimited else _survey_json(file)


def _survey_delimited(file: TextFile) -> Survey:
    rows, guesses = 0, tuple(Guess() for _ in file.own)
    for table in file.tables():
        rows += table.num_rows
        for place, guess in enumerate(guesses):
            guess.look(table.column(str(place)))
    return Survey(rows, file.own, guesses)


def _survey_json(file: TextFile) -> Survey:
    rows = 0
    guesses: dict[str, Guess] = {}
    for batch in in_batches(file.records()):
        rows += len(batch)
        keys = keys_of(batch)
        table = as_table(batch, keys)
        for place, key in enumerate(keys):
            guess = guesses.setdefault(key, Guess())
            guess.look(table.column(str(place)))
            if any(not isinstance(record, str) and type(record.get(key)) is str for record in batch):
                guess.note_quoted()
    if rows and not guesses and file.kind is Format.JSONL:
        raise InputDataError(
            f"{printable(file.file.name)}: none of its {rows:,} lines is a JSON object.",
            hint="If objects span several lines, say --format json; if it is something else, name its format.",
        )
    return Survey(rows, tuple(guesses), tuple(guesses.values()))


def survey_all(session: "SparkSession", files: Sequence[TextFile]) -> list[Survey]:
    """The survey of each file: small files in this process, many or large ones on Spark's workers."""
    if sum(file.file.size for file in files) <= _AT_ONCE:
        return [survey(file) for file in files]
    groups = in_groups(session, list(enumerate(files)), lambda one: one[1].file.size)
    found = on_workers(session, len(groups), partial(_survey_group, groups), "place int, survey string")
    return [Survey.from_text(text) for _, text in sorted(tuple(row) for row in found.collect())]


def text_rows(
    session: "SparkSession",
    files: Sequence[TextFile],
    names: Sequence[Sequence[str]],
    types: Mapping[str, str],
    *,
    by_pattern: bool = False,
) -> "tuple[DataFrame, list[FittedColumn]]":
    """The records of the files, as texts and, where a text can be parsed, as numbers and plain values.

    Args:
        session: to read with.
        files: with their own columns.
        names: the table's names for the columns of each file.
        types: column of the table -> its type, in order.
        by_pattern: times are left as texts, whatever they look like, because a pattern will parse them.

    Returns:
        The table's columns as texts, the parsed values, `_corrupt`, `_source_file`, `_source_row` (1-based, among the
        file's records); and how to convert them to the table's columns.
    """
    import pyarrow as pa
    from pyspark.sql import functions as F
    from pyspark.sql.pandas.types import from_arrow_schema

    read = {name: "string" if by_pattern and kind in _TIMES else kind for name, kind in types.items()}
    kinds = [number_type(kind) or arrow_type(kind) for kind in read.values()]
    fields = [(f"c{place}", pa.string()) for place in range(len(kinds))]
    fields += [(f"v{place}", kind) for place, kind in enumerate(kinds) if kind is not None]
    schema = pa.schema([*fields, (CORRUPT, pa.string()), (SOURCE_FILE, pa.string()), (SOURCE_ROW, pa.int64())])
    groups = in_groups(session, list(zip(files, names, strict=True)), lambda one: one[0].file.size)
    rows = on_workers(session, len(groups), partial(_read_group, groups, read, schema), from_arrow_schema(schema))
    wanted = [
        FittedColumn(name, "string", types[name], parsed=None if kind is None else f"parsed {place}")
        for place, (name, kind) in enumerate(zip(types, kinds, strict=True))
    ]
    texts_of = [F.col(f"c{place}").alias(one.name) for place, one in enumerate(wanted)]
    values_of = [F.col(f"v{place}").alias(one.parsed) for place, one in enumerate(wanted) if one.parsed]
    return rows.select(*texts_of, *values_of, CORRUPT, SOURCE_FILE, SOURCE_ROW), wanted


def _survey_group(groups: Sequence[Sequence[tuple[int, TextFile]]], number: int) -> "Iterator[pa.RecordBatch]":
    import pyarrow as pa

    for place, file in groups[number]:
        yield pa.record_batch([pa.array([place], pa.int32()), pa.array([survey(file).to_text()])], ["place", "survey"])


def _read_group(
    groups: Sequence[Sequence[tuple[TextFile, Sequence[str]]]],
    types: Mapping[str, str],
    schema: "pa.Schema",
    number: int,
) -> "Iterator[pa.RecordBatch]":
    for file, names in groups[number]:
        places = {name: str(place) for place, name in enumerate(names)}
        row = 1
        for table in file.tables():
            for batch in table.to_batches():
                yield _landing(batch, {name: places.get(name) for name in types}, types, file.file.name, row, schema)
                row += batch.num_rows


def _landing(
    batch: "pa.RecordBatch",
    places: Mapping[str, str | None],
    types: Mapping[str, str],
    file: str,
    first_row: int,
    schema: "pa.Schema",
) -> "pa.RecordBatch":
    import pyarrow as pa

    rows = batch.num_rows
    nothing = pa.nulls(rows, pa.string())
    texts_of, values_of = [], []
    for name, kind in types.items():
        place = places[name]
        left, values = _read_texts(nothing if place is None else batch.column(place), kind)
        texts_of.append(left)
        if values is not None:
            values_of.append(values)
    numbers = pa.array(range(first_row, first_row + rows), pa.int64())
    columns = [*texts_of, *values_of, batch.column(CORRUPT), pa.repeat(pa.scalar(file), rows), numbers]
    return pa.record_batch(columns, schema=schema)


def _read_texts(texts: "pa.Array", kind: str) -> "tuple[pa.Array, pa.Array | None]":
    """The texts that are still to be parsed, and the values of the others; None for a type that is parsed later."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if number_type(kind) is not None:
        values = exact_numbers(texts, kind)
        if values.null_count == texts.null_count:
            return pa.nulls(len(texts), pa.string()), values
        return pc.if_else(pc.is_valid(values), pa.scalar(None, pa.string()), texts), values
    arrow = arrow_type(kind)
    if arrow is None:
        return texts, None
    values = plain_values(texts, kind)
    return (texts, pa.nulls(len(texts), arrow)) if values is None else (pa.nulls(len(texts), pa.string()), values)
