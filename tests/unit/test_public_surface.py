"""The public names: each is there by any order of imports, none hides a module, and a pipeline needs no other."""

import ast
import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import asgard
from asgard import Pipeline, checks, model
from asgard.common.errors import DeclarationError
from asgard.lakehouse.declaring.declaration import Properties, declare_table

PACKAGES = ("asgard", "asgard.features", "asgard.model", "asgard.serving")
_ROOT = Path(__file__).resolve().parents[2] / "examples"
EXAMPLES = sorted(path for path in _ROOT.rglob("*.py") if _ROOT / "retail" / "report" not in path.parents)
"""The pipelines; the sections of the demo's report belong to the demo, which is Asgard's own."""


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there(package: str) -> None:
    module = import_module(package)
    assert [name for name in module.__all__ if getattr(module, name, None) is None] == []
    submodules = {each.name for each in pkgutil.iter_modules(module.__path__)}
    assert submodules & set(module.__all__) <= {"model", "user_features"}, "an import of the module would hide the name"
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = module.nothing


@pytest.mark.parametrize("first", ["asgard.model.registry", "asgard.validation.checks", "asgard"])
def test_whatever_was_imported_before(first: str) -> None:
    code = (
        f"import {first}; from asgard import checks, model, Pipeline; import asgard.model.declaration as d;"
        "p = Pipeline('p'); m = model('m', labels='gold.l', target='t', views=('v',), trainer=lambda d: None, "
        "outcome_after='1d');"
        "assert type(m) is d.Model and checks.not_null('x').name == 'not_null(x)'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_package_named_model_declares_one() -> None:
    with pytest.raises(DeclarationError, match="Model churn: labels is missing"):
        model("churn")  # type: ignore[call-arg]
    assert inspect.ismodule(model)
    assert inspect.ismodule(checks)
    assert asgard.__version__


def test_properties_are_those_that_a_table_takes() -> None:
    others = ("name", "function", "module", "pipeline", "return")
    taken = {name: each for name, each in inspect.get_annotations(declare_table).items() if name not in others}
    assert inspect.get_annotations(Properties) == taken
    with pytest.raises(DeclarationError, match="interal"):
        Pipeline("shop").table("silver.x", interal="daily")  # type: ignore[call-arg]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_import_public_names_alone(path: Path) -> None:
    allowed = {"asgard", "asgard.features", "asgard.model", "asgard.serving", "asgard.common.errors"}
    imported = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    own = [node for node in imported if (node.module or "").split(".")[0] == "asgard"]
    assert [node.module for node in own if node.module not in allowed] == []
    for node in own:
        if node.module in PACKAGES:
            assert [each.name for each in node.names if each.name not in import_module(node.module).__all__] == []


def test_functions_that_name_the_package_model_reach_spark_s_workers() -> None:
    code = (
        "import asgard, pickle; from asgard import model; from pyspark import cloudpickle\n"
        "def scored(rows): return model.score_frame, asgard.model.Artifact\n"
        "assert pickle.loads(cloudpickle.dumps(scored))(None)[1].__name__ == 'Artifact'\n"
        "assert pickle.loads(cloudpickle.dumps(model)) is model"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
