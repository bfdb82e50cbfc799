"""MLflow's loader for an artifact: `mlflow.pyfunc.load_model` and `spark_udf` find it through the `MLmodel` file.

MLflow passes a folder and no digest, so this loader can only verify the files against their own manifest. Asgard
itself calls `Artifact.read`, with the SHA-256 from the registry.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.errors import ArtifactError
from asgard.model.artifacts.artifact import MANIFEST, Artifact, hash_of
from asgard.model.scoring.predictor import Predictor

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def _load_pyfunc(data_path: str) -> "Loaded":
    folder = Path(data_path)
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise ArtifactError(f"{MANIFEST} in {folder} is missing.", hint="This folder was not made by Asgard.")
    return Loaded(Predictor(Artifact.read(folder, hash_of(manifest.read_bytes()))))


class Loaded:
    """The model object that `mlflow.pyfunc` calls."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, rows: "pd.DataFrame", params: dict[str, Any] | None = None) -> "np.ndarray[Any, Any]":
        """Predict a DataFrame's rows; its columns are found by name."""
        import pyarrow as pa

        names = list(self._predictor.signature.names)
        return self._predictor.predict(pa.RecordBatch.from_pandas(rows[names], preserve_index=False))
