"""batch-predict: score each entity's latest features with verified model versions, audit, and publish the scores.

Reads: gold tables at the snapshots of the models' views, the versions' files from MLflow, and keys of entities. Writes:
`gold.<model>_predictions` through a run, and holds of the snapshots that it read.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from asgard.common.aliases import Say
from asgard.common.errors import UsageError
from asgard.common.settings import REGISTERED
from asgard.features.register import older_views
from asgard.jobs.counted import counted
from asgard.jobs.entrypoint import run_job
from asgard.jobs.options import DirOption, JsonOption, SetOption, settings_from
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.intervals import parse_moment
from asgard.lakehouse.declaring.loading import load_pipeline
from asgard.model.batch.challenge import Side
from asgard.model.batch.counts import SideCounts
from asgard.model.batch.entities import Entities
from asgard.model.batch.predict import Predicted, predict
from asgard.model.batch.request import Challenger, PredictRequest
from asgard.model.provenance.learned_from import functions_of, pinned_views
from asgard.model.registry import Registry
from asgard.model.versions import ModelVersion, split_name
from asgard.monitoring.events import PredictionFacts


def run(request: PredictRequest, lake: Lakehouse, say: Say) -> Predicted:
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
    """The version to predict with: the named one (also `churn@1.2.0`), else the one in a stage, by default Production.

    Raises:
        UsageError: the version does not exist, or is named twice.
    """
    model, named = split_name(name)
    if sum(map(bool, (named, version, stage))) > 1:
        raise UsageError(
            "The version is named more than once.", hint=f"Keep one of --version, --stage and --model {model}@VERSION."
        )
    return registry.find(f"{model}@{named or version or stage or 'production'}")


def find_challenger(registry: Registry, name: str, challenger: str) -> ModelVersion:
    """The challenger's version: `1.2.0`, `staging`, or `churn@1.2.0` of the same model.

    Raises:
        UsageError: the version does not exist, or belongs to another model.
    """
    model, _ = split_name(name)
    other, named = split_name(challenger) if "@" in challenger else (model, challenger)
    if other != model:
        raise UsageError(f"{challenger} is not a version of {model}.", hint="Give a version of the same model.")
    return registry.find(f"{model}@{named}")


def _facts(predicted: Predicted) -> PredictionFacts:
    """The facts for the metrics, of the champion and of its challenger."""
    facts = {side: _facts_of(counts) for side, counts in predicted.sides.items()}
    return PredictionFacts(**{**facts[Side.CHAMPION].__dict__, "challenger": facts.get(Side.CHALLENGER)})


def _facts_of(counts: SideCounts) -> PredictionFacts:
    return PredictionFacts(
        rows=counts.scored,
        mean=counts.mean,
        trained=datetime.fromisoformat(counts.version.created),
        batches=counts.latency.count,
        seconds=round(counts.latency.sum, 6),
        within=counts.latency.buckets,
    )


def _require_shared(challenger: str | None, share: float | None, salt: str) -> None:
    if challenger is None and (share is not None or salt):
        raise UsageError("--share and --salt need a challenger.", hint="Give --challenger VERSION, too.")
    if challenger is not None and share is None:
        raise UsageError(
            "--share is missing: the challenger's share of the entities.", hint="E.g. --share 0.1 for a tenth."
        )


def _read_as_of(lake: Lakehouse, as_of: str | None, snapshot: int | None) -> str | None:
    """The state to read: the given one, else that of the setting `predict_as_of`; None for as registered."""
    usual = lake.settings.predict_as_of
    return usual if as_of is None and snapshot is None and usual != REGISTERED else as_of


def command(
    model: Annotated[str, typer.Option("--model", "-m", help="A registered model, or its version: churn@1.2.0.")],
    version: Annotated[str | None, typer.Option("--version", help="E.g. 1.2.0.")] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="Default production.")] = None,
    challenger: Annotated[
        str | None,
        typer.Option("--challenger", metavar="VERSION", help="Predicts a share of the entities: 1.2.0, or staging."),
    ] = None,
    share: Annotated[
        float | None, typer.Option("--share", help="Share of the entities that the challenger predicts: 0 to 1.")
    ] = None,
    salt: Annotated[
        str,
        typer.Option("--salt", help="Another salt selects other entities (default: the challenger, e.g. churn@1.2.0)."),
    ] = "",
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", help="For models trained on on-demand features.")
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="Read the tables at a branch, tag, commit or time. Default: predict_as_of."),
    ] = None,
    snapshot: Annotated[int | None, typer.Option("--snapshot", help="Read the table at this snapshot.")] = None,
    accept_view_change: Annotated[
        bool,
        typer.Option("--accept-view-change", help="Also read views whose version differs from that in training."),
    ] = False,
    moment: Annotated[
        str | None, typer.Option("--moment", help="Use features as known at this time (default: at the latest row).")
    ] = None,
    where: Annotated[str | None, typer.Option("--where", help="SQL condition on keys and features.")] = None,
    entities: Annotated[
        str | None,
        typer.Option("--entities", help="Keys: a table, or Parquet, CSV or TSV at a path, file: or s3:// address."),
    ] = None,
    top: Annotated[int | None, typer.Option("--top", help="Only this many, the greatest by --by.")] = None,
    by: Annotated[str, typer.Option("--by", help="What --top sorts by: score, or a feature.")] = "score",
    max_mean_shift: Annotated[
        float, typer.Option("--max-mean-shift", help="Largest change of the mean since the last run, as a share of it.")
    ] = 0.5,
    min_volume: Annotated[
        float, typer.Option("--min-volume", help="Fewest predictions, as a share of the last run's.")
    ] = 0.5,
    max_null_rise: Annotated[
        float, typer.Option("--max-null-rise", help="Largest rise of the share of nulls since the last run.")
    ] = 0.1,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Score the latest features, and publish the predictions."""
    from asgard.jobs.reporting import progress_lines, show_json

    _require_shared(challenger, share, salt)
    lake = Lakehouse(settings_from(settings, directory), "asgard batch-predict")
    with progress_lines(quiet=as_json) as say, counted(lake, "batch-predict", say):
        lake.reach()
        registry = Registry.of(lake.settings)
        declared = load_pipeline(pipeline) if pipeline else None
        as_of = _read_as_of(lake, as_of, snapshot)

        def predicts_by(each: ModelVersion) -> dict[str, Any]:
            return {
                "version": each,
                "on_demand": functions_of(each, declared, accept_change=accept_view_change),
                "artifact": registry.artifact(each),
                "views": pinned_views(lake, each, as_of, snapshot, accept_view_change=accept_view_change),
            }

        other = find_challenger(registry, model, challenger) if challenger else None
        request = PredictRequest(
            **predicts_by(find(registry, model, version, stage)),
            moment=parse_moment(moment) if moment else None,
            entities=Entities(entities) if entities else None,
            where=where,
            top=top,
            by=by,
            max_mean_shift=max_mean_shift,
            min_volume=min_volume,
            max_null_rise=max_null_rise,
            challenger=Challenger(**predicts_by(other), share=share or 0.0, salt=salt) if other else None,
            read_as_of=as_of or (REGISTERED if snapshot is None else f"snapshot {snapshot}"),
        )
        if as_of is None and snapshot is None:
            for line in older_views(lake, [pinned for each in request.sides.values() for pinned in each.views]):
                say(line)
        predicted = run(request, lake, say)
    if as_json:
        show_json(predicted.to_json())
    else:
        _show(predicted)
    return 0


def _show(predicted: Predicted) -> None:
    for side, counts in predicted.sides.items():
        mean = "" if counts.mean is None else f", mean {counts.mean:.4f}"
        null = f", {counts.null:,} of them null" if counts.null else ""
        role = f" ({side})" if len(predicted.sides) > 1 else ""
        summary = f"{counts.rows:,} predictions by {counts.version}{role}{mean}{null}"
        typer.echo(f"{predicted.request.table}: {summary} ({predicted.run.status})")
    if predicted.remark:
        typer.echo(f"nothing was published: {predicted.remark}")
    if predicted.unknown is not None and predicted.unknown.count:
        typer.echo(f"left out: {predicted.unknown}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entrypoint of spark-submit."""
    return run_job(command, argv)
