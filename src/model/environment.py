"""What a model was trained with, so that it can be installed again."""

import platform
from importlib.metadata import PackageNotFoundError, version

_LIBRARIES = (
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "lightgbm",
    "skops",
    "onnx",
    "onnxruntime",
    "torch",
    "mlflow",
)


def library_versions() -> dict[str, str]:
    """Python's version and that of each library that training may depend on, as installed here."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def differences(then: dict[str, str]) -> list[str]:
    """What is installed differently now, in words."""
    now = library_versions()
    return [
        f"{name} {then.get(name, 'not installed')} -> {now.get(name, 'not installed')}"
        for name in dict.fromkeys((*then, *now))
        if then.get(name) != now.get(name)
    ]
