"""The files that make an artifact a model folder of MLflow's, written by hand: `mlflow.pyfunc` and its UI read them.

`MLmodel` is YAML, of which JSON is a part.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from asgard.model.signature import Signature, dumps

if TYPE_CHECKING:
    import pandas as pd

MODEL, REQUIREMENTS, EXAMPLE = "MLmodel", "requirements.txt", "input_example.json"
LOADER = "asgard.model.pyfunc"
_TYPES = {"boolean": "boolean", "string": "string", "binary": "binary", "date": "datetime", "timestamp": "datetime"}
_NOT_INSTALLED = ("python", "java")


def made(signature: Signature, trained_with: Mapping[str, str], example: "pd.DataFrame | None") -> dict[str, bytes]:
    """Content by path.

    Args:
        signature: of the model. All numbers are `double` to MLflow: it refuses nulls in a column of whole numbers.
        trained_with: versions of what the model needs.
        example: some rows of the input.
    """
    columns = [
        {"type": _TYPES.get(column.type, "double"), "name": column.name, "required": True}
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


def _requirements(trained_with: Mapping[str, str]) -> bytes:
    pins = [f"{name}=={version}" for name, version in sorted(trained_with.items()) if name not in _NOT_INSTALLED]
    return ("\n".join(pins) + "\n").encode()
