"""Turn a fitted model into the bytes of its file."""

import io
import pickle
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

from asgard.common.errors import UsageError
from asgard.model.artifacts.formats import TRUSTED, Format, in_words, installed
from asgard.model.artifacts.pickled import found_nowhere, modules_of

_BY_PICKLE = (
    "Use only parts of scikit-learn; or, if you trust the people who train it, use pickle: model(..., format='pickle')."
)


def _lightgbm(model: Any) -> bytes:
    import lightgbm

    booster = getattr(model, "booster_", model)
    if not isinstance(booster, lightgbm.Booster):
        raise UsageError(f"{type(model).__name__} is not a LightGBM model.", hint="Leave the format out.")
    return booster.model_to_string().encode()  # type: ignore[no-any-return, unused-ignore]


def _skops(model: Any) -> bytes:
    import skops.io

    foreign = _foreign_parts(model)
    if foreign:
        raise UsageError(
            f"The model can't be kept as skops: it has parts from outside scikit-learn, {', '.join(foreign)}.",
            hint=_BY_PICKLE,
        )
    content: bytes = skops.io.dumps(model)
    odd = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED))
    if odd:
        raise UsageError(
            f"The model can't be kept as skops: it contains {', '.join(odd)}, which may run code when loaded.",
            hint=_BY_PICKLE,
        )
    return content


def _foreign_parts(model: Any) -> list[str]:
    """Estimators in a scikit-learn model, such as a step of a pipeline, that come from other libraries."""
    if not hasattr(model, "get_params"):
        return []
    parts = [model, *model.get_params().values()]
    kinds = {type(each) for each in parts if hasattr(each, "fit") and not isinstance(each, type)}
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}" for kind in kinds}
    return sorted(name for name in names if not name.startswith("sklearn."))


def _onnx(model: Any) -> bytes:
    import onnx

    onnx.checker.check_model(model)
    return model.SerializeToString()  # type: ignore[no-any-return, unused-ignore]


def _torchscript(model: Any) -> bytes:
    import torch

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.\w+` is deprecated")  # still works, until PyTorch 3
        scripted = model if isinstance(model, torch.jit.ScriptModule) else torch.jit.script(model.eval())
        torch.jit.save(scripted, buffer)
    return buffer.getvalue()


def _pyfunc(model: Any) -> bytes:
    if isinstance(model, Path):
        return _packed(model)
    packed = _saved(model)
    alone = [sys.modules[name] for name in found_nowhere(modules_of(packed, Format.PYFUNC)) if name in sys.modules]
    return _saved(model, alone) if alone else packed


def _saved(model: Any, by_value: Sequence[ModuleType] = ()) -> bytes:
    """Save an MLflow PythonModel; code of the given modules is stored in it, and not imported when it is loaded."""
    import cloudpickle  # type: ignore[import-untyped, unused-ignore]

    from asgard.model.mlflow_access.mlflow_quiet import import_mlflow

    mlflow = import_mlflow()
    with tempfile.TemporaryDirectory(prefix="asgard-model-") as name, ExitStack() as registered:
        for module in by_value:
            if module.__name__ not in cloudpickle.list_registry_pickle_by_value():
                cloudpickle.register_pickle_by_value(module)
                registered.callback(cloudpickle.unregister_pickle_by_value, module)
        folder = Path(name) / "model"
        mlflow.pyfunc.save_model(str(folder), python_model=model, pip_requirements=["mlflow"])
        return _packed(folder)


def _packed(folder: Path) -> bytes:
    """Pack a folder into one file, deterministically."""
    if not (folder / "MLmodel").is_file():
        raise UsageError(
            f"{folder} is not an MLflow model folder: it has no MLmodel.", hint="Save it with an MLflow flavour."
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


_DUMPS: Mapping[Format, Callable[[Any], bytes]] = {
    Format.LIGHTGBM: _lightgbm,
    Format.SKOPS: _skops,
    Format.PICKLE: lambda model: pickle.dumps(model, protocol=5),
    Format.ONNX: _onnx,
    Format.TORCHSCRIPT: _torchscript,
    Format.PYFUNC: _pyfunc,
}


def dump(model: Any, format: Format) -> bytes:
    """Turn a fitted model into the bytes of its file.

    Args:
        model: a scikit-learn or LightGBM model (Booster or wrapper), an ONNX ModelProto, a PyTorch module, an MLflow
            PythonModel, or the path of a folder that an MLflow flavour saved.
        format: format of the file.

    Raises:
        UsageError: the model can't be kept in this format.
        EnvironmentSetupError: the format's library is not installed.
    """
    with installed(format), in_words(f"The model can't be kept as {format}", UsageError):
        return _DUMPS[format](model)
