"""How a fitted model becomes bytes, and verified bytes become a scorer again.

Nothing here verifies anything: `load` is given the bytes that an `Artifact` has held against its manifest.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from asgard.common.errors import ArtifactError, AsgardError, EnvironmentSetupError, UsageError
from asgard.model.artifacts.signature import Signature

if TYPE_CHECKING:
    import numpy as np


class Format(StrEnum):
    """How a model is kept."""

    LIGHTGBM = "lightgbm"
    """LightGBM's own text."""
    SKOPS = "skops"
    """scikit-learn, as data: only types that are known to be harmless are made of it."""
    PICKLE = "pickle"
    """Any object with scikit-learn's methods; loading it runs what it says."""
    ONNX = "onnx"
    """By ONNX Runtime, most often in 32-bit numbers."""
    TORCHSCRIPT = "torchscript"
    """By PyTorch."""
    PYFUNC = "pyfunc"
    """Any other flavour, through MLflow."""
    SEGMENTS = "segments"
    """A model for each segment, each in one of the other formats."""


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
    """The format of a model's file in an artifact, also of one segment's; None of other files."""
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
"""Distributions that a model's predictions need, whatever its trainer imported."""

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
"""Types beside skops' own that a skops file may be made of: they only hold numbers."""


class Scorer(Protocol):
    """A loaded model."""

    def score(self, matrix: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Predictions of at least one row.

        Args:
            matrix: float64, rows x the signature's columns, nulls as NaN.

        Returns:
            float64. Binary: the probability of the second class (rows,); multiclass: of each class (rows, classes);
            regression: the value (rows,).
        """


def format_of(model: object) -> Format:
    """How a fitted model is best kept, by its type; a library that it does not come from is not imported.

    Raises:
        UsageError: it is of no type that is known.
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
        f"{names[0]} is no model that can be kept.",
        hint="Give one of scikit-learn, LightGBM, ONNX or TorchScript, or an MLflow PythonModel or model folder.",
    )


def dump(model: Any, format: Format) -> bytes:
    """A fitted model as the bytes of its file.

    Args:
        model: scikit-learn's, LightGBM's (Booster or wrapper), an ONNX ModelProto, a PyTorch module, an MLflow
            PythonModel, or the path of a folder that any flavour of MLflow saved.
        format: how it is kept.

    Raises:
        UsageError: the model can't be kept so.
        EnvironmentSetupError: the format's library is not installed.
    """
    from asgard.model.artifacts import dumping

    with _installed(format), _said(f"The model can't be kept as {format}", UsageError):
        return dumping.DUMPS[format](model)


def load(content: bytes, format: Format, signature: Signature, threads: int = 1) -> Scorer:
    """A scorer from the verified bytes of a model's file.

    Args:
        content: of the file.
        format: how it was kept.
        signature: of the model.
        threads: that scoring may use.

    Raises:
        ArtifactError: they can't be loaded, or what they make is no such model.
        EnvironmentSetupError: the format's library is not installed.
    """
    from asgard.model.scoring import scorers

    if format is not Format.PYFUNC:
        signature.require_numbers(format)
    with _installed(format), _said(f"The {format} file can't be loaded", ArtifactError), _same_version():
        return scorers.SCORERS[format](content, signature, threads)


@contextmanager
def _installed(format: Format) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        extra = {Format.ONNX: "onnx", Format.TORCHSCRIPT: "torch"}.get(format, "model")
        raise EnvironmentSetupError(
            f"A model of format {format} needs what is not installed: {error}.",
            hint=f"pip install 'asgard-lakehouse[{extra}]'",
        ) from error


@contextmanager
def _said(what: str, kind: type[AsgardError]) -> Iterator[None]:
    try:
        yield
    except (AsgardError, ImportError):
        raise
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise kind(
            f"{what}: {type(error).__name__}: {first}.",
            hint="Was the model made for this format, and by these versions?",
        ) from error


@contextmanager
def _same_version() -> Iterator[None]:
    """Refuse a scikit-learn model of another version: scikit-learn warns only, but its numbers may be wrong."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if warning.category.__name__ == "InconsistentVersionWarning":
            raise ArtifactError(
                f"The model was trained with another scikit-learn: {warning.message}".split(" This might")[0],
                hint="Install the versions in the model's requirements.txt, or train it again.",
            )
