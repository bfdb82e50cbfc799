"""ingest: append files, or a table of a database, to a bronze table, each row once.

Reads: files (CSV, TSV, JSON, Parquet; local or on S3) or a table over JDBC, and the ledger of what landed.
Writes: `bronze.<name>` and `ledger.bronze_<name>`, in one Write-Audit-Publish run, to the target ref.

A value lands exactly as it is in the file, or as null with its text in `_raw`; a record that can't be parsed lands as
text in `_corrupt`. A file whose content landed before is skipped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial, reduce
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asgard.common.aliases import Say
from asgard.common.errors import UsageError
from asgard.common.names import RunId, TableName, check_run_id
from asgard.common.settings import redact_url
from asgard.common.spark_utils import explained
from asgard.ingest.arrivals import Arrivals
from asgard.ingest.database_rows import Landing, landing
from asgard.ingest.deliveries import OnChanged, changed_files, deliveries, settle_changed
from asgard.ingest.files import SourceFile, find_files, hash_files, printable
from asgard.ingest.formats import Format, TextOptions, format_of
from asgard.ingest.jdbc import Database, JdbcRows, JdbcSource
from asgard.ingest.landing import (
    Count,
    count_written,
    known_columns,
    never_read,
    require_complete,
    with_provenance,
)
from asgard.ingest.ledger import LedgerEntry, entries_frame, ledger_table, watermark, without_landed
from asgard.ingest.moments import require_pattern
from asgard.ingest.own_columns import CORRUPT, RAW
from asgard.ingest.reading import Reading
from asgard.ingest.relanding import landed_rows, not_landed
from asgard.jobs.counted import counted
from asgard.jobs.entrypoint import run_job
from asgard.jobs.ingest_effects import NamedPipeline, count_arrivals, say_what_is_stale
from asgard.jobs.options import DirOption, JsonOption, RunIdOption, SetOption, TakeOverOption, settings_from
from asgard.lakehouse.catalog.lake import Lakehouse, identifier
from asgard.lakehouse.declaring.declaration import Table, declare_table
from asgard.lakehouse.declaring.loading import load_pipeline
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.run import RunRequest, RunResult, execute

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


_SHOWN_FILES = 10
_UNDECLARED = "asgard ingest"
"""Where a table is declared that no pipeline is given for."""


@dataclass(frozen=True)
class Params:
    """What to ingest, and into which table.

    Attributes:
        table: the table to append to; created if it does not exist.
        sources: local paths, `file://` or `s3://` addresses of files, folders or globs; exclusive with `database`.
        database: a table or a query to read over JDBC.
        format: format of all files; None takes it from the file names.
        text: how text files are read.
        timestamp_format: Spark's pattern of times in text; None for ISO 8601.
        allow_missing: whether a file may lack columns of the table, which become null.
        on_changed: what becomes of the old rows of a file that changed under its name.
        take_over: also append to a table that another pipeline filled.
        run_id: a run id is published at most once; None for a new one.
        pipeline: that declares the table, to tell what becomes stale; None for none.
        pipeline_path: how a command line names it; "" for by its own name.
    """

    table: Table
    sources: tuple[str, ...] = ()
    database: JdbcSource | None = None
    format: Format | None = None
    text: TextOptions = field(default_factory=TextOptions)
    timestamp_format: str | None = None
    allow_missing: bool = False
    on_changed: OnChanged = OnChanged.KEEP
    take_over: bool = False
    run_id: RunId | None = None
    pipeline: Pipeline | None = None
    pipeline_path: str = ""

    def __post_init__(self) -> None:
        if self.timestamp_format is not None:
            require_pattern(self.timestamp_format)

    @property
    def named_pipeline(self) -> NamedPipeline | None:
        """The pipeline, and how a command line names it."""
        return NamedPipeline(self.pipeline_path or self.pipeline.name, self.pipeline) if self.pipeline else None

    def to_json(self) -> dict[str, Any]:
        """Plain values for the run's record, without secrets."""
        return {
            "table": str(self.table.name),
            "columns": self.table.columns,
            "sources": [redact_url(source) for source in self.sources],
            "database": asdict(self.database) if self.database else None,
            "format": self.format,
            "text": asdict(self.text),
            "timestamp_format": self.timestamp_format,
            "allow_missing": self.allow_missing,
            "on_changed": self.on_changed,
        }


@dataclass(frozen=True)
class Landed:
    """What one attempt ingested, and what it skipped.

    Attributes:
        entries: the ledger's new entries.
        skipped: source -> why it was skipped.
        misfits: rows with a value that does not fit its column (its text is in `_raw`).
        corrupt: records that could not be parsed (their text is in `_corrupt`).
        stray: corrupt records that contain a carriage return without a line feed.
        arrivals: the intervals of time that the rows are of; None if the table has no known column of time.
    """

    entries: tuple[LedgerEntry, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict, hash=False)
    misfits: int = 0
    corrupt: int = 0
    stray: int = 0
    arrivals: Arrivals | None = None

    @property
    def rows(self) -> int:
        """Number of rows added to the table."""
        return sum(entry.rows for entry in self.entries)


@dataclass(frozen=True)
class IngestResult:
    """The result of an ingest: its run, what it ingested, and what that made stale (None if that is not known)."""

    run: RunResult
    landed: Landed
    made_stale: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        entries = [
            {"source": entry.source, "sha256": entry.digest, "bytes": entry.bytes, "rows": entry.rows}
            for entry in self.landed.entries
        ]
        counts = {"rows": self.landed.rows, "misfits": self.landed.misfits, "corrupt": self.landed.corrupt}
        arrivals = self.landed.arrivals.to_json() if self.landed.arrivals else None
        landed = {"landed": entries, "skipped": dict(self.landed.skipped), "arrivals": arrivals}
        return {**self.run.to_json(), **counts, **landed, "made_stale": self.made_stale}


def bronze_table(name: str, pipeline: Pipeline | None = None, columns: str | None = None) -> Table:
    """The table as the pipeline declares it, or without a pipeline, an undeclared table.

    Args:
        name: `bronze.<name>`.
        pipeline: that declares the table as a source.
        columns: DDL, for a table that no pipeline declares.

    Raises:
        UsageError: the table is not in bronze, columns and a pipeline are given, or the pipeline does not declare the
            table as a source.
    """
    parsed = TableName.parse(name)
    if parsed.layer != "bronze":
        raise UsageError(
            f"{name} is not in bronze.", hint=f"Ingest writes only bronze tables, e.g. bronze.{parsed.name}."
        )
    if pipeline is None:
        return declare_table(name, columns=columns, mode="append", module=_UNDECLARED)
    if columns is not None:
        raise UsageError("Both columns and a pipeline are given.", hint="Declare the columns in the pipeline.")
    table = pipeline[parsed]
    if table.function is not None:
        raise UsageError(
            f"{name} is computed by {table.module}, so it can't be ingested.", hint="`asgard backfill` computes it."
        )
    return table


def run(params: Params, lake: Lakehouse, say: Say = lambda _line: None) -> IngestResult:
    """Ingest, as one run.

    Raises:
        UsageError: the parameters contradict each other.
        InputDataError: a file can't be read as declared, or changed during the ingest.
        ContractError: the data does not fit the table's contract.
        AsgardError: the run failed for another reason. In every case nothing was published.
    """
    from asgard.lakehouse.runs.identity import settled
    from asgard.lakehouse.runs.takeover import foreign_owners, require_own

    _require_one_source(files=bool(params.sources), database=params.database is not None)
    with counted(lake, "ingest", say) as note:
        lake.reach()
        if params.run_id is not None:
            settled(lake, params.run_id, "ingest", params.to_json(), datetime.now(UTC))
        if not params.take_over:
            require_own(params.table.pipeline, foreign_owners(lake, [params.table], lake.target))
        take = _from_files(params, lake, say) if params.database is None else _from_database(params)
        outcome = Landed()

        def work(attempt: Attempt) -> None:
            nonlocal outcome
            outcome = take(attempt)

        request = RunRequest("ingest", params.run_id, params.to_json(), take_over=params.take_over)
        result = note(execute(lake, request, work, say))
        if not outcome.entries:
            return IngestResult(result, outcome)
        stale = say_what_is_stale(lake, params.table.name, result, params.named_pipeline, outcome.arrivals, say)
        return IngestResult(result, outcome, stale)


def _require_one_source(*, files: bool, database: bool) -> None:
    if files and database:
        raise UsageError("Both files and a database are given.", hint="Ingest one, then the other.")
    if not files and not database:
        raise UsageError("Neither files nor a database are given.", hint="Name files, or give --jdbc-url.")


def _from_files(params: Params, lake: Lakehouse, say: Say) -> Callable[[Attempt], Landed]:
    found = find_files(params.sources, params.format, lake.settings, say)
    say(f"hashing {len(found)} {'file' if len(found) == 1 else 'files'}, {sum(file.size for file in found):,} bytes")
    files = hash_files(found)
    kind = params.format or _one_format(files)
    return lambda attempt: ingest_files(attempt, params, kind, files)


def _from_database(params: Params) -> Callable[[Attempt], Landed]:
    return lambda attempt: ingest_database(attempt, params)


def ingest_files(attempt: Attempt, params: Params, kind: Format, files: Sequence[SourceFile]) -> Landed:
    """Write the files that have not landed yet, and their ledger entries, to the attempt's branch.

    Args:
        attempt: the attempt that writes.
        params: the job's parameters.
        kind: format of the files.
        files: the files with their hashes.
    """
    table, ledger = params.table, ledger_table(params.table.name)
    # A dropped table contains nothing, even if its ledger has entries.
    known = deliveries(attempt, ledger, files) if attempt.has(table.name) else []
    fresh, skipped = without_landed(files, {str(entry.digest): entry for entry in known})
    settle_changed(attempt, table, ledger, changed_files(fresh, known), params.on_changed)
    for name, reason in list(skipped.items())[:_SHOWN_FILES]:
        attempt.say(f"{printable(name)}: {reason}")
    if len(skipped) > _SHOWN_FILES:
        attempt.say(f"{len(skipped) - _SHOWN_FILES} more files had landed before")
    if not fresh:
        return Landed(skipped=skipped)
    reading = Reading(str(table.name), kind, params.text, params.timestamp_format, params.allow_missing)
    rows = reading.rows(attempt.session, fresh, known_columns(attempt, table), attempt.say)
    attempt.write(replace(table, columns=None), with_provenance(rows, attempt))
    for file in fresh:
        if not kind.is_text:  # text files are hashed while they are read
            file.require_unchanged()
    counts = count_written(attempt, table.name)
    require_complete(counts)
    if params.timestamp_format is not None and kind.is_text:
        for name, text in never_read(attempt, table.name).items():
            attempt.say(
                f"no value of {name} matches --timestamp-format {params.timestamp_format!r}, e.g. {text[:80]!r}"
            )
    new = tuple(
        LedgerEntry(
            kind="file",
            source=file.name,
            rows=counts.get(file.name, Count()).rows,
            ingested_at=attempt.as_of,
            run_id=attempt.run_id,
            digest=file.digest,
            bytes=file.size,
        )
        for file in fresh
    )
    attempt.write(ledger, entries_frame(attempt, new))
    return _reported(attempt, params, Landed(new, skipped, *_sums(counts)))


def ingest_database(attempt: Attempt, params: Params) -> Landed:
    """Write the rows of a database's table or query that have not landed yet, and the cursor's new watermark.

    Without a cursor column, all rows are written each time.
    """
    table, ledger, source = params.table, ledger_table(params.table.name), params.database
    if source is None:
        raise UsageError("No database is given.", hint="Give --jdbc-url.")
    reached = None
    if source.cursor and attempt.has(table.name):
        reached = watermark(attempt, ledger, source.name, source.cursor)
    found = Database(attempt.session, source, attempt.lake.settings.jdbc_password).read(reached)
    if found is None:
        attempt.say(f"{source.name} has no row")
        return Landed(skipped={source.name: "has no row"})
    known = known_columns(attempt, table)
    name, missing = str(table.name), params.allow_missing
    land = landing(name, source.name, found.reads, known, attempt.say, allow_missing=missing)
    with _read_again(attempt, table, source, found, land) as late:
        if found.fresh is None and late is None:
            reason = f"has no row with {source.cursor} above {reached}, and none at or below that has not landed"
            attempt.say(f"{source.name} {reason}")
            return Landed(skipped={source.name: reason})
        parts = [late] if late is not None else []
        if found.fresh is not None:
            parts.append(land.rows(found.fresh))
        rows = reduce(lambda one, other: one.unionByName(other), parts)
        attempt.write(replace(table, columns=None), with_provenance(rows, attempt))
    counts = count_written(attempt, table.name)
    entry = LedgerEntry(
        kind="jdbc",
        source=source.name,
        rows=sum(count.rows for count in counts.values()),
        ingested_at=attempt.as_of,
        run_id=attempt.run_id,
        cursor_column=source.cursor,
        cursor_value=found.watermark,
    )
    attempt.write(ledger, entries_frame(attempt, [entry]))
    return _reported(attempt, params, Landed((entry,), {}, *_sums(counts)))


@contextmanager
def _read_again(
    attempt: Attempt, table: Table, source: JdbcSource, found: JdbcRows, land: Landing
) -> "Iterator[DataFrame | None]":
    """The rows at or below the watermark that have not landed, cached while the block runs; None if there are none."""
    if found.again is None:
        yield None
        return
    cursor = next(name for name, read in zip(land.names, land.reads, strict=True) if read.column.name == source.cursor)
    before = attempt.session.table(identifier(table.name, attempt.branch))
    since = (cursor, found.again_from) if found.again_from is not None else None
    landed_before = landed_rows(before, source.name, table.renames, since)
    late = not_landed(land.rows(found.again), landed_before, land.names).persist()
    try:
        with explained(f"Reading {source.name}"):
            count = late.count()
        if count:
            attempt.say(f"{count:,} rows at or below the last {source.cursor} have not landed yet")
        yield late if count else None
    finally:
        late.unpersist()


def _sums(counts: Mapping[str, Count]) -> tuple[int, int, int]:
    of = counts.values()
    return sum(one.misfits for one in of), sum(one.corrupt for one in of), sum(one.stray for one in of)


def _reported(attempt: Attempt, params: Params, landed: Landed) -> Landed:
    table = params.table
    if table.module == _UNDECLARED:
        attempt.keep_description(table.name)
    attempt.details["files"] = [
        {"path": entry.source, "sha256": entry.digest, "rows": entry.rows} for entry in landed.entries
    ]
    attempt.say(f"{landed.rows:,} rows from {len(landed.entries)} {landed.entries[0].kind} source(s)")
    if landed.misfits:
        attempt.say(f"{landed.misfits:,} rows have values that do not fit their column: see {RAW} in {table.name}")
    if landed.corrupt:
        attempt.say(f"{landed.corrupt:,} records could not be parsed: see {CORRUPT} in {table.name}")
    if landed.stray:
        attempt.say(
            f"{landed.stray:,} of them contain a single carriage return, though lines end with a line feed: a value "
            "that contains one must be quoted"
        )
    arrived = count_arrivals(attempt, table, params.pipeline)
    return replace(landed, arrivals=arrived) if arrived else landed


def _one_format(files: Sequence[SourceFile]) -> Format:
    """The format that all file names indicate.

    Raises:
        UsageError: the file names indicate several formats, or none.
    """
    first: dict[Format, str] = {}
    for file in files:
        kind = format_of(file.name)
        if kind is not None:
            first.setdefault(kind, file.name)
    if len(first) != 1:
        shown = " and ".join(f"{kind} ({printable(name)})" for kind, name in first.items()) or "none"
        raise UsageError(f"The files have several formats: {shown}.", hint="Ingest one format at a time.")
    return next(iter(first))


def command(
    table: Annotated[str, typer.Argument(help="The table: bronze.<name>.")],
    sources: Annotated[
        list[str] | None, typer.Argument(help="Files, folders or globs; local paths or s3://bucket/...")
    ] = None,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", help="The pipeline that declares the table: a module or a path.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="The table's columns: 'id bigint, name string'. Default: inferred.")
    ] = None,
    format: Annotated[Format | None, typer.Option(help="Format of all files. Default: by their names.")] = None,
    delimiter: Annotated[
        str | None, typer.Option(help=r"Delimiter of fields; \t for a tab. Default: by format.")
    ] = None,
    quote: Annotated[str, typer.Option(help="Quote around fields; '' for none.")] = '"',
    header: Annotated[bool, typer.Option("--header/--no-header", help="The first record names the columns.")] = True,
    encoding: Annotated[str, typer.Option(help="Encoding of text files, e.g. latin-1.")] = "utf-8",
    null_value: Annotated[
        list[str] | None, typer.Option(help="An unquoted field with this text is null. Repeatable. Default: ''.")
    ] = None,
    timestamp_format: Annotated[
        str | None, typer.Option(help="Pattern of times in text, e.g. 'dd.MM.yyyy HH:mm'. Default: ISO 8601.")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Files may lack columns of the table, which become null.")
    ] = False,
    on_changed: Annotated[
        OnChanged,
        typer.Option(help="For a file that changed since it landed: keep its old rows, replace or refuse."),
    ] = OnChanged.KEEP,
    jdbc_url: Annotated[
        str | None, typer.Option(help="Read a database: jdbc:postgresql://host/db. Password: setting jdbc_password.")
    ] = None,
    jdbc_table: Annotated[str | None, typer.Option(help="The database's table: schema.table.")] = None,
    jdbc_query: Annotated[str | None, typer.Option(help="A SELECT instead of a table.")] = None,
    jdbc_user: Annotated[str | None, typer.Option(help="The database's user.")] = None,
    cursor: Annotated[
        str | None, typer.Option(help="Read only rows not landed yet, from this column's last published value on.")
    ] = None,
    overlap: Annotated[
        str | None, typer.Option(help="Also look this far below that value, for late rows: '2 hours', or 100.")
    ] = None,
    partition_column: Annotated[
        str | None, typer.Option(help="Read in parts by this column: a number, a date or a time.")
    ] = None,
    partitions: Annotated[int, typer.Option(min=1, help="Number of parts.")] = 4,
    lower_bound: Annotated[str | None, typer.Option(help="Lower bound of the parts; rows below are read too.")] = None,
    upper_bound: Annotated[str | None, typer.Option(help="Upper bound of the parts; rows above are read too.")] = None,
    fetch_size: Annotated[int, typer.Option(min=1, help="Rows fetched from the database at once.")] = 10_000,
    take_over: TakeOverOption = False,
    run_id: RunIdOption = None,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Ingest files or a database table into bronze."""
    from asgard.jobs.reporting import progress_lines, show_json, show_runs

    only_of_databases = {
        "--jdbc-table": jdbc_table,
        "--jdbc-query": jdbc_query,
        "--jdbc-user": jdbc_user,
        "--cursor": cursor,
        "--overlap": overlap,
        "--partition-column": partition_column,
        "--lower-bound": lower_bound,
        "--upper-bound": upper_bound,
        "--partitions": None if partitions == JdbcSource.partitions else partitions,
        "--fetch-size": None if fetch_size == JdbcSource.fetch_size else fetch_size,
    }
    database = None
    if jdbc_url is None:
        given = [option for option, value in only_of_databases.items() if value is not None]
        if given:
            raise UsageError(f"{', '.join(given)} without --jdbc-url.", hint="Name the database: --jdbc-url jdbc:...")
    else:
        _require_one_source(files=bool(sources), database=True)
        database = JdbcSource(
            url=jdbc_url,
            table=jdbc_table,
            query=jdbc_query,
            user=jdbc_user,
            cursor=cursor,
            overlap=overlap,
            partition_column=partition_column,
            partitions=partitions,
            lower=lower_bound,
            upper=upper_bound,
            fetch_size=fetch_size,
        )
    params = partial(
        Params,
        sources=tuple(sources or ()),
        database=database,
        format=format,
        text=TextOptions(
            delimiter="\t" if delimiter == r"\t" else delimiter,
            quote=quote,
            header=header,
            encoding=encoding,
            null_values=tuple(null_value) if null_value else ("",),
        ),
        timestamp_format=timestamp_format,
        allow_missing=allow_missing,
        on_changed=on_changed,
        take_over=take_over,
        run_id=check_run_id(run_id) if run_id else None,
        pipeline_path=pipeline or "",
    )
    lake = Lakehouse(settings_from(settings, directory), "asgard ingest")
    with progress_lines(quiet=as_json) as say, counted(lake, "ingest", say):
        declared = load_pipeline(pipeline) if pipeline else None
        result = run(params(table=bronze_table(table, declared, columns), pipeline=declared), lake, say)
    if as_json:
        show_json(result.to_json())
    else:
        show_runs([result.run], as_json=False)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entrypoint of spark-submit."""
    return run_job(command, argv)
