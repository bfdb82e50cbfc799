"""Read files as a bronze table's rows: its typed columns, and `_raw` with the texts that did not fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

from asgard.common.aliases import Say
from asgard.common.errors import InputDataError
from asgard.common.spark_utils import explained
from asgard.ingest.columns import FileColumns, TableColumns, all_columns, named
from asgard.ingest.files import SourceFile, printable
from asgard.ingest.fitting import NANOSECONDS, FittedColumn, fitted_columns
from asgard.ingest.formats import Format, TextOptions
from asgard.ingest.inference import Guess
from asgard.ingest.moments import columns_like, unlike
from asgard.ingest.nested import VOID, Growth, refused, settled
from asgard.ingest.parquet import group_footers, parquet_rows, read_footers
from asgard.ingest.text import Survey, TextFile, survey_all, text_rows
from asgard.lakehouse.declaring.declaration import Contract
from asgard.lakehouse.declaring.schema_changes import quoted, widens

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


_SHOWN_COLUMNS = 30


@dataclass(frozen=True)
class Reading:
    """How files are read into one table.

    Attributes:
        table: its name, for messages.
        kind: format of all of the files.
        options: of text files.
        timestamp_format: pattern of times in text; None: ISO 8601.
        allow_missing: whether a file may lack columns, which are null then.
    """

    table: str
    kind: Format
    options: TextOptions
    timestamp_format: str | None = None
    allow_missing: bool = False

    def rows(self, session: "SparkSession", files: Sequence[SourceFile], known: TableColumns, say: Say) -> "DataFrame":
        """The rows of the files: the table's columns, `_raw`, `_corrupt`, `_source_file`, `_source_row`.

        Args:
            session: to read with.
            files: hashed.
            known: the columns that the table has, or that are declared.
            say: called with one line about the new columns.

        Raises:
            InputDataError: a file can't be read.
            ContractError: a file's columns do not fit the table's.
            AsgardError: Spark failed; the message says why.
        """
        # Java does not compile methods larger than this: many columns would be cast several times slower.
        session.conf.set("spark.sql.codegen.hugeMethodLimit", "8000")
        read = self._parquet if self.kind is Format.PARQUET else self._text
        with explained(f"Reading the files for {self.table}"):
            return read(session, files, known, say)

    def _text(self, session: "SparkSession", files: Sequence[SourceFile], known: TableColumns, say: Say) -> "DataFrame":
        found = [self._with_header(file, known) for file in files]
        names = named(known, ((file.file.name, file.own) for file in found))
        surveys: list[Survey] = []
        if not self.kind.is_delimited:
            surveys = survey_all(session, found)
            found = [replace(file, own=seen.own) for file, seen in zip(found, surveys, strict=True)]
            names = named(known, ((file.file.name, file.own) for file in found))
        elif any(name not in known.types for one in names for name in one.names):
            surveys = survey_all(session, found)
        columns = self._columns(known, names)
        guesses = _joined(names, surveys)
        types = self._types(columns, known, names, surveys, guesses)
        if self.timestamp_format is not None:
            fresh = {name: guesses[name].samples for name in columns if name not in known.types}
            types |= self._moments(session, found, names, fresh, known, say)
        tell(known, types, say)
        by_pattern = self.timestamp_format is not None
        rows, wanted = text_rows(session, found, [one.names for one in names], types, by_pattern=by_pattern)
        return fitted_columns(rows, wanted, self.timestamp_format)

    def _with_header(self, file: SourceFile, known: TableColumns) -> TextFile:
        found = TextFile(file, self.kind, self.options)
        if not self.kind.is_delimited:
            return found
        first = found.first_record()
        if self.options.header:
            return TextFile(file, self.kind, self.options, first)
        if known.types and first and len(first) != len(known.types):
            raise InputDataError(
                f"{printable(file.name)} has {len(first)} fields, but {self.table} has {len(known.types)} columns.",
                hint="Without a header the fields are the table's columns, in order.",
            )
        own = tuple(known.types) or tuple(f"column_{place}" for place in range(1, len(first) + 1))
        return TextFile(file, self.kind, self.options, own)

    def _columns(self, known: TableColumns, files: Sequence[FileColumns]) -> tuple[str, ...]:
        if self.kind in (Format.JSON, Format.JSONL):  # keys with null may be missing: all files count as one
            together = tuple(dict.fromkeys(name for file in files for name in file.names))
            files = [FileColumns(", ".join(file.file for file in files), together)]
        elif self.kind.is_delimited:  # a file without even a header lacks no columns
            files = [file for file in files if file.names]
        columns = all_columns(self.table, known, files, allow_missing=self.allow_missing)
        if not columns:
            raise InputDataError(
                f"The files contain no columns, and {self.table} does not exist yet.",
                hint="Declare its columns: --columns 'id bigint, name string', or in a pipeline.",
            )
        return columns

    def _types(
        self,
        columns: Sequence[str],
        known: TableColumns,
        files: Sequence[FileColumns],
        surveys: Sequence[Survey],
        guesses: Mapping[str, Guess],
    ) -> dict[str, str]:
        if not known.types and not any(seen.rows for seen in surveys):
            raise InputDataError(
                f"{printable(files[0].file)} contains no row, so no types can be inferred for {self.table}.",
                hint="Declare its columns: --columns 'id bigint, name string', or in a pipeline.",
            )
        return {name: known.types.get(name) or self._inferred(guesses[name].type) for name in columns}

    def _inferred(self, kind: str) -> str:
        """The type of a new column. If a pattern is given, times that do not match it are text."""
        return "string" if kind == "timestamp" and self.timestamp_format is not None else kind

    def _moments(
        self,
        session: "SparkSession",
        files: Sequence[TextFile],
        names: Sequence[FileColumns],
        fresh: Mapping[str, Sequence[str]],
        known: TableColumns,
        say: Say,
    ) -> dict[str, str]:
        """The new columns whose texts all match the pattern; reports if there are none."""
        pattern = self.timestamp_format or ""
        likely = columns_like(session, fresh, pattern)
        rows, _ = text_rows(session, files, [one.names for one in names], dict.fromkeys(likely, "string"))
        others = unlike(rows, likely, pattern)
        for name, count in others.items():
            if count:
                say(f"{name} is text: {count:,} of its values do not match --timestamp-format {pattern!r}")
        found = {name: "timestamp" for name, count in others.items() if not count}
        if fresh and not found and "timestamp" not in known.types.values():
            say(f"no column of {self.table} has only values that match --timestamp-format {pattern!r}")
        return found

    def _parquet(
        self, session: "SparkSession", files: Sequence[SourceFile], known: TableColumns, say: Say
    ) -> "DataFrame":
        footers = read_footers(files)
        names = named(known, ((footer.file.name, footer.own) for footer in footers))
        columns = self._columns(known, names)
        groups = group_footers(footers, [one.names for one in names])
        parts = []
        for called, group in groups:
            rows, types = parquet_rows(session, group, called)
            parts.append(Part(rows, types, tuple(footer.file.name for footer in group)))
        order = [footer.file.name for footer in footers]
        return typed_rows(self.table, parts, order, columns, known, say, allow_missing=self.allow_missing)


@dataclass(frozen=True)
class Part:
    """Rows that have types already.

    Attributes:
        rows: of the sources.
        types: for each of the table's columns that the rows have: Spark's short name, `nanoseconds` or `void`.
        sources: the files that they come from, or the database table.
    """

    rows: "DataFrame"
    types: Mapping[str, str]
    sources: tuple[str, ...]


def _joined(files: Sequence[FileColumns], surveys: Sequence[Survey]) -> dict[str, Guess]:
    """The guess for each column over all files."""
    guesses: dict[str, Guess] = {}
    for file, seen in zip(files, surveys, strict=False):
        for name, guess in zip(file.names, seen.guesses, strict=True):
            guesses[name] = guesses[name].join(guess) if name in guesses else guess
    return guesses


def typed_rows(
    table: str,
    parts: Sequence[Part],
    order: Sequence[str],
    columns: Sequence[str],
    known: TableColumns,
    say: Say,
    *,
    allow_missing: bool = False,
) -> "DataFrame":
    """Convert rows that have types already to the types of a table's columns.

    Args:
        table: its name, for messages.
        parts: the rows.
        order: their sources, as they were given.
        columns: of the table, in order.
        known: the columns that have a type already; a new column gets the type of the rows.
        say: called with one line about the new columns.
        allow_missing: whether structs may lack fields, which are null then.

    Raises:
        ContractError: a column is of another kind than the table's, or its structs have other fields.
    """
    by_source = {source: part.types for part in parts for source in part.sources}
    types: dict[str, str | None] = dict(known.types)
    for source in order:
        for name, kind in by_source[source].items():
            growth = Growth(
                table,
                source,
                fixed=name in known.types and name not in known.undeclared,
                frozen=name in known.types and known.contract is Contract.FROZEN,
                allow_missing=allow_missing,
            )
            types[name] = growth.grown(name, types.get(name), landing_type(kind))
    reached = {name: settled(types.get(name)) for name in columns}
    tell(known, reached, say)
    fitted = [_fitted(table, part, reached) for part in parts]
    return reduce(lambda one, other: one.unionByName(other), fitted)


def _fitted(table: str, part: Part, types: Mapping[str, str]) -> "DataFrame":
    from pyspark.errors import AnalysisException
    from pyspark.sql import functions as F

    found = {name: kind for name, kind in part.types.items() if kind != VOID}
    rows = part.rows.withColumns({name: F.lit(None).cast(kind) for name, kind in types.items() if name not in found})
    wanted = [FittedColumn(name, found.get(name, kind), kind) for name, kind in types.items()]
    try:
        return fitted_columns(rows, wanted)
    except AnalysisException:
        for one in wanted:
            try:
                fitted_columns(rows.select(quoted(one.name)), [one])
            except AnalysisException as error:
                raise refused(table, part.sources[0], one.name, one.target, one.source) from error
        raise


def wider(old: str | None, new: str, *, fixed: bool) -> str:
    """A column's type so far; or the rows' type, if that is wider and the column's type is not declared."""
    if old is None or (not fixed and widens(old, new)):
        return new
    return old


def landing_type(kind: str) -> str:
    """The type of a new column for rows of a type: times without a zone are taken as UTC."""
    return "timestamp" if kind in (NANOSECONDS, "timestamp_ntz") else kind


def tell(known: TableColumns, types: Mapping[str, str], say: Say) -> None:
    """Report which columns are new."""
    fresh = [f"{name} {kind}" for name, kind in types.items() if name not in known.types]
    if fresh:
        more = f" and {len(fresh) - _SHOWN_COLUMNS} more" if len(fresh) > _SHOWN_COLUMNS else ""
        say(f"{'new columns' if known.types else 'columns'}: {', '.join(fresh[:_SHOWN_COLUMNS])}{more}")
