"""ingest: take files, or a table of a database, into a bronze table, append-only and nothing twice.

Reads: files (CSV, TSV, JSON, Parquet; local or on S3) or a table over JDBC, and the ledger of what landed.
Writes: `bronze.<name>` and `ledger.bronze_<name>`, in one Write-Audit-Publish run, to the target ref.

A value lands exactly as the file has it, or as null with its text in `_raw`; a record that can't be taken
apart lands as text in `_corrupt`. A file that landed before, by content, is left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asgard.common.errors import InputDataError, RunError, UsageError
from asgard.common.names import RunId, TableName, check_run_id
from asgard.common.settings import redact_url
from asgard.common.spark import explain
from asgard.jobs.counted import counted
from asgard.jobs.entrypoint import run_job
from asgard.jobs.options import DirOption, JsonOption, RunIdOption, SetOption, settings_from
from asgard.lakehouse.attempt import Attempt
from asgard.lakehouse.declaration import Table, declare_table
from asgard.lakehouse.lake import Lakehouse, identifier
from asgard.lakehouse.loading import load_pipeline
from asgard.lakehouse.run import RunRequest, RunResult, execute
from asgard.lakehouse.sources.columns import INGESTED_AT, OWN, RAW, RUN_ID, SOURCE_FILE, SOURCE_ROW, Known
from asgard.lakehouse.sources.delimited import CORRUPT
from asgard.lakehouse.sources.files import SourceFile, find_files, hash_files, printable
from asgard.lakehouse.sources.formats import Format, TextOptions, format_of
from asgard.lakehouse.sources.ledger import Entry, entries_frame, landed, ledger_table
from asgard.lakehouse.sources.reading import Reading

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Say = Callable[[str], None]


@dataclass(frozen=True)
class Params:
    """What to ingest, and into which table.

    Attributes:
        table: to append to; made if it is not there.
        sources: local paths, `file://` or `s3://` addresses; files, folders or globs.
        format: of all files; None: as their names say.
        text: how text files are read.
        timestamp_format: Spark's pattern of the times in text; None: ISO 8601.
        allow_missing: whether a file may lack columns of the table, which are null then.
        run_id: the same one publishes at most once; None: a new one.
    """

    table: Table
    sources: tuple[str, ...] = ()
    format: Format | None = None
    text: TextOptions = field(default_factory=TextOptions)
    timestamp_format: str | None = None
    allow_missing: bool = False
    run_id: RunId | None = None

    def to_json(self) -> dict[str, Any]:
        """As the record keeps it: no secrets."""
        return {
            "table": str(self.table.name),
            "columns": self.table.columns,
            "sources": [redact_url(source) for source in self.sources],
            "format": self.format,
            "text": asdict(self.text),
            "timestamp_format": self.timestamp_format,
            "allow_missing": self.allow_missing,
        }


@dataclass(frozen=True)
class Landed:
    """What one attempt took in, and what it left out.

    Attributes:
        entries: the ledger's new entries.
        skipped: source -> why it was left out.
        misfits: rows with a value that its column does not hold as it was (its text is in `_raw`).
        corrupt: records that could not be taken apart (their text is in `_corrupt`).
    """

    entries: tuple[Entry, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict, hash=False)
    misfits: int = 0
    corrupt: int = 0

    @property
    def rows(self) -> int:
        """Rows that the table got."""
        return sum(entry.rows for entry in self.entries)


@dataclass(frozen=True)
class IngestResult:
    """How an ingest ended: the run, and what it took in."""

    run: RunResult
    landed: Landed

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        entries = [
            {"source": entry.source, "sha256": entry.digest, "bytes": entry.bytes, "rows": entry.rows}
            for entry in self.landed.entries
        ]
        counts = {"rows": self.landed.rows, "misfits": self.landed.misfits, "corrupt": self.landed.corrupt}
        return {**self.run.to_json(), **counts, "landed": entries, "skipped": dict(self.landed.skipped)}


def bronze_table(name: str, pipeline: str | None = None, columns: str | None = None) -> Table:
    """The table as the pipeline declares it, or an undeclared one.

    Args:
        name: `bronze.<name>`.
        pipeline: module or path of a pipeline that declares the table as a source.
        columns: DDL, for a table that no pipeline declares.

    Raises:
        UsageError: another layer, columns given twice, or the pipeline does not declare the table.
    """
    parsed = TableName.parse(name)
    if parsed.layer != "bronze":
        raise UsageError(f"{name} is not in bronze.", hint=f"Ingest fills bronze, e.g. bronze.{parsed.name}.")
    if pipeline is None:
        return declare_table(name, columns=columns, mode="append", module="asgard ingest")
    if columns is not None:
        raise UsageError("Columns are given, and a pipeline too.", hint="Declare the columns in the pipeline.")
    table = load_pipeline(pipeline)[parsed]
    if table.function is not None:
        raise UsageError(
            f"{name} is computed by {table.module}, so nothing is ingested into it.", hint="`asgard backfill` fills it."
        )
    return table


def run(params: Params, lake: Lakehouse, say: Say = lambda _line: None) -> IngestResult:
    """Ingest, as one run.

    Raises:
        UsageError: the parameters contradict each other.
        InputDataError: a file can't be read as described, or changed meanwhile.
        ContractError: the data does not fit the table's contract.
        AsgardError: anything else that kept the run from its end. In each case nothing was published.
    """
    with counted(lake, "ingest", say) as note:
        files = hash_files(find_files(params.sources, params.format, lake.settings, say))
        kind = params.format or _one_format(files)
        outcome = Landed()

        def work(attempt: Attempt) -> None:
            nonlocal outcome
            outcome = ingest_files(attempt, params, kind, files)

        request = RunRequest("ingest", params.run_id, params.to_json())
        return IngestResult(note(execute(lake, request, work, say)), outcome)


def ingest_files(attempt: Attempt, params: Params, kind: Format, files: Sequence[SourceFile]) -> Landed:
    """Write the files that have not landed yet, and the ledger of them, to the attempt's branch.

    Args:
        attempt: to write through.
        params: of the job.
        kind: format of the files.
        files: hashed.
    """
    table, ledger = params.table, ledger_table(params.table.name)
    fresh, skipped = without_landed(files, landed(attempt, ledger, [file.digest for file in files]))
    for name, reason in skipped.items():
        attempt.say(f"{printable(name)}: {reason}")
    if not fresh:
        return Landed(skipped=skipped)
    reading = Reading(str(table.name), kind, params.text, params.timestamp_format, params.allow_missing)
    rows = reading.rows(attempt.session, fresh, known_columns(attempt, table), attempt.say)
    attempt.write(replace(table, columns=None), with_provenance(rows, attempt))
    for file in fresh:
        if not kind.is_text:  # text was hashed as it was read
            file.require_unchanged()
    return _into_ledger(attempt, table, ledger, fresh, skipped)


def without_landed(
    files: Sequence[SourceFile], entries: Mapping[str, Entry]
) -> tuple[tuple[SourceFile, ...], dict[str, str]]:
    """The files to ingest, and for each other one why not.

    Args:
        files: hashed.
        entries: of the ledger, by digest.
    """
    fresh: dict[str, SourceFile] = {}
    skipped = {}
    for file in files:
        if file.digest in entries:
            entry = entries[file.digest]
            skipped[file.name] = (
                f"landed before, as {printable(entry.source)} at {entry.ingested_at:%Y-%m-%d %H:%M:%S} UTC "
                f"(run {entry.run_id})"
            )
        elif file.digest in fresh:
            skipped[file.name] = f"has the same content as {printable(fresh[file.digest].name)}"
        else:
            fresh[file.digest] = file
    return tuple(fresh.values()), skipped


def known_columns(attempt: Attempt, table: Table) -> Known:
    """The columns that are declared for a table, then those that it has beside them.

    Raises:
        UsageError: the declared columns are no DDL.
    """
    from pyspark.errors import PySparkException
    from pyspark.sql.types import StructType

    types: dict[str, str] = {}
    session = attempt.session
    if table.columns is not None:
        try:
            declared = StructType.fromDDL(table.columns)
        except PySparkException as error:
            raise UsageError(
                f"The columns of {table.name} can't be read: {table.columns!r}.",
                hint="Write them as in SQL: 'id bigint, name string, price decimal(10,2)'.",
            ) from error
        types = {one.name: one.dataType.simpleString() for one in declared.fields}
    if attempt.has(table.name):
        existing = session.table(identifier(table.name, attempt.branch)).schema
        spelled = {name.lower() for name in types}
        for one in existing.fields:
            name = table.renames.get(one.name, one.name)
            if name.lower() not in spelled and one.name not in OWN:
                types[name] = one.dataType.simpleString()
    return Known(types, table.renames, table.contract)


def with_provenance(rows: "DataFrame", attempt: Attempt) -> "DataFrame":
    """The rows, with when and by which run they came; ingest's own columns are the last."""
    from pyspark.sql import functions as F

    stamped = rows.withColumns({INGESTED_AT: F.lit(attempt.as_of), RUN_ID: F.lit(attempt.run_id)})
    return stamped.select(*(F.col(f"`{name}`") for name in stamped.columns if name not in OWN), *OWN)


def _into_ledger(
    attempt: Attempt, table: Table, ledger: Table, files: Sequence[SourceFile], skipped: Mapping[str, str]
) -> Landed:
    """Count what was written, file by file, and write it to the ledger."""
    counts = _written(attempt, table)
    entries = tuple(
        Entry(
            kind="file",
            source=file.name,
            rows=counts[file.name].rows if file.name in counts else 0,
            ingested_at=attempt.as_of,
            run_id=attempt.run_id,
            digest=file.digest,
            bytes=file.bytes,
        )
        for file in files
    )
    for name, count in counts.items():
        if count.rows != count.last_row:
            raise RunError(
                f"{printable(name)} has {count.last_row} records, but {count.rows} of them were written.",
                hint="Nothing was published. This is a defect: report it, with the branch's name.",
            )
    attempt.write(ledger, entries_frame(attempt, entries))
    misfits, corrupt = (sum(getattr(count, what) for count in counts.values()) for what in ("misfits", "corrupt"))
    outcome = Landed(entries, skipped, misfits, corrupt)
    attempt.say(f"{outcome.rows:,} rows from {len(entries)} files")
    if misfits:
        attempt.say(f"{misfits:,} rows have values that do not fit their column: see {RAW} in {table.name}")
    if corrupt:
        attempt.say(f"{corrupt:,} records could not be taken apart: see {CORRUPT} in {table.name}")
    return outcome


@dataclass(frozen=True)
class _Count:
    rows: int
    last_row: int
    misfits: int
    corrupt: int


def _written(attempt: Attempt, table: Table) -> dict[str, _Count]:
    """What this run wrote, counted on its branch, by source file."""
    from pyspark.sql import functions as F

    written = attempt.session.table(identifier(table.name, attempt.branch)).where(F.col(RUN_ID) == attempt.run_id)
    try:
        rows = (
            written.groupBy(SOURCE_FILE)
            .agg(F.count("*"), F.max(SOURCE_ROW), F.count_if(F.col(RAW).isNotNull()), F.count(CORRUPT))
            .collect()
        )
    except Exception as error:
        raise explain(error, f"Counting what was written to {table.name}") from error
    return {row[0]: _Count(*row[1:]) for row in rows}


def _one_format(files: Sequence[SourceFile]) -> Format:
    """The format that all files' names say.

    Raises:
        UsageError: they say several.
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
    format: Annotated[Format | None, typer.Option(help="Of all files. Default: as their names say.")] = None,
    delimiter: Annotated[str | None, typer.Option(help=r"Between fields; \t for a tab. Default: by format.")] = None,
    quote: Annotated[str, typer.Option(help="Around fields; '' for none.")] = '"',
    header: Annotated[bool, typer.Option("--header/--no-header", help="The first record names the columns.")] = True,
    encoding: Annotated[str, typer.Option(help="Of text files, e.g. latin-1.")] = "utf-8",
    null_value: Annotated[
        list[str] | None, typer.Option(help="An unquoted field with this text is null. Repeatable. Default: ''.")
    ] = None,
    timestamp_format: Annotated[
        str | None, typer.Option(help="Of times in text, e.g. 'dd.MM.yyyy HH:mm'. Default: ISO 8601.")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Files may lack columns of the table: null.")
    ] = False,
    run_id: RunIdOption = None,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Take files, or a database's table, into a bronze table; what landed before is left out."""
    from asgard.jobs.reporting import progress_lines, show_json, show_runs

    params = Params(
        table=bronze_table(table, pipeline, columns),
        sources=tuple(sources or ()),
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
        run_id=check_run_id(run_id) if run_id else None,
    )
    lake = Lakehouse.connect(settings_from(settings, directory), "asgard ingest")
    with progress_lines(quiet=as_json) as say:
        result = run(params, lake, say)
    if as_json:
        show_json(result.to_json())
    else:
        show_runs([result.run], as_json=False)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entrypoint of spark-submit."""
    return run_job(command, argv)


__all__ = ["InputDataError", "IngestResult", "Landed", "Params", "Path", "bronze_table", "command", "main", "run"]
