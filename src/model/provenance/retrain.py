"""The process that trains a version again, with the pipeline in another folder, and writes its results to a file.

    python -m asgard.model.provenance.retrain JOB RESULT

A separate process, because the caller may have imported the same modules at another commit. Its standard output
reports its progress; an Asgard error is written to the result.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asgard.common.errors import AsgardError, UsageError
from asgard.common.settings import load_settings
from asgard.features.views import Declared
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.loading import load_pipeline, path_of
from asgard.model.artifacts.artifact import hash_of
from asgard.model.declaration import Model, Script
from asgard.model.provenance.learned_from import pinned_view
from asgard.model.training.fitting import fit
from asgard.model.training.training import TrainRequest, sample_of, training_set
from asgard.model.versions import TRAINER, Binding


@dataclass(frozen=True)
class Job:
    """The training to repeat.

    Attributes:
        reference: reference of the pipeline, from the working folder.
        repository, tree: folder of its repository, and folder with the files of the wanted commit.
        model: name of the model.
        binding: binding of the version.
        labels: table, or path of the file, with the labels.
        labels_ref: commit to read a table of labels at.
    """

    reference: str
    repository: str
    tree: str
    model: str
    binding: Mapping[str, Any]
    labels: str
    labels_ref: str | None


def retrain(lake: Lakehouse, job: Job) -> dict[str, Any]:
    """Repeat the training; nothing is registered or sent to MLflow.

    Raises:
        AsgardError: see `train`; or the pipeline was not imported from the tree.
    """
    binding = Binding.from_json(job.binding)
    details = binding.details
    pipeline = load_pipeline(job.reference)
    path = path_of(job.reference)
    if path is None or not path.is_relative_to(job.tree):
        raise UsageError(
            f"Pipeline {job.reference!r} was imported from {path}, not from the files of its commit.",
            hint="It is installed from elsewhere; pass --pipeline with its path in the repository.",
        )
    asked = TrainRequest.of(
        pipeline, job.model, params=details["params"], seed=details["seed"], labels_ref=job.labels_ref
    )
    request = replace(asked, model=_moved(replace(asked.model, labels=job.labels), job))
    declared = Declared.of(pipeline).views
    views = [pinned_view(lake.settings, each, declared.get(each.view)) for each in binding.views]
    with tempfile.TemporaryDirectory(prefix="asgard-retrain-") as name:
        folder = Path(name)
        with training_set(lake, request, views, folder, _say) as (built, examples):
            fitted = fit(request.model, examples, request.all_params, request.used_seed, folder, _say)
    return {
        "digest": built.manifest["digest"],
        "digest_method": built.manifest["digest_method"],
        "rows": built.manifest["rows"],
        "test_from": fitted.split.test_from.isoformat(),
        "train_rows": int(fitted.split.train.sum()),
        "test_rows": int(fitted.split.test.sum()),
        "params": request.all_params,
        "metrics": {str(metric): value for metric, value in fitted.metrics.items()},
        "sample": sample_of(fitted),
        TRAINER: dict(fitted.details),
        "file_sha256": hash_of(fitted.artifact.content),
    }


def _moved(model: Model, job: Job) -> Model:
    """Replace a script of the repository by the commit's file, whether its path is absolute or relative."""
    trainer = model.trainer
    if isinstance(trainer, Script) and trainer.path.absolute().is_relative_to(job.repository):
        return replace(
            model, trainer=replace(trainer, path=Path(job.tree) / trainer.path.absolute().relative_to(job.repository))
        )
    return model


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(job: str, result: str) -> int:
    """Run a job that is described in a file, and write its result to another."""
    try:
        lake = Lakehouse.connect(load_settings(), "asgard model reproduce")
        content = retrain(lake, Job(**json.loads(Path(job).read_text(encoding="utf-8"))))
    except AsgardError as error:
        content = {"error": {"message": error.message, "hint": error.hint, "details": list(error.details)}}
    Path(result).write_text(json.dumps(content), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
