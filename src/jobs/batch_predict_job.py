"""batch-predict: score each entity's latest features by one verified model version, audit, and publish the scores.

Reads: gold tables at the snapshots of the model's views, and the version's files from MLflow. Writes:
`gold.<model>_predictions` through a run.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asgard.common.errors import UsageError
from asgard.common.names import SnapshotId, TableName
from asgard.features import duck
from asgard.features.pinned import PinnedTable, PinnedView, require_columns
from asgard.features.register import registered_views
from asgard.features.views import Declared, FeatureView, OnDemandFeature
from asgard.jobs.counted import counted
from asgard.jobs.entrypoint import run_job
from asgard.jobs.options import DirOption, JsonOption, SetOption, settings_from
from asgard.lakehouse.intervals import parse_moment
from asgard.lakehouse.lake import Lakehouse
from asgard.lakehouse.loading import load_pipeline
from asgard.lakehouse.snapshots import At, resolve
from asgard.model.batch import Predicted, PredictRequest, predict
from asgard.model.registry import Registry
from asgard.model.versions import ModelVersion
from asgard.monitoring.events import PredictionFacts

if TYPE_CHECKING:
    from asgard.lakehouse.pipeline import Pipeline


def run(request: PredictRequest, lake: Lakehouse, say: Callable[[str], None]) -> Predicted:
    """Predict, and count it as an execution of the job.

    Raises:
        AsgardError: see `predict`.
    """
    with counted(lake, "batch-predict", say) as note:
        predicted = predict(lake, request, say)
        note(predicted.run)
        if predicted.rows:
            note.predictions(request.version.name, _facts(predicted))
    return predicted


def find(registry: Registry, name: str, version: str | None = None, stage: str | None = None) -> ModelVersion:
    """The version to predict by: the one named, or of a stage, by default Production.

    Raises:
        UsageError: there is none.
    """
    if version and stage:
        raise UsageError("Both --version and --stage were given.", hint="Keep one.")
    return registry.find(f"{name}@{version or stage or 'production'}")


def pinned_views(
    lake: Lakehouse, version: ModelVersion, as_of: str | None = None, snapshot: int | None = None
) -> tuple[PinnedView, ...]:
    """The views that a version learned from: as registered now, or as a published state had their tables.

    Args:
        lake: where they are.
        version: whose.
        as_of: a branch, tag, commit or time.
        snapshot: of the views' table, in any published state.

    Raises:
        UsageError: a view is not registered any more, or there is no such snapshot.
    """
    views = registered_views(lake, [each.view for each in version.binding.views])
    if as_of is not None and snapshot is not None:
        raise UsageError("Both --as-of and --snapshot were given.", hint="Keep one.")
    if as_of is None and snapshot is None:
        return views
    tables = {pinned.view.table for pinned in views}
    if snapshot is not None:
        if len(tables) > 1:
            raise UsageError(
                f"{version} learned from {len(tables)} tables: one snapshot does not say what to read.",
                hint="Say --as-of with a commit or a time.",
            )
        at = published_with(lake, next(iter(tables)), SnapshotId(snapshot))
    else:
        at = resolve(lake, as_of)
    return tuple(_measured(lake, pinned.view, PinnedTable.load(lake, pinned.view.table, at)) for pinned in views)


def published_with(lake: Lakehouse, table: TableName, snapshot: SnapshotId) -> At:
    """The newest commit of the target ref at which a table had a snapshot.

    Raises:
        UsageError: it never was published with it, or that was collected.
    """
    for entry in lake.nessie.log(lake.target):
        at = At(lake.target, entry.hash)
        content = lake.nessie.content(str(at), table)
        if content is not None and content.snapshot_id == snapshot:
            return at
    raise UsageError(
        f"{table} was never published on {lake.target} with snapshot {snapshot}.",
        hint=f"`asgard lineage {table}` names its snapshot of now; --as-of takes a time.",
    )


def _measured(lake: Lakehouse, view: FeatureView, table: PinnedTable) -> PinnedView:
    require_columns(view, table)
    with duck.connect(lake.settings) as connection:
        return PinnedView(view, table, duck.measure(connection, view, table))


def functions_of(version: ModelVersion, pipeline: "Pipeline | None") -> tuple[OnDemandFeature, ...]:
    """The on-demand features that a version learned from.

    Raises:
        UsageError: they are needed, and the pipeline does not declare them, or none is given.
    """
    wanted = version.binding.details.get("on_demand", ())
    if not wanted:
        return ()
    if pipeline is None:
        raise UsageError(
            f"{version} learned from the on-demand features {', '.join(wanted)}, whose code is in its pipeline.",
            hint=f"Say --pipeline; it was trained by {version.binding.details.get('pipeline') or 'one'}.",
        )
    declared = Declared.of(pipeline).on_demand
    lacking = [name for name in wanted if name not in declared]
    if lacking:
        raise UsageError(
            f"Pipeline {pipeline.name} does not declare {', '.join(lacking)}, which {version} learned from.",
            hint=f"It declares {', '.join(declared) or 'no on-demand feature'}.",
        )
    return tuple(declared[name] for name in wanted)


def _facts(predicted: Predicted) -> PredictionFacts:
    latency = predicted.latency
    return PredictionFacts(
        rows=predicted.rows,
        mean=predicted.mean,
        trained=datetime.fromisoformat(predicted.request.version.created),
        batches=latency.count,
        seconds=round(latency.sum, 6),
        within=latency.buckets,
    )


def command(
    model: Annotated[str, typer.Option("--model", "-m", help="A registered model.")],
    version: Annotated[str | None, typer.Option("--version", help="E.g. 1.2.0.")] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="Default production.")] = None,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", help="For models that learned from on-demand features.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="Read the tables as a branch, tag, commit or time has them.")
    ] = None,
    snapshot: Annotated[int | None, typer.Option("--snapshot", help="The same by a snapshot of the table.")] = None,
    moment: Annotated[
        str | None, typer.Option("--moment", help="Features as known then (default: at the newest row).")
    ] = None,
    where: Annotated[str | None, typer.Option("--where", help="SQL condition on keys and features.")] = None,
    entities: Annotated[Path | None, typer.Option("--entities", help="Parquet or CSV file of keys.")] = None,
    top: Annotated[int | None, typer.Option("--top", help="Only so many, the greatest by --by.")] = None,
    by: Annotated[str, typer.Option("--by", help="score, or a feature.")] = "score",
    max_mean_shift: Annotated[
        float, typer.Option("--max-mean-shift", help="How far from the last mean, as a share of it.")
    ] = 0.5,
    min_volume: Annotated[float, typer.Option("--min-volume", help="Rows, as a share of the last run's.")] = 0.5,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Score the latest features, and publish the predictions."""
    from asgard.jobs.reporting import progress_lines, show_json

    lake = Lakehouse.connect(settings_from(settings, directory), "asgard batch-predict")
    registry = Registry.of(lake.settings)
    found = find(registry, model, version, stage)
    functions = functions_of(found, load_pipeline(pipeline) if pipeline else None)
    request = PredictRequest(
        version=found,
        artifact=registry.artifact(found),
        views=pinned_views(lake, found, as_of, snapshot),
        on_demand=functions,
        moment=parse_moment(moment) if moment else None,
        entities=entities,
        where=where,
        top=top,
        by=by,
        max_mean_shift=max_mean_shift,
        min_volume=min_volume,
    )
    with progress_lines(quiet=as_json) as say:
        predicted = run(request, lake, say)
    if as_json:
        show_json(predicted.to_json())
    else:
        mean = "" if predicted.mean is None else f", mean {predicted.mean:.4f}"
        typer.echo(f"{request.table}: {predicted.rows:,} predictions by {found}{mean} ({predicted.run.status})")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entrypoint of spark-submit."""
    return run_job(command, argv)
