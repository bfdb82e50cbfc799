"""The house keeps its order: packages, imports, and how quickly the command line answers."""

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
