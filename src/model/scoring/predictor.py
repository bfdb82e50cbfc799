"""A verified model that predicts Arrow batches, in this process."""

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from asgard.common.errors import UsageError
from asgard.model.artifacts.artifact import Artifact
from asgard.model.artifacts.formats import Format
from asgard.model.artifacts.signature import Signature
from asgard.model.scoring.segmented import Segmented
from asgard.model.scoring.single_model import SingleModel

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

_KEPT = 4


class Predictor:
    """A loaded model.

    Args:
        artifact: its bytes are verified before any of them is loaded.
        expected_sha256: of the artifact, known from elsewhere than its bytes.
        threads: that scoring may use.

    Raises:
        ArtifactError: the bytes are not those that were registered, or can't be loaded.
    """

    def __init__(self, artifact: Artifact, expected_sha256: str | None = None, *, threads: int = 1) -> None:
        self.spec = artifact.verified(expected_sha256).spec
        self._model: SingleModel | Segmented
        if self.spec.format is Format.SEGMENTS:
            self._model = Segmented(artifact, threads)
        else:
            self._model = SingleModel(artifact.content, self.spec.format, self.signature, threads)

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self.spec.signature

    def predict(self, batch: "pa.RecordBatch | pa.Table") -> "Array":
        """Predictions of a batch's rows, in order; columns are found by name, others do not matter.

        Args:
            batch: rows. Nulls count as NaN; whole numbers, decimals and booleans as the nearest double.

        Returns:
            float64. Binary: the probability of the second class (rows,); multiclass: of each class (rows, classes);
            regression: the value (rows,). NaN where the row's segment has no model.

        Raises:
            UsageError: a column is missing, or is not of numbers or booleans (a model kept as pyfunc takes others); or
                no model predicts a row's segment, and none was to be left out.
        """
        return self._model.predict(batch)

    def predict_arrow(self, batch: "pa.RecordBatch | pa.Table") -> "pa.Array":
        """The same as Spark takes it: doubles or lists of doubles, null where the row's segment has no model."""
        return self._model.predict_arrow(batch)

    def score(self, rows: "Array", segments: "pa.Array | None" = None) -> "Array":
        """Predictions of a matrix: float64, rows x the features, nulls as NaN.

        Args:
            rows: the matrix.
            segments: of each row, for a model that has segments.

        Raises:
            UsageError: the model has segments, and they are not given.
        """
        if isinstance(self._model, SingleModel):
            return self._model.score(rows)
        if segments is None:
            raise UsageError(f"Model {self.spec.name} has segments.", hint="Say which segment each row is of.")
        return self._model.score(rows, segments)


_predictors: "OrderedDict[tuple[str, int], Predictor]" = OrderedDict()
_lock = threading.Lock()


def cached(artifact: Artifact, expected_sha256: str, *, threads: int = 1, keep: int = _KEPT) -> Predictor:
    """The predictor of an artifact, verified and loaded once in this process while it is one of the last few used.

    Args:
        artifact: of the model.
        expected_sha256: of the artifact, known from elsewhere than its bytes.
        threads: that scoring may use.
        keep: how many models stay loaded.

    Raises:
        ArtifactError: the bytes are not those that were registered, or can't be loaded.
    """
    key = (expected_sha256, threads)
    with _lock:
        predictor = _predictors.pop(key, None)
        _predictors[key] = predictor = predictor or Predictor(artifact, expected_sha256, threads=threads)
        while len(_predictors) > keep:
            _predictors.popitem(last=False)
        return predictor
