"""`./run`, and the lock files that it installs from."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("build", "demo", "dev")
DEMO_EXTRAS = ("local", "model", "serving")
UNLOCKED = "torch"
"""The one extra that is in no lock file; see test_house."""


def locked(name: str) -> set[tuple[str, str]]:
    """The names and versions of a lock file; a name has several where versions depend on the Python."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    return set(re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", text, re.MULTILINE))


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([ROOT / "run", *arguments], capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def without_python(tmp_path: Path) -> str:
    """A PATH with what a POSIX shell script needs, and no Python."""
    for name in ("sh", "dirname", "cat"):
        (tmp_path / name).symlink_to(Path("/bin") / name if (Path("/bin") / name).exists() else Path("/usr/bin") / name)
    return str(tmp_path)


def test_help_needs_no_python(without_python: str) -> None:
    for arguments in ([], ["help"], ["--help"]):
        done = run(*arguments, PATH=without_python)
        assert done.returncode == 0
        assert "./run COMMAND" in done.stdout


def test_an_unknown_command_is_named(without_python: str) -> None:
    done = run("tset", PATH=without_python)
    assert done.returncode == 1
    assert "there is no command 'tset'" in done.stderr


def test_without_a_python_it_says_what_is_needed(without_python: str) -> None:
    done = run("test", PATH=without_python)
    assert done.returncode == 1
    assert "Python 3.11 or 3.12" in done.stderr
    assert "hint: " in done.stderr


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_hashes_and_no_addresses(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    assert "://" not in text
    assert not re.search(r"^\s*--(?!hash=)|^-", text, re.MULTILINE)
    entries = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert len(entries) == len(locked(name)) > 0
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"(?<![\w.])/(?!lock)\w+/", text), "a path of the machine that made it"


def test_the_locks_agree() -> None:
    build, demo, dev = map(locked, LOCKS)
    assert demo <= dev
    assert not {name for name, _ in build & dev ^ build} & {name for name, _ in dev}


@pytest.mark.parametrize(("lock", "extras"), [("demo", DEMO_EXTRAS), ("dev", None)])
def test_the_locks_fit_pyproject(lock: str, extras: tuple[str, ...] | None) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional: dict[str, list[str]] = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(one for extra in extras or {*optional} - {UNLOCKED} for one in optional[extra]),
    ]
    versions = locked(lock)
    for requirement in map(Requirement, wanted):
        if requirement.name != project["name"]:
            name = re.sub(r"[-_.]+", "-", requirement.name).lower()
            found = [version for other, version in versions if other == name]
            assert found, f"{requirement} is not in {lock}.lock: ./run lock"
            assert all(map(requirement.specifier.contains, found)), f"{requirement}: {found} is locked"
