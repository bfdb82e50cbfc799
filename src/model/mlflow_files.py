"""The files that make an artifact a model folder of MLflow's, written by hand: `mlflow.pyfunc` and its UI read them.

`MLmodel` is YAML, of which JSON is a part.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from asgard.model.environment import not_from_an_index
from asgard.model.signature import Column, Signature, dumps

if TYPE_CHECKING:
    import pandas as pd

MODEL, REQUIREMENTS, EXAMPLE = "MLmodel", "requirements.txt", "input_example.json"
LOADER = "asgard.model.pyfunc"
_TYPES = {"boolean": "boolean", "string": "string", "binary": "binary", "date": "datetime", "timestamp": "datetime"}
_NOT_INSTALLED = ("python", "java")


def made(signature: Signature, trained_with: Mapping[str, str], example: "pd.DataFrame | None") -> dict[str, bytes]:
    """Content by path.

    Args:
        signature: of the model. All numbers are `double` to MLflow: it refuses nulls in a column of whole numbers. Only
            those that name segments are not.
        trained_with: versions of what the model needs.
        example: some rows of the input.
    """
    columns = [
        {"type": _type(column, is_segment=column.name == signature.segment), "name": column.name, "required": True}
        for column in signature.inputs
    ]
    output: dict[str, Any] = {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}
    if signature.task == "multiclass":
        output["tensor-spec"]["shape"].append(len(signature.classes))
    model: dict[str, Any] = {
        "flavors": {"python_function": {"loader_module": LOADER, "python_version": trained_with.get("python", "3")}},
        "signature": {"inputs": json.dumps(columns), "outputs": json.dumps([output]), "params": None},
    }
    files = {REQUIREMENTS: _requirements(trained_with)}
    if example is not None:
        model["saved_input_example_info"] = {
            "artifact_path": EXAMPLE,
            "type": "dataframe",
            "pandas_orient": "split",
        }
        files[EXAMPLE] = (example.to_json(orient="split", index=False, double_precision=15) + "\n").encode()
    return files | {MODEL: dumps(model)}


def _type(column: Column, *, is_segment: bool) -> str:
    return _TYPES.get(column.type, "long" if is_segment else "double")


def _requirements(trained_with: Mapping[str, str]) -> bytes:
    """Exact versions; what no index has is a comment."""
    wanted = {name: version for name, version in sorted(trained_with.items()) if name not in _NOT_INSTALLED}
    elsewhere = not_from_an_index(wanted)
    lines = [
        f"# {name}=={version} is from a folder, a file or a repository" if name in elsewhere else f"{name}=={version}"
        for name, version in wanted.items()
    ]
    return ("\n".join(lines) + "\n").encode()
