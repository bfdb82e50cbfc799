"""The `asgard/__init__.py` that is stored with a model, and the modules that score it, for MLflow's tools.

MLflow puts the folder first on the import path of the process that loads the model. An Asgard that is installed there
takes precedence: the bundled files contain no pipelines or jobs, and may be older.
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

MODULES = (
    "common",
    "common.data_type",
    "common.errors",
    "common.lazy",
    "common.names",
    "common.settings",
    "model",
    "model.artifacts",
    "model.artifacts.artifact",
    "model.artifacts.bundled",
    "model.artifacts.environment",
    "model.artifacts.formats",
    "model.artifacts.mlflow_folder",
    "model.artifacts.pickled",
    "model.artifacts.segments",
    "model.artifacts.signature",
    "model.mlflow_access",
    "model.mlflow_access.mlflow_quiet",
    "model.pyfunc",
    "model.scoring",
    "model.scoring.matrix",
    "model.scoring.output",
    "model.scoring.predictor",
    "model.scoring.scorers",
    "model.scoring.segmented",
    "model.scoring.single_model",
)
"""The modules that `asgard.model.pyfunc` needs for all formats; a test runs each format with only these."""
FOLDER = "code"
_PACKAGES = ("common", "model", "model.artifacts", "model.mlflow_access", "model.scoring")


def files() -> dict[str, bytes]:
    """Content by path in the model's folder."""
    from pkgutil import get_data

    contents = {"__init__.py": get_data("asgard", "model/artifacts/bundled.py")}
    for module in MODULES:
        path = f"{module.replace('.', '/')}{'/__init__' if module in _PACKAGES else ''}.py"
        contents[path] = get_data("asgard", path)
    return {f"{FOLDER}/asgard/{path}": content for path, content in contents.items() if content is not None}


def _installed() -> ModuleSpec | None:
    """The installed Asgard, as opposed to one bundled with a model."""
    own = Path(__file__).resolve().parents[1]
    elsewhere = [each for each in sys.path if Path(each).resolve() != own]
    for finder in sys.meta_path:
        spec = finder.find_spec("asgard", elsewhere)
        if spec is not None and spec.loader is not None and spec.origin is not None:
            place = Path(spec.origin).resolve().parents[1]
            if place.name != FOLDER:
                return spec
    return None


if __name__ == "asgard":
    _found = _installed()
    if _found is not None and _found.loader is not None:
        sys.modules[__name__] = module_from_spec(_found)
        _found.loader.exec_module(sys.modules[__name__])
