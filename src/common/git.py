"""Which version of the code runs: setting, then the stamp in a built package, then git."""

import json
import subprocess
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from asgard.common.settings import Settings

STAMP = "_stamp.json"
"""Written into a built package by `python -m asgard.local.package`: the commit that it was built from."""


@dataclass(frozen=True)
class CodeVersion:
    """A commit (or whatever the caller names its version), and whether files differ from it."""

    version: str
    dirty: bool

    def __str__(self) -> str:
        return f"{self.version}{' (dirty)' if self.dirty else ''}"


def code_version(settings: Settings, folder: Path | None = None) -> CodeVersion:
    """The version of the code that runs.

    Args:
        settings: `code_version` wins where it is set.
        folder: of the pipeline; git is asked there, by default in the working folder.
    """
    if settings.code_version:
        return CodeVersion(settings.code_version, dirty=False)
    return _stamped() or _from_git(folder or Path.cwd()) or CodeVersion("unknown", dirty=False)


def _stamped() -> CodeVersion | None:
    stamp = resources.files("asgard").joinpath(STAMP)
    try:
        content = json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return CodeVersion(str(content["commit"]), bool(content["dirty"]))


def _from_git(folder: Path) -> CodeVersion | None:
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return CodeVersion(commit, dirty=bool(_git(folder, "status", "--porcelain", "--untracked-files=normal")))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
