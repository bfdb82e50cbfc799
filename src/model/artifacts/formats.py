"""The file formats of fitted models, and the libraries that each needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from asgard.common.errors import AsgardError, EnvironmentSetupError, UsageError, installing

if TYPE_CHECKING:
    import numpy as np


class Format(StrEnum):
    """The file format of a model."""

    LIGHTGBM = "lightgbm"
    """LightGBM's text format."""
    SKOPS = "skops"
    """scikit-learn, as data: loading creates only types that are known to be harmless."""
    PICKLE = "pickle"
    """Any object with scikit-learn's methods; loading a pickle can run any code."""
    ONNX = "onnx"
    """Run by ONNX Runtime, usually in 32-bit numbers."""
    TORCHSCRIPT = "torchscript"
    """Run by PyTorch."""
    PYFUNC = "pyfunc"
    """Any other MLflow flavour."""
    SEGMENTS = "segments"
    """One model per segment, each in one of the other formats."""


FILES = {
    Format.LIGHTGBM: "model.txt",
    Format.SKOPS: "model.skops",
    Format.PICKLE: "model.pkl",
    Format.ONNX: "model.onnx",
    Format.TORCHSCRIPT: "model.pt",
    Format.PYFUNC: "model.zip",
    Format.SEGMENTS: "segments.json",
}
"""Name of the model's own file."""


def format_of_file(path: str) -> Format | None:
    """The format of a model's file in an artifact, or of a segment's model; None for other files."""
    name = path.rpartition("/")[2]
    if path != name and not path.startswith("segments/"):
        return None
    return next((format for format, file in FILES.items() if file == name), None)


_ALWAYS = ("numpy", "pyarrow")
NEEDS = {
    Format.LIGHTGBM: (*_ALWAYS, "lightgbm"),
    Format.SKOPS: (*_ALWAYS, "pandas", "scikit-learn", "skops", "threadpoolctl"),
    Format.PICKLE: (*_ALWAYS, "pandas", "threadpoolctl"),
    Format.ONNX: (*_ALWAYS, "onnxruntime"),
    Format.TORCHSCRIPT: (*_ALWAYS, "torch"),
    Format.PYFUNC: (*_ALWAYS, "mlflow", "pandas"),
}
"""Distributions that predictions of a format need, whether or not the trainer imported them."""

TRUSTED = (
    "collections.OrderedDict",
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
)
"""Types that a skops file may contain in addition to skops' own trusted ones: they contain only numbers."""


class Scorer(Protocol):
    """A loaded model."""

    def score(self, matrix: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Predict one or more rows.

        Args:
            matrix: float64, rows x the signature's columns, nulls as NaN.

        Returns:
            float64. Binary: the probability of the second class (rows,); multiclass: of each class (rows, classes);
            regression: the value (rows,).
        """


def format_of(model: object) -> Format:
    """Choose the format of a fitted model by its type, without importing libraries that it does not use.

    Raises:
        UsageError: the type is unknown.
    """
    if isinstance(model, Path):
        return Format.PYFUNC
    names = [f"{each.__module__}.{each.__qualname__}" for each in type(model).__mro__]
    for beginning, found in (
        ("lightgbm.", Format.LIGHTGBM),
        ("onnx.", Format.ONNX),
        ("torch.", Format.TORCHSCRIPT),
        ("mlflow.pyfunc.", Format.PYFUNC),
        ("sklearn.", Format.SKOPS),
    ):
        if any(name.startswith(beginning) for name in names):
            return found
    if hasattr(model, "predict"):
        return Format.PICKLE
    raise UsageError(
        f"{names[0]} is not a supported model type.",
        hint="Use a model of scikit-learn, LightGBM, ONNX or TorchScript, or an MLflow PythonModel or model folder.",
    )


@contextmanager
def installed(format: Format) -> Iterator[None]:
    """Turn a failed import of a format's library into an error that names the extra to install."""
    try:
        yield
    except ImportError as error:
        extra = {Format.ONNX: "onnx", Format.TORCHSCRIPT: "torch"}.get(format, "model")
        raise EnvironmentSetupError(
            f"A model of format {format} needs a library that is not installed: {error}.",
            hint=installing(extra),
        ) from error


@contextmanager
def in_words(what: str, kind: type[AsgardError]) -> Iterator[None]:
    """Turn exceptions of a format's library into an error of this kind."""
    try:
        yield
    except (AsgardError, ImportError):
        raise
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise kind(
            f"{what}: {type(error).__name__}: {first}.",
            hint="Was the model made for this format, and with these library versions?",
        ) from error
