"""train: train a declared model on its views, as known at each label's time, and register the version.

Reads: labels and gold tables at the snapshots that the views are registered at. Writes: an MLflow run and a model
version, and holds of those snapshots.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from asgard.common.aliases import Say
from asgard.common.errors import UsageError
from asgard.jobs.counted import counted
from asgard.jobs.entrypoint import run_job
from asgard.jobs.options import DirOption, JsonOption, PipelineOption, SetOption, settings_from
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.loading import load_pipeline
from asgard.model.training.source import PipelineSource
from asgard.model.training.training import Trained, TrainRequest, train


def run(request: TrainRequest, lake: Lakehouse, say: Say) -> Trained:
    """Train, and count it as an execution of the job.

    Raises:
        AsgardError: see `train`.
    """
    with counted(lake, "train", say):
        return train(lake, request, say)


def command(
    pipeline: PipelineOption,
    model: Annotated[str, typer.Option("--model", "-m", help="A model that the pipeline declares.")],
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", help="A parameter instead of the declared one. Repeatable."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed instead of the declared one.")] = None,
    bump: Annotated[
        str, typer.Option("--bump", help="major, minor, patch or a version (default: what the changes require).")
    ] = "",
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Train a model and register its version."""
    from asgard.jobs.reporting import progress_lines, show_json, show_table

    params = _params(param)
    lake = Lakehouse(settings_from(settings, directory), "asgard train")
    with progress_lines(quiet=as_json) as say, counted(lake, "train", say):
        declared = load_pipeline(pipeline)
        request = TrainRequest.of(
            declared, model, params=params, seed=seed, bump=bump, source=PipelineSource.of(pipeline)
        )
        lake.reach()
        trained = run(request, lake, say)
    if as_json:
        show_json(trained.to_json())
        return 0
    show_table(
        ("METRIC", "TEST", "WITHOUT FEATURES"),
        [
            (name, f"{value:.4f}", f"{trained.fitted.baseline[name]:.4f}")
            for name, value in trained.fitted.metrics.items()
        ],
    )
    if trained.fitted.segments is not None:
        typer.echo("")
        show_table(*trained.fitted.segments.table())
    typer.echo(
        f"\n{trained.version} is in stage {trained.version.stage}; "
        f"next: asgard model promote {trained.version} --to staging"
    )
    return 0


def _params(given: Sequence[str] | None) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--param {text!r} is not NAME=VALUE.", hint="E.g. --param num_leaves=31.")
        try:
            params[name] = json.loads(value)
        except ValueError:
            params[name] = value
    return params


def main(argv: Sequence[str] | None = None) -> int:
    """Entrypoint of spark-submit."""
    return run_job(command, argv)
