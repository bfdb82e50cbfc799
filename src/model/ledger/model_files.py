"""Upload a version's files to MLflow, and download them.

MLflow's `log_model` loads what it saved again in a separate process, which takes seconds. A version assembled from its
parts looks the same to MLflow's UI and SDK.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from asgard.common.errors import ArtifactError
from asgard.model.mlflow_access.client import is_lost
from asgard.model.versions import ModelVersion

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def upload(client: "MlflowClient", name: str, folder: Path, run_id: str, kind: str, tags: Mapping[str, str]) -> str:
    """Upload the files of a new version to MLflow.

    Args:
        client: client of the MLflow server with the registered model.
        name: name of the model.
        folder: folder with the files.
        run_id: the MLflow run that made them.
        kind: the format of the model, for MLflow's pages.
        tags: tags of the version.

    Returns:
        MLflow's number of the version.
    """
    from mlflow.entities import LoggedModelOutput

    experiment = client.get_run(run_id).info.experiment_id
    logged = client.create_logged_model(experiment, name=name, source_run_id=run_id, model_type=kind)
    client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
    made = client.create_model_version(
        name,
        source=f"models:/{logged.model_id}",
        run_id=run_id,
        model_id=logged.model_id,
        tags=dict(tags),
        await_creation_for=0,
    )
    return str(made.version)


def download(client: "MlflowClient", version: ModelVersion, folder: Path) -> Path:
    """Copy the files of a version into a new folder and return their path; they are not verified yet.

    Raises:
        ArtifactError: the files are not where MLflow says.
    """
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    folder.mkdir(parents=True)
    uri = client.get_model_version_download_uri(version.name, version.mlflow_version)
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    except (OSError, MlflowException) as error:
        if is_lost(error):
            raise
        raise ArtifactError(
            f"The files of {version} can't be fetched from {uri}: {error}.",
            hint="Were they removed, or is their storage unreachable?",
        ) from error
