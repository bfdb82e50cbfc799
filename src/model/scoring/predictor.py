"""A verified model that predicts Arrow batches in this process."""

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
        artifact: the model; all of its bytes are verified before any is loaded.
        expected_sha256: digest of the artifact, from another source than its bytes.
        threads: number of threads that scoring may use.

    Raises:
        ArtifactError: the bytes differ from those that were registered, or can't be loaded.
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
        """The model's inputs and outputs."""
        return self.spec.signature

    def predict(self, batch: "pa.RecordBatch | pa.Table") -> "Array":
        """Predict a batch's rows, in order; columns are found by name, other columns are ignored.

        Args:
            batch: the rows. Nulls become NaN; whole numbers, decimals and booleans become the nearest double.

        Returns:
            float64. Binary: the probability of the second class (rows,); multiclass: of each class (rows, classes);
            regression: the value (rows,). NaN where the row's segment has no model.

        Raises:
            UsageError: a column is missing, or contains no numbers or booleans (a pyfunc model takes other types); or
                no model predicts a row's segment, and the model refuses unknown segments.
        """
        return self._model.predict(batch)

    def predict_arrow(self, batch: "pa.RecordBatch | pa.Table") -> "pa.Array":
        """Like `predict`, as Arrow for Spark: doubles or lists of doubles, null where a row's segment has no model."""
        return self._model.predict_arrow(batch)

    def score(self, rows: "Array", segments: "pa.Array | None" = None) -> "Array":
        """Predict the rows of a matrix: float64, rows x features, nulls as NaN.

        Args:
            rows: the matrix.
            segments: segment of each row, for a model that has segments.

        Raises:
            UsageError: the model has segments, but none are given.
        """
        if isinstance(self._model, SingleModel):
            return self._model.score(rows)
        if segments is None:
            raise UsageError(f"Model {self.spec.name} has segments.", hint="Pass the segment of each row.")
        return self._model.score(rows, segments)


_predictors: "OrderedDict[tuple[str, int], Predictor]" = OrderedDict()
_lock = threading.Lock()


def cached(artifact: Artifact, expected_sha256: str, *, threads: int = 1, keep: int = _KEPT) -> Predictor:
    """The predictor of an artifact, verified and loaded once, and kept in this process while recently used.

    Args:
        artifact: the model.
        expected_sha256: digest of the artifact, from another source than its bytes.
        threads: number of threads that scoring may use.
        keep: number of models that stay loaded.

    Raises:
        ArtifactError: the bytes differ from those that were registered, or can't be loaded.
    """
    key = (expected_sha256, threads)
    with _lock:
        predictor = _predictors.pop(key, None)
        _predictors[key] = predictor = predictor or Predictor(artifact, expected_sha256, threads=threads)
        while len(_predictors) > keep:
            _predictors.popitem(last=False)
        return predictor
