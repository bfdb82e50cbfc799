"""Training: turn a declared model, on its registered views, into a version in the registry.

    training set at pinned snapshots -> split by time -> trainer -> test -> MLflow run -> version, with its holds

Nothing is registered unless the test's metrics are within the declared bounds.
"""

import csv
import hashlib
import math
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.aliases import Say
from asgard.common.errors import DeclarationError, UsageError
from asgard.common.failpoints import failpoint
from asgard.common.git_utils import CodeVersion
from asgard.features.function_digest import digest_of
from asgard.features.joins.engines import Engine
from asgard.features.joins.labels import Labels
from asgard.features.pinned import PinnedView
from asgard.features.register import older_views, registered_views
from asgard.features.training_sets.build import Built, SetRequest, build
from asgard.features.views import Declared, OnDemandFeature
from asgard.lakehouse.catalog.holds import release
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.model.artifacts.mlflow_folder import EXAMPLE, REQUIREMENTS, TRAINED_WITH
from asgard.model.artifacts.segments import Segments
from asgard.model.declaration import Model, Script
from asgard.model.ledger.holds import hold_version
from asgard.model.lifecycle import next_version
from asgard.model.metrics import Metric
from asgard.model.registry import Registry
from asgard.model.training import plots
from asgard.model.training.examples import Examples, load_examples
from asgard.model.training.fitting import Fitted, fit, require_good
from asgard.model.training.scripts import LOG
from asgard.model.training.source import PipelineSource, code_of
from asgard.model.training.tracking import TrainingRun, tracked
from asgard.model.versions import ON_DEMAND_CODE, TRAINER, Binding, BoundView, ModelVersion, finite

if TYPE_CHECKING:
    from collections.abc import Iterator

_SAMPLE = 10
"""Number of test scores that a version keeps in full."""


@dataclass(frozen=True)
class TrainRequest:
    """A model to train, and the data and options to train it with.

    Attributes:
        model: the declared model.
        pipeline: the pipeline that declares it.
        on_demand: on-demand functions over its views.
        params, seed: values that override the declared ones.
        labels_ref: ref at which a table of labels is read; None: as published now.
        bump: `major`, `minor`, `patch` or a version; "" for what the changes require.
        engine: the engine that joins labels and features.
        source: where the pipeline was loaded from, with the commit of its repository.
    """

    model: Model
    pipeline: str
    on_demand: tuple[OnDemandFeature, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)
    seed: int | None = None
    labels_ref: str | None = None
    bump: str = ""
    engine: Engine = Engine.AUTO
    source: PipelineSource | None = None

    @classmethod
    def of(cls, pipeline: Pipeline, name: str, **options: Any) -> "TrainRequest":
        """Build the request for a model of a pipeline.

        Raises:
            UsageError: the pipeline does not declare the model.
        """
        models = {each.name: each for each in pipeline.extras if isinstance(each, Model)}
        if name not in models:
            raise UsageError(
                f"Pipeline {pipeline.name} declares no model {name!r}.",
                hint=f"It declares {', '.join(models) or 'none: pipeline.add(model(...))'}.",
            )
        next_version(None, str(options.get("bump", "")))  # rejects an invalid value before the training
        declared_model, declared = models[name], Declared.of(pipeline)
        unknown = [view for view in declared_model.views if view not in declared.views]
        if unknown:
            raise DeclarationError(
                f"Model {name}: its view {', '.join(unknown)} is not declared in pipeline {pipeline.name}.",
                hint=f"Declared views: {', '.join(declared.views) or 'none'}.",
            )
        usable = tuple(each for each in declared.on_demand.values() if set(each.views) <= set(declared_model.views))
        named = (*declared_model.features, declared_model.segment)
        wanted = tuple(each for each in usable if each.name in named or not (declared_model.features or each.request))
        return cls(declared_model, pipeline.name, wanted, **options)

    @property
    def all_params(self) -> dict[str, Any]:
        """The declared parameters, overridden by those of the request."""
        return {**self.model.params, **self.params}

    @property
    def used_seed(self) -> int:
        """The seed of the request, or else the declared one."""
        return self.model.seed if self.seed is None else self.seed


@dataclass(frozen=True)
class Trained:
    """A registered version, and the training that made it."""

    version: ModelVersion
    fitted: Fitted
    manifest: Mapping[str, Any] = field(hash=False)
    run_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        content: dict[str, Any] = finite(
            {
                "model": self.version.name,
                "version": str(self.version.version),
                "mlflow_run": self.run_id,
                "sha256": self.version.sha256,
                "metrics": {str(name): value for name, value in self.fitted.metrics.items()},
                "baseline": {str(name): value for name, value in self.fitted.baseline.items()},
                "importance": dict(self.fitted.importance),
                "details": dict(self.fitted.details),
                "segments": [each.to_json() for each in self.fitted.segments.everyone] if self.fitted.segments else [],
                "training_set": {name: self.manifest[name] for name in ("rows", "digest", "views", "labels")},
                "test_from": self.fitted.split.test_from.isoformat(),
            }
        )
        return content


def train(lake: Lakehouse, request: TrainRequest, say: Say = print) -> Trained:
    """Train a model and register the version.

    Raises:
        UsageError: views, labels or columns do not fit the model; nothing was trained.
        AuditFailedError: its metrics miss the declared bounds; the run is in MLflow, nothing was registered.
        ServiceUnreachableError: MLflow does not answer.
        RunError: the trainer failed.
    """
    model = request.model
    registry = Registry.of(lake.settings)
    views = registered_views(lake, model.views)
    for line in older_views(lake, views):
        say(line)
    code = code_of(request.source, lake.settings)
    tags = {"asgard.pipeline": request.pipeline, "mlflow.source.git.commit": code.version, "asgard.model": model.name}
    with (
        tempfile.TemporaryDirectory(prefix="asgard-train-", dir=_workplace(lake)) as name,
        tracked(lake.settings, model.name, f"{model.name}-{code.version[:8]}", tags) as run,
    ):
        folder = Path(name)
        with training_set(lake, request, views, folder, say) as (built, examples):
            try:
                fitted = fit(model, examples, request.all_params, request.used_seed, folder, say)
            finally:
                if (folder / LOG).exists():
                    run.log_file(folder / LOG)
            _log(run, request, built, examples, fitted, folder)
            require_good(model, fitted)
            binding = bind(request, views, built, fitted, examples, code)
            failpoint("model-logged")
            version = registry.register(
                model.name,
                fitted.artifact.save(folder / "artifact"),
                run.id,
                binding,
                {str(metric): value for metric, value in fitted.metrics.items()},
                bump=request.bump,
                hold=lambda number: hold_version(lake, model.name, number, binding),
            )
        run.tag("asgard.version", str(version.version))
    say(f"registered {version}: {_told(fitted.metrics)} on the test; without features {_told(fitted.baseline)}")
    return Trained(version, fitted, built.manifest, run.id)


@contextmanager
def training_set(
    lake: Lakehouse, request: TrainRequest, views: Sequence[PinnedView], folder: Path, say: Say
) -> "Iterator[tuple[Built, Examples]]":
    """The rows that a model is trained on; they exist, and their snapshots are held, while the block runs.

    Raises:
        UsageError: see `build` and `load_examples`.
    """
    labels = Labels(request.model.labels, request.model.time, request.labels_ref)
    wanted = SetRequest(tuple(views), labels, request.on_demand, engine=request.engine)
    built = build(lake, wanted, folder / "training.parquet", say=say)
    try:
        offered = {each.name: each.type for pinned in views for each in pinned.view.features}
        offered |= {each.name: each.type for each in request.on_demand}
        keys = {key: pinned.table.columns[key].type for pinned in views for key in pinned.view.keys}
        segment = request.model.segment
        if segment is not None and segment not in {**keys, **offered}:
            say(f"{segment} is a column of the labels only: batch-predict can't use it, only frames that you pass can")
        for each in request.on_demand:
            lacking = [name for name in each.request if name not in {**keys, **offered}]
            if lacking:
                say(f"{each.name} needs {', '.join(lacking)} of a request: batch-predict will refuse this version")
        yield built, load_examples(built.path, request.model, offered, keys)
    finally:
        for name in built.manifest["holds"]:
            release(lake, name)


def bind(
    request: TrainRequest,
    views: Sequence[PinnedView],
    built: Built,
    fitted: Fitted,
    examples: Examples,
    code: CodeVersion,
) -> Binding:
    """Build the binding of a version: what it was made from, as the registry keeps it."""
    manifest = built.manifest
    return Binding(
        views=tuple(
            BoundView(
                view=pinned.name,
                version=pinned.view.version,
                table=pinned.table.name,
                snapshot_id=pinned.table.snapshot_id,
                commit=pinned.table.at.commit,
                metadata_location=pinned.table.metadata_location,
                target=pinned.table.at.reference,
                declared=pinned.view.to_json(),
            )
            for pinned in views
        ),
        code_version=code.version,
        dirty=code.dirty,
        minimum={str(name): bound for name, bound in request.model.minimum.items()},
        maximum={str(name): bound for name, bound in request.model.maximum.items()},
        details={
            "pipeline": request.pipeline,
            "source": request.source.to_json() if request.source else None,
            "labels": manifest["labels"],
            "on_demand": [each.name for each in request.on_demand],
            ON_DEMAND_CODE: {each.name: digest_of(each) for each in request.on_demand},
            "digest": manifest["digest"],
            "digest_method": manifest["digest_method"],
            "rows": manifest["rows"],
            "params": request.all_params,
            "seed": request.used_seed,
            "test_from": fitted.split.test_from.isoformat(),
            "train_rows": int(fitted.split.train.sum()),
            "test_rows": int(fitted.split.test.sum()),
            "sample": sample_of(fitted),
            "environment": dict(fitted.artifact.spec.trained_with),
            TRAINER: dict(fitted.details),
        },
    )


def sample_of(fitted: Fitted) -> dict[str, Any]:
    """The first test scores, exactly, and a digest of all scores, to compare with a repeated training."""
    scores = fitted.scores[:_SAMPLE]
    return {
        "scores": [value.hex() for value in scores.ravel().tolist()],
        "sha256": hashlib.sha256(fitted.scores.tobytes()).hexdigest(),
    }


def _log(
    run: TrainingRun, request: TrainRequest, built: Built, examples: Examples, fitted: Fitted, folder: Path
) -> None:
    model = request.model
    run.log_params(
        {
            **request.all_params,
            "seed": request.used_seed,
            "views": list(model.views),
            "features": list(examples.features.columns),
            **({"segment": model.segment} if model.segment else {}),
            "test_from": fitted.split.test_from.isoformat(),
            "train_rows": int(fitted.split.train.sum()),
            "test_rows": int(fitted.split.test.sum()),
            "format": str(fitted.artifact.spec.format),
        }
    )
    run.log_metrics({str(name): value for name, value in fitted.metrics.items()})
    run.log_metrics({str(name): value for name, value in fitted.baseline.items()}, prefix="baseline_")
    if fitted.segments is not None:
        run.log_metrics(fitted.segments.metrics())
        run.log_file(_as_csv(fitted.segments, folder / "segments.csv"))
    run.log_dataset(f"{request.pipeline}.{model.name}", built.manifest)
    run.log_json("training_set.manifest.json", built.manifest)
    run.log_json(
        "evaluation.json",
        {
            "metrics": fitted.metrics,
            "baseline": fitted.baseline,
            "importance": fitted.importance,
            "curves": fitted.curves.to_json() if fitted.curves else None,
            "segments": [each.to_json() for each in fitted.segments.everyone] if fitted.segments else None,
            "classes": examples.signature.classes,
        },
    )
    files = fitted.artifact.files
    run.log_json("signature.json", fitted.artifact.spec.signature.to_json())
    for name in (each for each in (REQUIREMENTS, TRAINED_WITH, EXAMPLE) if each in files):
        path = folder / Path(name).name
        path.write_bytes(files[name])
        run.log_file(path)
    run.log_details(fitted.details)
    for path in plots.draw(fitted.curves, fitted.importance, folder / "plots"):
        run.log_file(path, "plots")
    if isinstance(model.trainer, Script):
        run.log_file(model.trainer.path, "script")


def _as_csv(segments: Segments, path: Path) -> Path:
    """Write the segments to a CSV file, which MLflow shows as a table."""
    heading, rows = segments.table()
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([heading, *rows])
    return path


def _workplace(lake: Lakehouse) -> Path:
    lake.settings.project_dir.mkdir(parents=True, exist_ok=True)
    return lake.settings.project_dir


def _told(metrics: Mapping[Metric, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in metrics.items() if not math.isnan(value))
