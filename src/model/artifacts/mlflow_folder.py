"""The files that make an artifact an MLflow model folder, for `mlflow.pyfunc` and its UI; written without MLflow.

`MLmodel` is YAML, which includes JSON.
"""

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from asgard.model.artifacts import bundled
from asgard.model.artifacts.environment import installed_versions, not_from_an_index
from asgard.model.artifacts.signature import Column, Signature, dumps

if TYPE_CHECKING:
    import pandas as pd

MODEL, REQUIREMENTS, EXAMPLE = "MLmodel", "requirements.txt", "input_example.json"
CONDA, PYTHON_ENV = "conda.yaml", "python_env.yaml"
TRAINED_WITH = "asgard/trained_with.txt"
"""Requirements for everything that the trainer had imported; `requirements.txt` lists what predictions need."""
REGISTERED = "registered_model_meta"
"""The file that MLflow writes into a model's folder when it is downloaded by its registered name."""
LOADER = "asgard.model.pyfunc"
_TYPES = {"boolean": "boolean", "string": "string", "binary": "binary", "date": "datetime", "timestamp": "datetime"}
_NOT_INSTALLED = ("python", "java")
_OF_MLFLOW = ("mlflow", "numpy", "pandas", "pyarrow")
"""Distributions that loading through MLflow needs for every model."""


def is_mlflows_own(path: str) -> bool:
    """Whether a file was written by MLflow, or a Python that it started: such files are never read."""
    return path == REGISTERED or (path.startswith(f"{bundled.FOLDER}/") and "__pycache__" in path.split("/"))


def made(
    signature: Signature,
    trained_with: Mapping[str, str],
    example: "pd.DataFrame | None",
    needs: Collection[str] = (),
) -> dict[str, bytes]:
    """Build the content of the files, by path.

    Args:
        signature: the model's signature. 64-bit columns are declared `any`, because MLflow refuses nulls in a column of
            whole numbers, and whole numbers in a column of doubles; other numbers are declared `double`.
        trained_with: versions of what the trainer had imported.
        example: some rows of the input.
        needs: distributions that its predictions need, in the version used in training, or else as installed.
    """
    here = installed_versions({*needs, *_OF_MLFLOW})
    python = trained_with.get("python", here["python"])
    serving = {name: trained_with.get(name, version) for name, version in here.items()}
    columns = [
        {"type": _type(column, is_segment=column.name == signature.segment), "name": column.name, "required": True}
        for column in signature.inputs
    ]
    output: dict[str, Any] = {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}
    if signature.task == "multiclass":
        output["tensor-spec"]["shape"].append(len(signature.classes))
    model: dict[str, Any] = {
        "flavors": {
            "python_function": {
                "loader_module": LOADER,
                "python_version": python,
                "code": bundled.FOLDER,
                "env": {"conda": CONDA, "virtualenv": PYTHON_ENV},
            }
        },
        "signature": {"inputs": json.dumps(columns), "outputs": json.dumps([output]), "params": None},
    }
    requirements = _requirements(serving)
    wanted = [line for line in requirements.decode().splitlines() if not line.startswith("#")]
    files = {
        **bundled.files(),
        REQUIREMENTS: requirements,
        TRAINED_WITH: _requirements(trained_with),
        PYTHON_ENV: dumps({"python": python, "build_dependencies": ["pip"], "dependencies": [f"-r {REQUIREMENTS}"]}),
        CONDA: dumps(
            {
                "name": "mlflow-env",
                "channels": ["conda-forge"],
                "dependencies": [f"python={python}", "pip", {"pip": wanted}],
            }
        ),
    }
    if example is not None:
        model["saved_input_example_info"] = {
            "artifact_path": EXAMPLE,
            "type": "dataframe",
            "pandas_orient": "split",
        }
        files[EXAMPLE] = (example.to_json(orient="split", index=False, double_precision=15) + "\n").encode()
    return files | {MODEL: dumps(model)}


def _type(column: Column, *, is_segment: bool) -> str:
    return _TYPES.get(column.type, "long" if is_segment else "any" if column.type == "bigint" else "double")


def _requirements(trained_with: Mapping[str, str]) -> bytes:
    """Requirements with exact versions; a distribution that is not from an index becomes a comment."""
    wanted = {name: version for name, version in sorted(trained_with.items()) if name not in _NOT_INSTALLED}
    elsewhere = not_from_an_index(wanted)
    lines = [
        f"# {name}=={version} is from a folder, a file or a repository" if name in elsewhere else f"{name}=={version}"
        for name, version in wanted.items()
    ]
    return ("\n".join(lines) + "\n").encode()
