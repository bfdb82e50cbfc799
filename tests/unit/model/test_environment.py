"""What a process imported is noted by distribution and version, and held against what is installed later."""

import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from tests.support.distributions import install
from tests.support.models import signature

from asgard.common.settings import python_environment
from asgard.model.artifacts.environment import differences, imported_versions, installed_versions, not_from_an_index
from asgard.model.artifacts.mlflow_folder import CONDA, PYTHON_ENV, REQUIREMENTS, TRAINED_WITH, made


def imported(folder: Path, code: str) -> dict[str, str]:
    """What a process that runs some code says that it imported."""
    path = f"{folder}:{python_environment().get('PYTHONPATH', '')}"
    told = (
        "import json; from asgard.model.artifacts.environment import imported_versions;"
        "print(json.dumps(imported_versions()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{told}"],
        capture_output=True,
        text=True,
        check=True,
        env={**python_environment(), "PYTHONPATH": path},
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


class TestImported:
    def test_by_distribution_whatever_its_modules_are_called(self, tmp_path: Path) -> None:
        install(tmp_path, "Tiny_Numbers.Lib", "1.2", {"tiny.py": ""})
        install(tmp_path, "never-imported", "3.4", {"never.py": ""})
        found = imported(tmp_path, "import tiny")
        assert found["tiny-numbers-lib"] == "1.2"
        assert "never-imported" not in found
        assert found["python"] == platform.python_version()

    def test_of_those_that_share_a_package_only_what_was_imported(self, tmp_path: Path) -> None:
        install(tmp_path, "shared-one", "1.0", {"shared/one.py": ""})
        install(tmp_path, "shared-two", "2.0", {"shared/two.py": ""})
        found = imported(tmp_path, "import shared.one")
        assert found["shared-one"] == "1.0"
        assert "shared-two" not in found

    def test_one_distribution_with_several_packages(self, tmp_path: Path) -> None:
        install(tmp_path, "several", "1.0", {"several_a.py": "", "several_b.py": ""})
        assert imported(tmp_path, "import several_a")["several"] == "1.0"
        assert imported(tmp_path, "import several_b")["several"] == "1.0"

    def test_a_lazy_module_is_not_imported_by_looking(self, tmp_path: Path) -> None:
        lazy = (
            "import sys, types\n"
            "class Lazy(types.ModuleType):\n"
            "    def __getattr__(self, name): raise SystemExit('it was loaded')\n"
            "sys.modules['lazy'] = Lazy('lazy')"
        )
        assert "python" in imported(tmp_path, lazy)

    def test_what_only_says_that_it_is_a_module_is_left_out(self, tmp_path: Path) -> None:
        odd = (
            "import sys, types\n"
            "class Library:\n"
            "    __slots__ = ()\n"
            "    __class__ = types.ModuleType\n"
            "sys.modules['odd'] = Library()"
        )
        assert "python" in imported(tmp_path, odd)

    def test_an_editable_one_is_known_by_its_name_alone(self, tmp_path: Path) -> None:
        info = install(tmp_path, "mine", "0.1", {"mine.pth": ""}, from_url="file:///home/ann/mine", editable=True)
        (info / "top_level.txt").write_text("mine\n")
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "mine.py").write_text("")
        where = str(tmp_path / "elsewhere")
        assert imported(tmp_path, f"import sys; sys.path.insert(0, {where!r}); import mine")["mine"] == "0.1"

    def test_in_this_process(self) -> None:
        import numpy as np
        import pyarrow as pa

        found = imported_versions()
        assert (found["numpy"], found["pyarrow"]) == (np.__version__, pa.__version__)
        assert found["pytest"] == version("pytest")


class TestDifferences:
    def test_each_is_named(self) -> None:
        then = {**installed_versions(["numpy", "pandas"]), "never-there": "1.0"}
        assert differences(then) == ["never-there 1.0 -> not installed"]
        assert differences({**then, "python": "3.9.1", "pandas": "0.1", "never-there": "2.0"}) == [
            f"python 3.9.1 -> {platform.python_version()}",
            f"pandas 0.1 -> {version('pandas')}",
            "never-there 2.0 -> not installed",
        ]

    def test_none(self) -> None:
        assert differences(imported_versions()) == []


def test_requirements_have_each_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "from-a-folder", "0.3", {"from_a_folder.py": ""}, from_url="file:///home/ann/from-a-folder")
    monkeypatch.syspath_prepend(tmp_path)
    given = {"python": "3.11.9", "numpy": "2.4.6", "from-a-folder": "0.3", "tiny": "1.2"}
    assert not_from_an_index(given) == {"from-a-folder"}
    files = made(signature(), given, None, {"from-a-folder", "numpy"})
    assert files[TRAINED_WITH].decode().splitlines() == [
        "# from-a-folder==0.3 is from a folder, a file or a repository",
        "numpy==2.4.6",
        "tiny==1.2",
    ]
    serving = [
        "# from-a-folder==0.3 is from a folder, a file or a repository",
        f"mlflow=={version('mlflow')}",
        "numpy==2.4.6",
        f"pandas=={version('pandas')}",
        f"pyarrow=={version('pyarrow')}",
    ]
    assert files[REQUIREMENTS].decode().splitlines() == serving
    assert json.loads(files[CONDA])["dependencies"] == ["python=3.11.9", "pip", {"pip": serving[1:]}]
    assert json.loads(files[PYTHON_ENV])["python"] == "3.11.9"
