"""The models of all segments as one model: each row is predicted by the model of its segment.

A row's prediction equals that of its segment's model alone, bit for bit: no scorer depends on which rows are scored
together.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from asgard.common.errors import UsageError
from asgard.model.artifacts.artifact import Artifact
from asgard.model.artifacts.segments import ModelFile, Segments, UnknownSegment, grouped, values_of
from asgard.model.scoring.matrix import matrix, named
from asgard.model.scoring.single_model import SingleModel, as_arrow, nothing

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

LOADED_BYTES = 256 * 2**20
"""Most bytes of model files that stay loaded together."""


class Segmented:
    """The models of an artifact's segments, each loaded at its first row.

    Args:
        artifact: the model, with verified bytes.
        threads: number of threads that scoring may use.
        most_bytes: limit for the files of all loaded models; the least recently used one is dropped first.

    Raises:
        ArtifactError: the artifact's list of segments can't be read.
    """

    def __init__(self, artifact: Artifact, threads: int, most_bytes: int = LOADED_BYTES) -> None:
        self.segments = Segments.read(artifact.content)
        self._files, self._signature = artifact.files, artifact.spec.signature
        self._threads, self._most_bytes = threads, most_bytes
        self._loaded: OrderedDict[str, SingleModel] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def predict(self, batch: "pa.RecordBatch | pa.Table") -> "Array":
        """See `Predictor.predict`; NaN where a row has no prediction."""
        return self._of_batch(batch)[0]

    def predict_arrow(self, batch: "pa.RecordBatch | pa.Table") -> "pa.Array":
        """Like `predict`, as Arrow; null where a row has no prediction."""
        return as_arrow(*self._of_batch(batch))

    def score(self, rows: "Array", segments: "pa.Array") -> "Array":
        """Predict the rows of a matrix, given the segment of each row."""
        return self._each(segments, lambda model, places: model.score(rows[places]))[0]

    @property
    def loaded(self) -> tuple[str, ...]:
        """Files of the models that are loaded now, the most recently used one last."""
        return tuple(self._loaded)

    def _of_batch(self, batch: "pa.RecordBatch | pa.Table") -> "tuple[Array, Array]":
        import pyarrow as pa

        segment = self.segments
        values = values_of(named(batch, segment.column), segment.column, segment.type)
        numbers = cache(lambda: matrix(batch, self._signature.without_segment.names))

        def part(model: SingleModel, places: "Array") -> "Array":
            return model.predict(batch.take(pa.array(places))) if model.takes_rows else model.score(numbers()[places])

        return self._each(values, part)

    def _each(self, values: "pa.Array", part: "Callable[[SingleModel, Array], Array]") -> "tuple[Array, Array]":
        """Predict rows by the values of their segment; also returns which rows have no prediction."""
        import numpy as np

        output, missing = nothing(self._signature, len(values)), np.ones(len(values), dtype=bool)
        places_of: dict[ModelFile, list[Array]] = {}
        for value, places in grouped(values):
            model = self.segments.chosen(value)
            if model is not None:
                places_of.setdefault(model, []).append(places)
            elif self.segments.unknown is UnknownSegment.REFUSE:
                raise UsageError(
                    f"No model predicts the rows whose {self.segments.column} is {value!r}.",
                    hint="Train again with labels of this segment, leave these rows out, or declare unknown_segment.",
                )
        loaded_first = sorted(places_of, key=lambda model: model.path not in self._loaded)
        for model in loaded_first:  # use loaded models before another one evicts them
            together = np.concatenate(places_of[model])
            output[together] = part(self._model(model), together)
            missing[together] = False
        return output, missing

    def _model(self, model: ModelFile) -> SingleModel:
        with self._lock:
            loaded = self._loaded.get(model.path)
            if loaded is None:
                content = self._files[model.path]
                loaded = SingleModel(content, model.format, self._signature.without_segment, self._threads)
                self._loaded[model.path] = loaded
                self._bytes += len(content)
            self._loaded.move_to_end(model.path)
            while len(self._loaded) > 1 and self._bytes > self._most_bytes:
                self._bytes -= len(self._files[self._loaded.popitem(last=False)[0]])
            return loaded
