"""The MLflow run of a training: parameters, metrics, the dataset with its snapshots, plots and logs."""

import json
import math
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.settings import Settings
from asgard.model.mlflow_access.client import connect, in_words

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_DIGEST = 36
"""Most characters that MLflow keeps of a dataset's digest."""
_LONGEST_TAG = 1000
_TAG = re.compile(r"[A-Za-z0-9_.\- ]{1,200}")
"""Names that MLflow accepts for a tag."""
_BATCH = 1_000
"""Most metrics that MLflow accepts at once."""


class TrainingRun:
    """One MLflow run, opened by `tracked`."""

    def __init__(self, client: "MlflowClient", settings: Settings, run_id: str) -> None:
        self.id = run_id
        self._client = client
        self._settings = settings

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters: numbers and texts unchanged, all others as JSON."""
        with in_words(self._settings):
            for name, value in params.items():
                text = value if isinstance(value, str | int | float | bool) else json.dumps(value, default=str)
                self._client.log_param(self.id, name, text)

    def log_metrics(self, metrics: Mapping[str, float], prefix: str = "") -> None:
        """Log metrics, except those that are NaN."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        known = [Metric(f"{prefix}{name}", value, now, 0) for name, value in metrics.items() if not math.isnan(value)]
        with in_words(self._settings):
            for place in range(0, len(known), _BATCH):
                self._client.log_batch(self.id, metrics=known[place : place + _BATCH])

    def log_dataset(self, name: str, manifest: Mapping[str, Any], context: str = "training") -> None:
        """Log the training data: the set's digest, and where each of its snapshots is.

        Args:
            name: name of the dataset.
            manifest: manifest of the training set.
            context: what the dataset was used for.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = {"labels": manifest["labels"], "views": manifest["views"]}
        dataset = Dataset(
            name=name,
            digest=str(manifest["digest"])[:_DIGEST],
            source_type="asgard",
            source=json.dumps(source, default=str),
            schema=json.dumps({"columns": manifest["columns"]}),
            profile=json.dumps({"rows": manifest["rows"], "digest": manifest["digest"]}),
        )
        tags = [InputTag("mlflow.data.context", context)]
        snapshots = {f"snapshot.{each['table']}": str(each["snapshot_id"]) for each in manifest["views"]}
        tags += [InputTag(key, value) for key, value in snapshots.items()]
        with in_words(self._settings):
            self._client.log_inputs(self.id, [DatasetInput(dataset, tags)])

    def log_file(self, path: Path, folder: str = "") -> None:
        """Log a file as an artifact of the run."""
        with in_words(self._settings):
            self._client.log_artifact(self.id, str(path), folder or None)

    def log_json(self, name: str, content: Any) -> None:
        """Log plain values as a JSON file of the run."""
        with in_words(self._settings):
            self._client.log_text(self.id, json.dumps(content, indent=1, default=str) + "\n", name)

    def log_details(self, details: Mapping[str, Any]) -> None:
        """Log a trainer's details: all of them as `details.json`, single values also as tags `trainer.<name>`."""
        if not details:
            return
        self.log_json("details.json", details)
        for name, value in details.items():
            text = value if isinstance(value, str) else json.dumps(value)
            if not isinstance(value, list | dict) and len(text) <= _LONGEST_TAG and _TAG.fullmatch(name):
                self.tag(f"trainer.{name}", text)

    def tag(self, name: str, value: str) -> None:
        """Set a tag of the run."""
        with in_words(self._settings):
            self._client.set_tag(self.id, name, value)


def read_json(client: "MlflowClient", settings: Settings, run_id: str, name: str) -> Any:
    """Read a file that `log_json` logged with a run.

    Raises:
        ServiceError: the run has no such file.
    """
    with in_words(settings), tempfile.TemporaryDirectory(prefix="asgard-run-") as folder:
        return json.loads(Path(client.download_artifacts(run_id, name, folder)).read_text(encoding="utf-8"))


@contextmanager
def tracked(settings: Settings, model: str, name: str, tags: Mapping[str, str]) -> Iterator[TrainingRun]:
    """Open a run in the experiment of a model; MLflow shows whether the block finished or failed.

    Args:
        settings: name the MLflow server.
        model: the model, whose experiment is `asgard/<model>`.
        name: name of the run, for people.
        tags: tags of the run.

    Raises:
        ServiceUnreachableError: MLflow does not answer.
    """
    client = connect(settings)
    with in_words(settings):
        experiment = _experiment(client, f"asgard/{model}")
        run = client.create_run(experiment, tags={"mlflow.user": settings.user, **tags}, run_name=name)
    status = "FAILED"
    try:
        yield TrainingRun(client, settings, run.info.run_id)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        with in_words(settings):
            client.set_terminated(run.info.run_id, status)


def _experiment(client: "MlflowClient", name: str) -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            experiment = client.get_experiment_by_name(name)  # somebody else created it concurrently
            if experiment is None:
                raise
    return str(experiment.experiment_id)
