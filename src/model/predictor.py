"""A verified model that predicts Arrow batches, in this process."""

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from asgard.model.artifact import Artifact
from asgard.model.formats import load
from asgard.model.matrix import matrix, named, numbers
from asgard.model.scorers import Pyfunc
from asgard.model.signature import Signature

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
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
        self._scorer = load(artifact.content, self.spec.format, self.signature, threads)

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
            regression: the value (rows,).

        Raises:
            UsageError: a column is missing, or is not of numbers or booleans (a model kept as pyfunc takes others).
        """
        if isinstance(self._scorer, Pyfunc):
            return self._scorer.score_rows(self._rows(batch)) if batch.num_rows else self._nothing()
        return self.score(matrix(batch, self.signature.names))

    def score(self, rows: "Array") -> "Array":
        """The same for a matrix: float64, rows x the signature's columns, nulls as NaN."""
        import numpy as np

        return self._scorer.score(np.ascontiguousarray(rows, dtype=np.float64)) if len(rows) else self._nothing()

    def _nothing(self) -> "Array":
        import numpy as np

        classes = len(self.signature.classes)
        return np.empty((0, classes) if self.signature.task == "multiclass" else (0,), dtype=np.float64)

    def _rows(self, batch: "pa.RecordBatch | pa.Table") -> "pd.DataFrame":
        """As pandas: decimals are doubles, all other columns what pandas makes of them."""
        import pandas as pd

        found = {}
        for column in self.signature.inputs:
            given = named(batch, column.name)
            decimal = column.type.startswith("decimal")
            found[column.name] = numbers(given, column.name) if decimal else given.to_pandas()
        return pd.DataFrame(found, columns=list(self.signature.names))


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
        found = _predictors.pop(key, None)
        _predictors[key] = found = found or Predictor(artifact, expected_sha256, threads=threads)
        while len(_predictors) > keep:
            _predictors.popitem(last=False)
        return found
