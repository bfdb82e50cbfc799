"""The house keeps its order: packages, imports, and how quickly the command line answers."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

HEAVY = ("pyspark", "pyiceberg", "pandas", "pyarrow", "numpy", "mlflow", "matplotlib", "rich", "urllib3")


def test_the_list_of_packages_is_the_tree(repository_root: Path) -> None:
    declared = tomllib.loads((repository_root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    source = repository_root / "src"
    found = [".".join(("asgard", *path.parent.relative_to(source).parts)) for path in source.rglob("__init__.py")]
    assert declared == sorted(found)


def test_every_other_file_is_in_the_package_data(repository_root: Path) -> None:
    patterns = tomllib.loads((repository_root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    source = repository_root / "src"
    packed = {path for pattern in patterns["asgard"] for path in source.glob(pattern)}
    others = {path for path in source.rglob("*.*") if path.suffix not in {".py", ".pyc"}}
    assert packed == others


def test_pytorch_is_an_extra_of_its_own(repository_root: Path) -> None:
    extras = tomllib.loads((repository_root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [each.partition(">")[0] for each in extras["torch"]] == ["torch"]
    assert not any("torch" in each for name in ("all", "dev") for each in extras[name])
    for lock in ("dev", "demo"):
        assert "\ntorch==" not in (repository_root / "requirements" / f"{lock}.lock").read_text()


def test_all_is_every_other_extra(repository_root: Path) -> None:
    extras = tomllib.loads((repository_root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = extras["all"][0].removeprefix("asgard-lakehouse[").removesuffix("]").split(",")
    assert set(named) == set(extras) - {"all", "dev", "torch"}


def imported(path: Path) -> set[str]:
    """The modules that a file imports from, wherever in it."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def test_what_tests_share_is_in_their_support(repository_root: Path) -> None:
    files = [*(repository_root / "tests").rglob("*.py"), *(repository_root / "benchmarks").rglob("*.py")]
    from_tests = {
        (str(path.relative_to(repository_root)), module)
        for path in files
        for module in imported(path)
        if module.partition(".")[0] == "tests"
    }
    assert len(from_tests) > 100
    shared = ("tests.support", "tests.conftest")
    assert [each for each in sorted(from_tests) if not each[1].startswith(shared)] == []


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from asgard.cli.app import main; main(['--help']); "
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "backfill" in done.stdout
    assert done.stderr.strip() == "[]"


def test_declaring_a_pipeline_starts_no_spark() -> None:
    code = (
        "import sys; from asgard import Pipeline, Daily; from asgard.validation.checks import not_null; "
        "p = Pipeline('p'); p.source('bronze.a', checks=[not_null('id')]); assert 'pyspark' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
