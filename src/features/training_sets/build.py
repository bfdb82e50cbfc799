"""Training sets: labels with the features that were known at each label's time, from pinned snapshots."""

import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.aliases import Say
from asgard.common.errors import ServiceError
from asgard.common.names import BranchName, CommitHash, TableName
from asgard.features.joins import duck
from asgard.features.joins.duck import TIME, quoted, text
from asgard.features.joins.engines import Engine, choose
from asgard.features.joins.joining import Join, with_on_demand, with_on_demand_schema
from asgard.features.joins.labels import Labels, load_labels
from asgard.features.joins.set_audit import Audit, counts
from asgard.features.pinned import PinnedTable, PinnedView
from asgard.features.training_sets.digest import DIGEST, column_types, digest
from asgard.features.training_sets.files import described, holds_of, put_in_place, remove, require_free
from asgard.features.views import OnDemandFeature
from asgard.lakehouse.catalog.holds import hold, hold_name, release
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import WriteMode, declare_table
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.run import RunRequest, execute

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_HOLD = "set"
_BATCH_ROWS = 100_000


@dataclass(frozen=True)
class SetRequest:
    """What a training set is made of.

    Attributes:
        views: pinned, in the order of their columns.
        labels: entities and times.
        on_demand: functions to compute over the views' features.
        full_names: name features `view__feature`.
        engine: for the join; `auto` chooses by size.
    """

    views: tuple[PinnedView, ...]
    labels: Labels
    on_demand: tuple[OnDemandFeature, ...] = ()
    full_names: bool = False
    engine: Engine = Engine.AUTO

    def join(self, label_columns: Sequence[str]) -> Join:
        """The join of these views to labels of some columns.

        Raises:
            UsageError: two columns would have one name.
        """
        return Join.of(self.views, label_columns, self.on_demand, full_names=self.full_names)


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
    """The engine for the join, and the reason."""
    return choose(lake.settings, request.engine, sum(pinned.table.rows for pinned in request.views))


def build(lake: Lakehouse, request: SetRequest, out: Path, *, overwrite: bool = False, say: Say = print) -> Built:
    """Make a training set and put it in place, with its manifest and its holds.

    Args:
        lake: where the snapshots are.
        request: what it is made of.
        out: Parquet file (DuckDB) or folder (Spark) to write.
        overwrite: replace an existing set, and release its holds.
        say: called with one line about each step.

    Raises:
        UsageError: labels, views or columns do not fit, or `out` exists already.
        AuditFailedError: the set would leak; nothing is written.
    """
    require_free(out, overwrite=overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f"{out.name}.unfinished-{secrets.token_hex(4)}")
    table = request.labels.pinned(lake)
    with _held(lake, request, table) as holds:
        try:
            manifest = {**_made(lake, request, table, unfinished, say), "holds": holds}
            before = holds_of(out)
            put_in_place(unfinished, out, manifest)
        except BaseException:
            remove(unfinished)
            raise
    _let_go(lake, before, say)
    return Built(out, manifest)


def build_table(lake: Lakehouse, request: SetRequest, table: TableName, say: Say = print) -> Mapping[str, Any]:
    """Make a training set and publish it as a table, through a run.

    Returns:
        The manifest, which is also in the run's record.

    Raises:
        AsgardError: as for `build`, or an error of the run.
    """
    declared = declare_table(
        str(table),
        mode=WriteMode.REPLACE,
        description="A training set: labels with the features that were known at each label's time.",
        module="asgard.features.training_sets.build",
    )
    labels = request.labels.pinned(lake)
    with (
        tempfile.TemporaryDirectory(prefix="asgard-set-", dir=lake.settings.project_dir) as folder,
        _held(lake, request, labels) as holds,
    ):
        made = Path(folder) / "set.parquet"
        manifest = {**_made(lake, request, labels, made, say), "holds": holds}

        def work(attempt: Attempt) -> None:
            attempt.details["training_set"] = manifest
            attempt.write(declared, attempt.session.read.parquet(made.absolute().as_uri()))

        job = RunRequest("training-set", params={"labels": request.labels.source, "digest": manifest["digest"]})
        result = execute(lake, job, work, say)
    return {**manifest, "table": str(table), "run_id": result.run_id, "commit": result.commit}


def _made(lake: Lakehouse, request: SetRequest, table: PinnedTable | None, made: Path, say: Say) -> Mapping[str, Any]:
    """Write the set to `made`; return its manifest without the holds."""
    engine, why = choose_engine(lake, request)
    say(f"joining with {engine}: {why}")
    started = time.monotonic()
    with duck.connect(lake.settings) as connection:
        labels, label_columns = load_labels(connection, request.labels, table, request.views)
        join = request.join(label_columns)
        if engine is Engine.DUCKDB:
            audit = join_by_duckdb(connection, labels, join, made)
        else:
            from asgard.features.joins.spark_join import join_on_spark

            audit = join_on_spark(lake, connection, labels, join, made)
        audit.require_passed()
        say(f"{audit.rows:,} rows, no feature newer than its label")
        return {
            **described(lake.settings, request.labels, table, join),
            "engine": {"used": str(engine), "why": why},
            "rows": audit.rows,
            "leaks": dict(audit.leaks),
            "without_features": dict(audit.missing),
            "columns": column_types(connection, made),
            "digest": digest(connection, made),
            "digest_method": DIGEST,
            "seconds": round(time.monotonic() - started, 3),
        }


def join_by_duckdb(connection: "DuckDBPyConnection", labels: str, join: Join, out: Path) -> Audit:
    """Run only the join and its audit, without manifest, digest or hold. Replaces the file at `out`.

    Raises:
        AuditFailedError: the set would leak; nothing is written.
    """
    sql = duck.join_sql(
        lambda table, columns: duck.rows_of(connection, table, columns),
        labels,
        (*join.label_columns, TIME),
        join.views,
        join.names,
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE joined AS {sql}")
    audit = _audited(connection, labels, join.views)
    audit.require_passed()
    chosen = f"SELECT {', '.join(map(quoted, join.columns))} FROM joined"
    if not join.on_demand:
        connection.execute(f"COPY ({chosen}) TO {text(str(out))} (FORMAT parquet, COMPRESSION zstd)")
        return audit
    import pyarrow.parquet as pq

    reader = connection.sql(chosen).to_arrow_reader(_BATCH_ROWS)
    with pq.ParquetWriter(str(out), with_on_demand_schema(reader.schema, join), compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(with_on_demand(batch, join.on_demand_columns))
    return audit


def _audited(connection: "DuckDBPyConnection", labels: str, views: Sequence[PinnedView]) -> Audit:
    wanted = counts(views)
    row = connection.execute(f"SELECT {', '.join(wanted.values())} FROM joined").fetchall()[0]
    total = connection.execute(f"SELECT count(*) FROM {labels}").fetchall()[0]
    return Audit.of(views, total[0], dict(zip(wanted, row, strict=True)))


@contextmanager
def _held(lake: Lakehouse, request: SetRequest, table: PinnedTable | None) -> Iterator[list[BranchName]]:
    """Hold every snapshot that the set is made of; release the holds if the set is not completed."""
    owner = f"{datetime.now(UTC):%Y%m%dt%H%M%S}-{secrets.token_hex(3)}"
    commits: dict[CommitHash, None] = dict.fromkeys(pinned.table.at.commit for pinned in request.views)
    if table is not None:
        commits[table.at.commit] = None
    names = [hold_name(_HOLD, owner, str(number)) for number, _ in enumerate(commits)]
    made: list[BranchName] = []
    try:
        for name, commit in zip(names, commits, strict=True):
            made.append(hold(lake, name, commit))
        yield list(made)
    except BaseException:
        for name in made:
            release(lake, name)
        raise


def _let_go(lake: Lakehouse, holds: Sequence[str], say: Say) -> None:
    """Release the holds of a set that was replaced. If that fails, the new set is complete anyway."""
    prefix = hold_name(_HOLD, "", "").removesuffix("_")
    try:
        for name in holds:
            if name.startswith(prefix):
                release(lake, BranchName(name), say)
    except ServiceError as error:
        say(f"holds of the replaced set were not released, drop them by hand: {', '.join(holds)} ({error.message})")
