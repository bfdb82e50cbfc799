"""Explain a prediction: its version, the feature values that it used, and the origin of each value.

The values are read again at the snapshots that the run recorded, by the point-in-time rules as of the moment that it
recorded. No Spark is needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from asgard.common.errors import AsgardError, UsageError
from asgard.common.names import TableName, check_run_id
from asgard.features.joins import duck
from asgard.features.joins.duck import TIME, quoted
from asgard.features.joins.joining import Join, with_on_demand
from asgard.features.pinned import PinnedTable, PinnedView
from asgard.features.types import to_arrow, to_duckdb
from asgard.features.views import OnDemandFeature
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import At
from asgard.lakehouse.lineage.tree import LineageNode, lineage
from asgard.lakehouse.runs.history import RunSummary, list_runs
from asgard.model.artifacts.artifact import Artifact
from asgard.model.artifacts.segments import segments_of
from asgard.model.batch.holds import is_held
from asgard.model.batch.scope import SCOPE, scope_columns
from asgard.model.batch.table import AS_OF, PREDICTED_AT, RUN, SCORE, SNAPSHOT, VERSION
from asgard.model.provenance.explain_parts import Chosen, chosen
from asgard.model.provenance.learned_from import functions_of, pinned_view
from asgard.model.registry import Registry
from asgard.model.versions import BoundView, ModelVersion, finite

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from asgard.lakehouse.declaring.pipeline import Pipeline

_ALWAYS = (SCORE, VERSION, SNAPSHOT, AS_OF, SCOPE, RUN, PREDICTED_AT)
"""Columns that every table of predictions has in addition to the entity's keys."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Used:
    """The values that one view supplied for a prediction.

    Attributes:
        values: value of each feature.
        learned: the features that are inputs of the model itself; None if its files could not be read.
        event: event time of the row that was used; None if there was none.
    """

    bound: BoundView
    values: Mapping[str, Any] = field(hash=False)
    learned: frozenset[str] | None
    event: datetime | None

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        bound = {name: value for name, value in self.bound.to_json().items() if name != "declared"}
        learned = sorted(self.learned) if self.learned is not None else None
        return {**bound, "values": dict(self.values), "inputs": learned, "event": _iso(self.event)}


@dataclass(frozen=True)
class Explained:
    """A prediction and its origin.

    Attributes:
        row: the row of the table of predictions.
        model: its name.
        version: the version as the registry has it now; None if the registry can't be read.
        run: the run that published the prediction.
        used: the feature values, by view.
        on_demand: features that the model's pipeline computed from these values.
        computed: values of the on-demand features, computed again.
        segment: the segment's model that predicted; None for a model without segments.
        sources: lineage of the views' tables at their snapshots, down to the files.
        missing: what could not be found, in words.
    """

    row: Mapping[str, Any] = field(hash=False)
    model: str
    version: ModelVersion | None
    run: RunSummary
    used: tuple[Used, ...]
    on_demand: tuple[str, ...]
    computed: Mapping[str, Any] = field(hash=False)
    segment: Chosen | None
    sources: tuple[LineageNode, ...]
    missing: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        run = self.run.to_json()
        version = self.version
        shown: dict[str, Any] = finite(
            {
                "prediction": {
                    name: _iso(each) if isinstance(each, datetime) else each for name, each in self.row.items()
                },
                "model": {
                    "version": self.model,
                    "stage": version.stage if version else None,
                    "trained_by": version.created_by if version else None,
                    "registered": version.created if version else None,
                    "mlflow_run": version.run_id if version else None,
                    "code_version": version.binding.code_version if version else None,
                    "dirty": version.binding.dirty if version else None,
                    "trained_on": {str(table): each for table, each in version.binding.tables.items()}
                    if version
                    else {},
                },
                "run": {name: run[name] for name in ("run_id", "job", "code_version", "dirty", "commit", "user")},
                "features": [each.to_json() for each in self.used],
                "on_demand": list(self.on_demand),
                "computed": dict(self.computed),
                "segment": self.segment.to_json() if self.segment else None,
                "sources": [each.to_json() for each in self.sources],
                "missing": list(self.missing),
            }
        )
        return shown


def explain(
    lake: Lakehouse,
    table: TableName,
    at: At,
    entity: Mapping[str, str],
    version: str | None = None,
    pipeline: "Pipeline | None" = None,
) -> Explained:
    """Explain the latest prediction of an entity.

    Args:
        lake: the lakehouse with the predictions.
        table: the table of predictions.
        at: the commit at which the table is read.
        entity: value of each key, as text.
        version: version of the model, e.g. `1.2.0`; None: the version that predicted last.
        pipeline: pipeline that declares the model's on-demand features; None: their values are reported as missing.

    Raises:
        UsageError: the table contains no predictions, a key is unknown or missing, or the entity has no prediction.
        UnknownTableError: the table does not exist.
    """
    pinned = PinnedTable.load(lake, table, at)
    _require_keys(pinned, entity)
    with duck.connect(lake.settings) as connection:
        row = _newest(connection, pinned, entity, version)
        run = _run(lake, row["run_id"])
        noted = _noted(run, row["model_version"])
        missing: list[str] = []
        registered, artifact = _version(lake, noted["model"], missing)
        learned = frozenset(artifact.spec.signature.names) if artifact else None
        used, views, sources = [], [], {}
        for raw in noted["views"]:
            bound = BoundView.from_json(raw)
            try:
                view = pinned_view(lake.settings, bound)
                used.append(_used(connection, view, bound, row, learned))
                views.append(view)
            except AsgardError as error:
                missing.append(f"values of {bound.view}: {error.message}{_why_gone(lake, noted['model'], run)}")
            try:
                node = lineage(lake, bound.table, At(bound.target, bound.commit))
                sources[bound.table, bound.snapshot_id] = node
            except AsgardError as error:
                missing.append(f"lineage of {bound.table}: {error.message}")
    made = _computed(noted, registered, pipeline, views, used, row, missing)
    values = {name: value for each in used for name, value in each.values.items()}
    return Explained(
        row=row,
        model=noted["model"],
        version=registered,
        run=run,
        used=tuple(used),
        on_demand=tuple(noted["on_demand"]),
        computed=made,
        segment=_segment(artifact, {**row, **values, **made}, missing),
        sources=tuple(sources.values()),
        missing=tuple(missing),
    )


def _require_keys(table: PinnedTable, entity: Mapping[str, str]) -> None:
    lacking = [name for name in _ALWAYS if name not in table.columns]
    if lacking:
        raise UsageError(
            f"{table.name} contains no predictions: it has no column {', '.join(lacking)}.",
            hint="Tables of predictions are named gold.<model>_predictions; leave out --key for any other table.",
        )
    others = (*_ALWAYS, *scope_columns(table.columns))
    keys = [name for name in table.columns if name not in others]
    unknown = [name for name in entity if name not in keys]
    if unknown:
        raise UsageError(
            f"{table.name} has no key {', '.join(map(repr, unknown))}.",
            hint=f"Its keys are {', '.join(keys)}.",
        )
    missing = [name for name in keys if name not in entity]
    if missing:
        raise UsageError(
            f"An entity of {table.name} needs all of its keys: {', '.join(keys)}.",
            hint=f"Add {' '.join(f'--key {name}=...' for name in missing)}.",
        )


def _newest(
    connection: "DuckDBPyConnection", table: PinnedTable, entity: Mapping[str, str], version: str | None
) -> dict[str, Any]:
    for name, value in entity.items():
        kind = to_duckdb(table.columns[name].type)
        if connection.execute(f"SELECT TRY_CAST(? AS {kind}) IS NULL", [value]).fetchall()[0][0]:
            raise UsageError(
                f"{value!r} is not of type {table.columns[name].type}, which {name} is.", hint=f"--key {name}=VALUE"
            )
    conditions = [f"{quoted(name)} = CAST(? AS {to_duckdb(table.columns[name].type)})" for name in entity]
    conditions += ["model_version = ?"] if version else []
    names = tuple(table.columns)
    rows = connection.execute(
        f"SELECT {', '.join(map(quoted, names))} FROM {duck.rows_of(connection, table, names)} "
        f"WHERE {' AND '.join(conditions)} ORDER BY predicted_at DESC, model_version DESC LIMIT 1",
        [*entity.values(), *([version] if version else [])],
    ).fetchall()
    if not rows:
        which = ", ".join(f"{name} = {value}" for name, value in entity.items())
        raise UsageError(
            f"{table.name} has no prediction of {which}{f' by version {version}' if version else ''}.",
            hint="It was not predicted, or the prediction is not published on this ref.",
        )
    return dict(zip(names, rows[0], strict=True))


def _run(lake: Lakehouse, run_id: str) -> RunSummary:
    for each in list_runs(lake, run_id=check_run_id(run_id)):
        if each.is_published or each.reverted_by:
            return each
    raise UsageError(
        f"Run {run_id}, which made the prediction, no longer has a record.",
        hint="Were files in _asgard/runs deleted?",
    )


def _noted(run: RunSummary, version: str) -> dict[str, Any]:
    """The run's record of its predictions by a version."""
    noted = run.attempt.record.get("details", {}).get("prediction", {})
    matching = [each for each in noted.get("versions", ()) if each["model"].rpartition("@")[2] == version]
    if not matching:
        raise UsageError(
            f"Run {run.attempt.run_id} recorded nothing about predictions by version {version}.",
            hint="Only runs of batch-predict record their predictions.",
        )
    return dict(matching[0])


def _why_gone(lake: Lakehouse, model: str, run: RunSummary) -> str:
    """Why the data that a prediction read may be missing; "" if they should exist."""
    try:
        if is_held(lake, model.partition("@")[0], run.attempt.run_id):
            return ""
    except AsgardError:
        return ""
    return " Newer predictions replaced these, and only data read by the latest predictions are held."


def _version(lake: Lakehouse, name: str, missing: list[str]) -> tuple[ModelVersion | None, Artifact | None]:
    """The version as registered now, and its files."""
    try:
        registry = Registry.of(lake.settings)
        registered = registry.find(name)
    except AsgardError as error:
        missing.append(f"the registry's entry of {name}: {error.message}")
        return None, None
    try:
        return registered, registry.artifact(registered)
    except AsgardError as error:
        missing.append(f"the files of {name}: {error.message}")
        return registered, None


def _computed(
    noted: Mapping[str, Any],
    version: ModelVersion | None,
    pipeline: "Pipeline | None",
    views: Sequence[PinnedView],
    used: Sequence[Used],
    row: Mapping[str, Any],
    missing: list[str],
) -> dict[str, Any]:
    """The values of the on-demand features, if their code and their inputs are available."""
    names = noted["on_demand"]
    if not names:
        return {}
    what = f"values of {', '.join(names)}"
    if pipeline is None:
        missing.append(f"{what}: the code of the model's pipeline computes them. Pass --pipeline.")
    elif version is None or len(views) < len(noted["views"]):
        missing.append(f"{what}: their inputs are missing.")
    else:
        try:
            return computed(functions_of(version, pipeline), views, [each.values for each in used], row)
        except AsgardError as error:
            missing.append(f"{what}: {error.message}")
    return {}


def computed(
    functions: Sequence[OnDemandFeature],
    views: Sequence[PinnedView],
    values: Sequence[Mapping[str, Any]],
    keys: Mapping[str, Any],
) -> dict[str, Any]:
    """Compute the on-demand features of one entity again, from the values of its views.

    Args:
        functions: the on-demand functions that the version was trained with.
        views: the version's views, in its order.
        values: values of each view's features.
        keys: keys of the entity, by name.

    Raises:
        UsageError: a function failed, or returned an unsuitable result.
    """
    import pyarrow as pa

    types = {key: pinned.table.columns[key].type for pinned in views for key in pinned.view.keys}
    join = Join.of(views, tuple(types), functions)
    columns = {key: pa.array([keys[key]], to_arrow(kind)) for key, kind in types.items()}
    for pinned, pairs, given in zip(views, join.names, values, strict=True):
        kinds = {each.name: each.type for each in pinned.view.features}
        columns |= {column: pa.array([given[name]], to_arrow(kinds[name])) for name, column in pairs}
    batch = with_on_demand(pa.RecordBatch.from_pydict(columns), join.on_demand_columns)
    return {each.name: batch.column(each.name)[0].as_py() for each in functions}


def _segment(artifact: Artifact | None, values: Mapping[str, Any], missing: list[str]) -> Chosen | None:
    """The segment's model that predicted."""
    try:
        segments = segments_of(artifact)
    except AsgardError as error:
        missing.append(f"the segment: {error.message}")
        return None
    if segments is None:
        return None
    segment = chosen(segments, values)
    if segment is None:
        missing.append(f"the segment: the value of {segments.column} is missing.")
    return segment


def _used(
    connection: "DuckDBPyConnection",
    view: PinnedView,
    bound: BoundView,
    row: Mapping[str, Any],
    learned: frozenset[str] | None,
) -> Used:
    """A view's row as a label at the prediction's moment would get it."""
    moment = _utc(row["features_as_of"])
    at = (moment - _EPOCH) // timedelta(microseconds=1)
    keys = ", ".join(
        f"CAST(? AS {to_duckdb(view.table.columns[key].type)}) AS {quoted(f'__key_{key}')}" for key in view.view.keys
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE asked AS SELECT {keys}, {at}::BIGINT AS {TIME}",
        [row[key] for key in view.view.keys],
    )
    names = Join.of([view], ()).names
    sql = duck.join_sql(lambda table, columns: duck.rows_of(connection, table, columns), "asked", (), [view], names)
    result = connection.execute(sql)
    columns = [each[0] for each in result.description or ()]
    values = dict(zip(columns, result.fetchall()[0], strict=True))
    event = values.get("__event_0")
    return Used(
        bound=bound,
        values={name: values[name] for name in view.view.feature_names},
        learned=learned & set(view.view.feature_names) if learned is not None else None,
        event=datetime.fromtimestamp(event / 1_000_000, UTC) if event is not None else None,
    )


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _iso(value: datetime | None) -> str | None:
    return _utc(value).isoformat() if value is not None else None
