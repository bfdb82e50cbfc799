"""What each format makes of a fitted model."""

import io
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from asgard.common.errors import UsageError
from asgard.model.formats import TRUSTED, Format


def _lightgbm(model: Any) -> bytes:
    import lightgbm

    booster = getattr(model, "booster_", model)
    if not isinstance(booster, lightgbm.Booster):
        raise UsageError(f"{type(model).__name__} is no LightGBM model.", hint="Leave the format out.")
    return booster.model_to_string().encode()  # type: ignore[no-any-return, unused-ignore]


def _skops(model: Any) -> bytes:
    import skops.io

    content: bytes = skops.io.dumps(model)
    odd = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED))
    if odd:
        raise UsageError(
            f"The model can't be kept as skops: it is made of {', '.join(odd)}, which may run code when loaded.",
            hint="Use parts of scikit-learn, or keep it as pickle if you trust who trains it.",
        )
    return content


def _onnx(model: Any) -> bytes:
    import onnx

    onnx.checker.check_model(model)
    return model.SerializeToString()  # type: ignore[no-any-return, unused-ignore]


def _torchscript(model: Any) -> bytes:
    import torch

    scripted = model if isinstance(model, torch.jit.ScriptModule) else torch.jit.script(model.eval())
    buffer = io.BytesIO()
    torch.jit.save(scripted, buffer)
    return buffer.getvalue()


def _pyfunc(model: Any) -> bytes:
    if isinstance(model, Path):
        return _packed(model)
    from asgard.model.mlflow_quiet import import_mlflow

    mlflow = import_mlflow()
    with tempfile.TemporaryDirectory(prefix="asgard-model-") as name:
        folder = Path(name) / "model"
        mlflow.pyfunc.save_model(str(folder), python_model=model, pip_requirements=["mlflow"])
        return _packed(folder)


def _packed(folder: Path) -> bytes:
    """A folder as one file, the same bytes for the same files."""
    if not (folder / "MLmodel").is_file():
        raise UsageError(f"{folder} is no model folder of MLflow: it has no MLmodel.", hint="Save it by a flavour.")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


DUMPS: Mapping[Format, Callable[[Any], bytes]] = {
    Format.LIGHTGBM: _lightgbm,
    Format.SKOPS: _skops,
    Format.PICKLE: lambda model: pickle.dumps(model, protocol=5),
    Format.ONNX: _onnx,
    Format.TORCHSCRIPT: _torchscript,
    Format.PYFUNC: _pyfunc,
}
