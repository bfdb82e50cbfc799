"""One model in memory: Arrow rows in, predictions out."""

from typing import TYPE_CHECKING, Any

from asgard.model.artifacts.formats import Format
from asgard.model.artifacts.signature import Signature
from asgard.model.scoring.matrix import matrix, named, numbers
from asgard.model.scoring.scorers import Pyfunc, load

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    Array = np.ndarray[Any, Any]


class SingleModel:
    """A model loaded from its verified bytes.

    Args:
        content: bytes of its file.
        format: format of the file.
        signature: the model's signature.
        threads: number of threads that scoring may use.

    Raises:
        ArtifactError: the bytes can't be loaded.
    """

    def __init__(self, content: bytes, format: Format, signature: Signature, threads: int) -> None:
        self._signature = signature
        self._scorer = load(content, format, signature, threads)

    @property
    def takes_rows(self) -> bool:
        """Whether it takes columns with their own types instead of a matrix."""
        return isinstance(self._scorer, Pyfunc)

    def predict(self, batch: "pa.RecordBatch | pa.Table") -> "Array":
        """See `Predictor.predict`."""
        if isinstance(self._scorer, Pyfunc):
            return self._scorer.score_rows(self._rows(batch)) if batch.num_rows else nothing(self._signature)
        return self.score(matrix(batch, self._signature.names))

    def predict_arrow(self, batch: "pa.RecordBatch | pa.Table") -> "pa.Array":
        """Like `predict`, as Arrow."""
        return as_arrow(self.predict(batch))

    def score(self, rows: "Array") -> "Array":
        """Predict the rows of a matrix: float64, rows x the signature's columns, nulls as NaN."""
        import numpy as np

        if not len(rows):
            return nothing(self._signature)
        return self._scorer.score(np.ascontiguousarray(rows, dtype=np.float64))

    def _rows(self, batch: "pa.RecordBatch | pa.Table") -> "pd.DataFrame":
        """Convert to pandas: numbers and booleans as doubles, with or without nulls; other types as pandas has them."""
        import pandas as pd

        columns = {}
        for column in self._signature.inputs:
            given = named(batch, column.name)
            columns[column.name] = numbers(given, column.name) if column.is_number else given.to_pandas()
        return pd.DataFrame(columns, columns=list(self._signature.names))


def nothing(signature: Signature, rows: int = 0) -> "Array":
    """Predictions, all NaN, for this many rows without a prediction."""
    import numpy as np

    shape = (rows, len(signature.classes)) if signature.task == "multiclass" else (rows,)
    return np.full(shape, np.nan, dtype=np.float64)


def as_arrow(predictions: "Array", missing: "Array | None" = None) -> "pa.Array":
    """Convert predictions to Arrow for Spark: doubles, or lists of doubles.

    Args:
        predictions: one per row.
        missing: flags of the rows without a prediction, which become null.
    """
    import numpy as np
    import pyarrow as pa

    mask = missing if missing is not None and missing.any() else None
    if predictions.ndim == 1:
        return pa.array(predictions, mask=mask)
    offsets = np.arange(0, predictions.size + 1, predictions.shape[1], dtype=np.int32)
    values = pa.array(predictions.ravel())
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(mask) if mask is not None else None)
