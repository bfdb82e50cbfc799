"""Training sets: labels with the features that were known at each label's time, from pinned snapshots."""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.errors import AuditFailedError, UsageError
from asgard.common.git import code_version
from asgard.common.names import TableName
from asgard.features import duck
from asgard.features.duck import TIME, quoted, text
from asgard.features.labels import Labels, load_labels, require_distinct
from asgard.features.pinned import PinnedTable, PinnedView
from asgard.features.types import to_arrow
from asgard.features.views import OnDemandFeature
from asgard.lakehouse.attempt import Attempt
from asgard.lakehouse.declaration import WriteMode, declare_table
from asgard.lakehouse.holds import hold, hold_name, release
from asgard.lakehouse.lake import Lakehouse
from asgard.lakehouse.run import RunRequest, execute

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

Say = Callable[[str], None]
DIGEST = "sha256 of the sorted md5s of the rows' texts (version 1)"
_BATCH_ROWS = 100_000


class Engine(StrEnum):
    """What joins: DuckDB on this machine, or Spark."""

    AUTO = "auto"
    DUCKDB = "duckdb"
    SPARK = "spark"


@dataclass(frozen=True)
class SetRequest:
    """What a training set is made of.

    Attributes:
        views: pinned, in the order of their columns.
        labels: entities and times.
        on_demand: functions to compute over the views' features.
        full_names: name features `view__feature`.
        engine: what joins; `auto` chooses by size.
    """

    views: tuple[PinnedView, ...]
    labels: Labels
    on_demand: tuple[OnDemandFeature, ...] = ()
    full_names: bool = False
    engine: Engine = Engine.AUTO

    def columns(self, label_columns: Sequence[str]) -> list[list[tuple[str, str]]]:
        """For each view (feature, column of the set).

        Raises:
            UsageError: two columns would have one name.
        """
        names = [
            [(name, f"{pinned.name}__{name}" if self.full_names else name) for name in pinned.view.feature_names]
            for pinned in self.views
        ]
        made = [column for pairs in names for _, column in pairs]
        require_distinct([*label_columns, *made, *(function.name for function in self.on_demand)])
        return names


@dataclass(frozen=True)
class Audit:
    """What was counted of a set before it was put in place.

    Attributes:
        rows: of the set.
        labels: that went in.
        leaks: rows, by view, whose feature is newer than their label.
        missing: rows, by view, for which no feature row counted.
    """

    rows: int
    labels: int
    leaks: Mapping[str, int] = field(hash=False)
    missing: Mapping[str, int] = field(hash=False)

    def require_passed(self) -> None:
        """Refuse a set that must not be used.

        Raises:
            AuditFailedError: a feature is newer than its label, or rows were lost or doubled.
        """
        leaks = {name: count for name, count in self.leaks.items() if count}
        if leaks:
            raise AuditFailedError(
                "Features of the set are newer than their labels: "
                + ", ".join(f"{count:,} rows of {name}" for name, count in leaks.items())
                + ".",
                hint="This is a defect of the join: report it. Nothing was written.",
            )
        if self.rows != self.labels:
            raise AuditFailedError(
                f"{self.labels:,} labels went in, {self.rows:,} rows came out.",
                hint="This is a defect of the join: report it. Nothing was written.",
            )


@dataclass(frozen=True)
class Built:
    """A training set on disk.

    Attributes:
        path: its Parquet file, or folder of Parquet files.
        manifest: what it was made of; also beside it, as `<path>.manifest.json`.
    """

    path: Path
    manifest: Mapping[str, Any] = field(hash=False)


def choose_engine(lake: Lakehouse, request: SetRequest) -> tuple[Engine, str]:
    """What joins, and why."""
    if request.engine is not Engine.AUTO:
        return request.engine, "asked for"
    rows, limit = sum(pinned.table.rows for pinned in request.views), lake.settings.point_in_time_rows
    if rows > limit:
        return Engine.SPARK, f"{rows:,} feature rows are more than {limit:,} (point_in_time_rows)"
    return Engine.DUCKDB, f"{rows:,} feature rows are no more than {limit:,} (point_in_time_rows)"


def build(lake: Lakehouse, request: SetRequest, out: Path, *, overwrite: bool = False, say: Say = print) -> Built:
    """Make a training set and put it in place, with its manifest and its holds.

    Args:
        lake: where the snapshots are.
        request: what it is made of.
        out: Parquet file (DuckDB) or folder (Spark) to write.
        overwrite: replace what is there.
        say: called with one line about each step.

    Raises:
        UsageError: labels, views or columns that don't fit; something is at `out` already.
        AuditFailedError: the set would leak; nothing is written.
    """
    if out.exists() and not overwrite:
        raise UsageError(f"{out} is there already.", hint="Say --overwrite, or choose another --out.")
    if out.is_dir() and not _manifest_path(out).exists():
        raise UsageError(f"{out} is a folder, but no training set.", hint="Choose another --out.")
    engine, why = choose_engine(lake, request)
    say(f"joining by {engine}: {why}")
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f"{out.name}.unfinished-{secrets.token_hex(4)}")
    started = time.monotonic()
    with _held(lake, request) as holds, duck.connect(lake.settings) as connection:
        try:
            table = request.labels.pinned(lake)
            labels, label_columns = load_labels(connection, request.labels, table, request.views)
            names = request.columns(label_columns)
            if engine is Engine.DUCKDB:
                audit = _join_here(connection, labels, label_columns, request, names, unfinished)
            else:
                from asgard.features.spark_join import join_on_spark

                audit = join_on_spark(lake, connection, labels, label_columns, request, names, unfinished)
            audit.require_passed()
            say(f"{audit.rows:,} rows, no feature newer than its label")
            manifest = {
                **_described(lake, request, label_columns, names, table),
                "engine": {"used": str(engine), "why": why},
                "holds": holds,
                "rows": audit.rows,
                "without_features": dict(audit.missing),
                "columns": _types(connection, unfinished),
                "digest": digest(connection, unfinished),
                "digest_method": DIGEST,
                "seconds": round(time.monotonic() - started, 3),
            }
            _put_in_place(unfinished, out)
        except BaseException:
            _remove(unfinished)
            raise
    _manifest_path(out).write_text(json.dumps(manifest, indent=1, default=str) + "\n", encoding="utf-8")
    return Built(out, manifest)


def manifest_of(path: Path) -> Mapping[str, Any] | None:
    """The manifest of a set on disk; None where there is no set."""
    there = path.exists() and _manifest_path(path).exists()
    return json.loads(_manifest_path(path).read_text(encoding="utf-8")) if there else None


def _manifest_path(path: Path) -> Path:
    return Path(f"{path}.manifest.json")


def join_to_file(lake: Lakehouse, request: SetRequest, out: Path) -> Audit:
    """Only the join, by DuckDB, and its audit: no manifest, no digest, no hold. It replaces what is at `out`.

    Raises:
        UsageError: labels, views or columns that don't fit.
        AuditFailedError: the set would leak; nothing is written.
    """
    with duck.connect(lake.settings) as connection:
        labels, columns = load_labels(connection, request.labels, request.labels.pinned(lake), request.views)
        return _join_here(connection, labels, columns, request, request.columns(columns), out)


def build_table(lake: Lakehouse, request: SetRequest, table: TableName, say: Say = print) -> Mapping[str, Any]:
    """Make a training set and publish it as a table, through a run.

    Returns:
        The manifest, which is also in the run's record.

    Raises:
        AsgardError: as `build`; or the run's own.
    """
    declared = declare_table(
        str(table),
        mode=WriteMode.REPLACE,
        description="A training set: labels with the features that were known at each label's time.",
        module="asgard.features.training_set",
    )
    manifest: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="asgard-set-", dir=lake.settings.project_dir) as folder:
        built = build(lake, request, Path(folder) / "set.parquet", say=say)

        def work(attempt: Attempt) -> None:
            attempt.details["training_set"] = built.manifest
            attempt.write(declared, attempt.session.read.parquet(built.path.absolute().as_uri()))

        job = RunRequest("training-set", params={"labels": request.labels.source, "digest": built.manifest["digest"]})
        result = execute(lake, job, work, say)
        manifest = {**built.manifest, "table": str(table), "run_id": result.run_id, "commit": result.commit}
    return manifest


def _join_here(
    connection: "DuckDBPyConnection",
    labels: str,
    label_columns: Sequence[str],
    request: SetRequest,
    names: Sequence[Sequence[tuple[str, str]]],
    out: Path,
) -> Audit:
    sql = duck.join_sql(
        lambda table, columns: duck.rows_of(connection, table, columns),
        labels,
        (*label_columns, TIME),
        request.views,
        names,
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE joined AS {sql}")
    audit = _audited(connection, labels, request)
    audit.require_passed()
    columns = [*label_columns, *(column for pairs in names for _, column in pairs)]
    chosen = f"SELECT {', '.join(map(quoted, columns))} FROM joined"
    if not request.on_demand:
        connection.execute(f"COPY ({chosen}) TO {text(str(out))} (FORMAT parquet, COMPRESSION zstd)")
        return audit
    import pyarrow.parquet as pq

    reader = connection.sql(chosen).to_arrow_reader(_BATCH_ROWS)
    schema = with_on_demand_schema(reader.schema, request)
    with pq.ParquetWriter(str(out), schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(with_on_demand(batch, request, names))
    return audit


def _audited(connection: "DuckDBPyConnection", labels: str, request: SetRequest) -> Audit:
    counts = ["count(*)"]
    for number, pinned in enumerate(request.views):
        known = f" OR __created_{number} > {TIME}" if pinned.view.created_timestamp else ""
        counts += [f"count(*) FILTER (__event_{number} > {TIME}{known})"]
        counts += [f"count(*) FILTER (__event_{number} IS NULL)"]
    row = connection.execute(f"SELECT {', '.join(counts)} FROM joined").fetchall()[0]
    total = connection.execute(f"SELECT count(*) FROM {labels}").fetchall()[0]
    views = [pinned.name for pinned in request.views]
    return Audit(row[0], total[0], dict(zip(views, row[1::2], strict=True)), dict(zip(views, row[2::2], strict=True)))


def with_on_demand(
    batch: "pa.RecordBatch", request: SetRequest, names: Sequence[Sequence[tuple[str, str]]]
) -> "pa.RecordBatch":
    """The batch and the on-demand features' columns.

    Raises:
        UsageError: a function gave something that does not fit.
    """
    import pyarrow as pa

    column_of = {
        f"{pinned.name}:{feature}": column
        for pinned, pairs in zip(request.views, names, strict=True)
        for feature, column in pairs
    }
    arrays, fields = list(batch.columns), list(batch.schema)
    for function in request.on_demand:
        given = {name: batch.column(column_of[reference]) for name, reference in function.inputs.items()}
        lacking = [name for name in function.request if name not in batch.schema.names]
        if lacking:
            raise UsageError(
                f"On-demand feature {function.name} needs {', '.join(lacking)}, which the labels lack.",
                hint="Add the column to the labels, or leave its views out.",
            )
        given |= {name: batch.column(name) for name in function.request}
        result = function.function(**{name: column.to_pandas() for name, column in given.items()})
        try:
            array = pa.Array.from_pandas(result, type=to_arrow(function.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
            raise UsageError(
                f"On-demand feature {function.name} gave no {function.type}: {str(error).splitlines()[0]}",
                hint="Return one pandas Series of its type.",
            ) from error
        if len(array) != batch.num_rows:
            raise UsageError(
                f"On-demand feature {function.name} gave {len(array)} values for {batch.num_rows} rows.",
                hint="Return one value for each row.",
            )
        arrays.append(array)
        fields.append(pa.field(function.name, array.type))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def with_on_demand_schema(schema: "pa.Schema", request: SetRequest) -> "pa.Schema":
    """The schema of what `with_on_demand` gives."""
    import pyarrow as pa

    return pa.schema([*schema, *(pa.field(each.name, to_arrow(each.type)) for each in request.on_demand)])


def digest(connection: "DuckDBPyConnection", path: Path) -> str:
    """A digest of a set's rows, whatever their order and whichever engine wrote them."""
    source = _reading(path)
    columns = sorted(row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall())
    values = ", ".join(f"coalesce({quoted(name)}::VARCHAR, chr(0))" for name in columns)
    found = hashlib.sha256("\x1f".join(columns).encode())
    result = connection.execute(f"SELECT md5(concat_ws(chr(31), {values})) AS row FROM {source} ORDER BY row")
    while rows := result.fetchmany(_BATCH_ROWS):
        found.update("".join(row[0] for row in rows).encode())
    return found.hexdigest()


def _types(connection: "DuckDBPyConnection", path: Path) -> dict[str, str]:
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {_reading(path)}").fetchall()}


def _reading(path: Path) -> str:
    files = duck.path_text(str(path), "*.parquet" if path.is_dir() else "")
    return f"read_parquet({files}, hive_partitioning = false)"


@contextmanager
def _held(lake: Lakehouse, request: SetRequest) -> Iterator[list[str]]:
    """Hold every snapshot that the set is made of; given up again if the set does not come about."""
    owner = f"{datetime.now(UTC):%Y%m%dt%H%M%S}-{secrets.token_hex(3)}"
    commits = dict.fromkeys(pinned.table.at.commit for pinned in request.views)
    names = [hold_name("set", owner, str(number)) for number, _ in enumerate(commits)]
    try:
        for name, commit in zip(names, commits, strict=True):
            hold(lake, name, commit)
        yield list(names)
    except BaseException:
        for name in names:
            release(lake, name)
        raise


def _described(
    lake: Lakehouse,
    request: SetRequest,
    label_columns: Sequence[str],
    names: Sequence[Sequence[tuple[str, str]]],
    table: PinnedTable | None,
) -> dict[str, Any]:
    code = code_version(lake.settings)
    query = duck.join_sql(
        lambda pinned, columns: (
            f"(SELECT {', '.join(map(quoted, columns))} FROM {pinned.name} FOR VERSION AS OF {pinned.snapshot_id})"
        ),
        "labels",
        label_columns,
        request.views,
        names,
    )
    source: dict[str, Any] = {"source": request.labels.source, "time_column": request.labels.time}
    if table is None:
        source["sha256"] = _sha256(Path(request.labels.source))
    else:
        source |= {"commit": table.at.commit, "snapshot_id": table.snapshot_id}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "labels": source,
        "views": [pinned.describe() for pinned in request.views],
        "on_demand": [function.name for function in request.on_demand],
        "code_version": code.version,
        "dirty": code.dirty,
        "query": query,
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _put_in_place(unfinished: Path, out: Path) -> None:
    if out.is_dir() or (unfinished.is_dir() and out.exists()):
        _remove(out)
    os.replace(unfinished, out)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
