"""MLflow's door to an artifact: `mlflow.pyfunc.load_model` and `spark_udf` find it by the `MLmodel` file.

MLflow hands over a folder and nothing to hold it against, so this door only sees that the files fit their own
manifest. Asgard itself goes through `Artifact.read`, with the SHA-256 that the registry keeps.
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
    """What `mlflow.pyfunc` calls."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, rows: "pd.DataFrame", params: dict[str, Any] | None = None) -> "np.ndarray[Any, Any]":
        """Predictions of a DataFrame's rows; its columns are found by name."""
        import pyarrow as pa

        names = list(self._predictor.signature.names)
        return self._predictor.predict(pa.RecordBatch.from_pandas(rows[names], preserve_index=False))
