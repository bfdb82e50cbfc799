"""Loaded models of each format behind one method: float64 matrix in, float64 predictions out.

A row's prediction depends neither on the rows that it is scored with nor on the number of threads. LightGBM and trees
guarantee this. Matrix products do not: their last bit depends on the number of rows, because the rows that remain
after the last whole group are computed differently. So rows are padded to whole groups of `_GROUP`, for every format
that may multiply matrices.
"""

import io
import pickle
import shutil
import tempfile
import warnings
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.errors import ArtifactError
from asgard.model.artifacts.formats import TRUSTED, Format, Scorer, in_words, installed
from asgard.model.artifacts.signature import Signature
from asgard.model.scoring.output import predictions

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, Any]

_GROUP = 64


def _filled(matrix: "Array") -> Any:
    """The matrix padded to whole groups by repeating its last row, a row that the model can score."""
    import numpy as np

    missing = -len(matrix) % _GROUP
    return np.concatenate([matrix, np.repeat(matrix[-1:], missing, axis=0)]) if missing else matrix


class LightGBM:
    """A LightGBM Booster, loaded from its text format."""

    def __init__(self, content: bytes, signature: Signature, threads: int) -> None:
        import lightgbm

        self._booster = lightgbm.Booster(params={"verbosity": -1}, model_str=content.decode())
        self._signature, self._threads = signature, threads
        if self._booster.num_feature() != len(signature.inputs):
            raise ArtifactError(
                f"The model takes {self._booster.num_feature()} columns, but its signature has "
                f"{len(signature.inputs)}.",
                hint="The signature belongs to another model.",
            )

    def score(self, matrix: "Array") -> "Array":
        """See `Scorer`."""
        output = self._booster.predict(matrix, num_threads=self._threads)
        return predictions(output, len(matrix), self._signature)


class ScikitLearn:
    """An object with `predict_proba` (classifiers) or `predict` (regression)."""

    def __init__(self, model: Any, signature: Signature, threads: int) -> None:
        self._signature, self._threads = signature, threads
        method = "predict" if signature.task == "regression" else "predict_proba"
        if not hasattr(model, method):
            raise ArtifactError(
                f"{type(model).__name__} has no method {method}, which a {signature.task} model needs.",
                hint="Wrap it in scikit-learn's CalibratedClassifierCV.",
            )
        with suppress(AttributeError):
            model.set_params(**{name: threads for name in model.get_params() if name.split("__")[-1] == "n_jobs"})
        self._names = _names_of(model, signature)
        self._predict = getattr(model, method)

    def score(self, matrix: "Array") -> "Array":
        """See `Scorer`."""
        from threadpoolctl import threadpool_limits

        filled, frame = _filled(matrix), None
        if self._names:
            import pandas as pd

            frame = pd.DataFrame(filled, columns=self._names, copy=False)
        with threadpool_limits(self._threads):
            output = self._predict(filled if frame is None else frame)
        return predictions(output, len(filled), self._signature, len(matrix), frame)


def _names_of(model: Any, signature: Signature) -> list[str]:
    """The column names that the model was fitted with, if it was fitted on a DataFrame."""
    fitted = getattr(model, "feature_names_in_", None)
    if fitted is None:
        return []
    if list(fitted) != list(signature.names):
        raise ArtifactError(
            f"The model was fitted on {', '.join(fitted)}, but its signature has {', '.join(signature.names)}.",
            hint="The signature belongs to another model.",
        )
    return list(signature.names)


def _pickled(content: bytes, signature: Signature, threads: int) -> Scorer:
    return ScikitLearn(pickle.loads(content), signature, threads)  # noqa: S301 - verified by its artifact


def _skops(content: bytes, signature: Signature, threads: int) -> Scorer:
    import skops.io

    odd = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED))
    if odd:
        raise ArtifactError(
            f"The skops file contains {', '.join(odd)}, which may run code when loaded.",
            hint="If your training script made it, write model.pkl instead. If not, find out who made it.",
        )
    return ScikitLearn(skops.io.loads(content, trusted=list(TRUSTED)), signature, threads)


class Onnx:
    """An ONNX Runtime session on the CPU. A graph with 32-bit input gets rounded numbers."""

    def __init__(self, content: bytes, signature: Signature, threads: int) -> None:
        import numpy as np
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._signature = signature
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64}
        if len(inputs) != 1 or inputs[0].type not in kinds:
            raise ArtifactError(
                f"The graph takes {', '.join(f'{each.name} {each.type}' for each in inputs)}.",
                hint="Use one matrix of float or double: initial_types=[('X', FloatTensorType([None, COLUMNS]))].",
            )
        numbers = [each for each in outputs if each.type in kinds]
        if not numbers:
            raise ArtifactError(
                f"The graph gives {', '.join(f'{each.name} {each.type}' for each in outputs)}, not numbers.",
                hint="Convert it without ZipMap: options={'zipmap': False}, or zipmap=False.",
            )
        self._input, self._kind, self._output = inputs[0].name, kinds[inputs[0].type], numbers[-1].name

    def score(self, matrix: "Array") -> "Array":
        """See `Scorer`."""
        filled = _filled(matrix).astype(self._kind, copy=False)
        output = self._session.run([self._output], {self._input: filled})[0]
        return predictions(output, len(filled), self._signature, len(matrix))


class TorchScript:
    """A scripted PyTorch module, on the CPU, in the type of its own parameters."""

    def __init__(self, content: bytes, signature: Signature, threads: int) -> None:
        import torch

        self._torch, self._signature, self._threads = torch, signature, threads
        self._module = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()
        self._kind = next((each.dtype for each in self._module.parameters()), torch.float64)

    def score(self, matrix: "Array") -> "Array":
        """See `Scorer`."""
        filled = _filled(matrix)
        before = self._torch.get_num_threads()
        self._torch.set_num_threads(self._threads)
        try:
            with self._torch.inference_mode():
                output = self._module(self._torch.from_numpy(filled).to(self._kind))
                if isinstance(output, self._torch.Tensor):
                    output = (output.double() if output.is_floating_point() else output).numpy()
        finally:
            self._torch.set_num_threads(before)
        return predictions(output, len(filled), self._signature, len(matrix))


class Pyfunc:
    """A model of any MLflow flavour; it gets a DataFrame with the signature's columns."""

    def __init__(self, content: bytes, signature: Signature, _threads: int) -> None:
        from asgard.model.mlflow_access.mlflow_quiet import import_mlflow

        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                if Path(name).is_absolute() or ".." in Path(name).parts:
                    raise ArtifactError(
                        f"{name} is a path outside the model's folder.", hint="Find out who made the file."
                    )
            folder = tempfile.mkdtemp(prefix="asgard-model-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)  # some flavours read the folder later
            archive.extractall(folder)
        self._model = import_mlflow().pyfunc.load_model(folder)
        self._signature = signature

    def score(self, matrix: "Array") -> "Array":
        """See `Scorer`."""
        import pandas as pd

        return self.score_rows(pd.DataFrame(matrix, columns=list(self._signature.names)))

    def score_rows(self, rows: "pd.DataFrame") -> "Array":
        """Predict rows of a pandas DataFrame; text columns are allowed."""
        import numpy as np

        count = len(rows)
        places = np.arange(count + -count % _GROUP).clip(max=count - 1)
        filled = rows.take(places).reset_index(drop=True) if len(places) > count else rows
        given = len(filled)
        return predictions(self._model.predict(filled), given, self._signature, count, filled)


_SCORERS: Mapping[Format, Callable[[bytes, Signature, int], Scorer]] = {
    Format.LIGHTGBM: LightGBM,
    Format.SKOPS: _skops,
    Format.PICKLE: _pickled,
    Format.ONNX: Onnx,
    Format.TORCHSCRIPT: TorchScript,
    Format.PYFUNC: Pyfunc,
}


def load(content: bytes, format: Format, signature: Signature, threads: int = 1) -> Scorer:
    """Load a scorer from the verified bytes of a model's file.

    Args:
        content: bytes of the file.
        format: format of the file.
        signature: the model's signature.
        threads: number of threads that scoring may use.

    Raises:
        ArtifactError: the bytes can't be loaded, or are not a model of this format.
        EnvironmentSetupError: the format's library is not installed.
    """
    if format is not Format.PYFUNC:
        signature.require_numbers(format)
    with installed(format), in_words(f"The {format} file can't be loaded", ArtifactError), _same_version():
        return _SCORERS[format](content, signature, threads)


@contextmanager
def _same_version() -> Iterator[None]:
    """Refuse a model of another scikit-learn version: scikit-learn only warns, but its numbers may be wrong."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if warning.category.__name__ == "InconsistentVersionWarning":
            raise ArtifactError(
                f"The model was trained with another scikit-learn: {warning.message}".split(" This might")[0],
                hint="Install the versions in the model's requirements.txt, or train it again.",
            )
