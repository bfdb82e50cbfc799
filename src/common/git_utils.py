"""Which version of the code runs: from the setting, else the stamp in a built package, else git."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from asgard.common.errors import ServiceError
from asgard.common.settings import Settings

STAMP = "_stamp.json"
"""File that `python -m asgard.local.package` writes into a built package: the commit that it was built from."""


@dataclass(frozen=True)
class CodeVersion:
    """A commit (or another name of the version, given by the caller), and whether files differ from it."""

    version: str
    dirty: bool

    def __str__(self) -> str:
        return f"{self.version}{' (dirty)' if self.dirty else ''}"


def code_version(settings: Settings, folder: Path | None = None) -> CodeVersion:
    """The version of the code that runs.

    Args:
        settings: `code_version` takes precedence if it is set.
        folder: the pipeline's folder, where git runs; by default the working folder.
    """
    if settings.code_version:
        return CodeVersion(settings.code_version, dirty=False)
    return _stamped() or _from_git(folder or Path.cwd()) or CodeVersion("unknown", dirty=False)


def repository_of(path: Path) -> Path | None:
    """The top folder of the git repository that contains a path, even a deleted one; None outside of repositories."""
    folder = next(each for each in (path.absolute(), *path.absolute().parents) if each.is_dir())
    top = _git(folder, "rev-parse", "--show-toplevel")
    return Path(top).resolve() if top else None


def state_of(repository: Path) -> CodeVersion | None:
    """The commit that is checked out in a repository; None before its first commit."""
    return _from_git(repository)


def has_commit(repository: Path, commit: str) -> bool:
    """Whether a repository contains a commit, checked out or not."""
    return _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}") is not None


@contextmanager
def checked_out(repository: Path, commit: str) -> Iterator[Path]:
    """Check out a commit into a temporary folder while the block runs; the repository's own files are not changed.

    Raises:
        ServiceError: git can't check out the commit.
    """
    with tempfile.TemporaryDirectory(prefix="asgard-code-") as folder:
        tree = Path(folder).resolve() / "tree"
        command = ["git", "-C", str(repository), "-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach"]
        try:
            done = subprocess.run([*command, str(tree), commit], capture_output=True, text=True)
            if done.returncode:
                raise ServiceError(
                    f"git can't check out {commit} of {repository}: {done.stderr.strip()}",
                    hint=f"Run git -C {repository} worktree add to see the same error.",
                )
            yield tree
        finally:
            _git(repository, "worktree", "remove", "--force", str(tree))
            _git(repository, "worktree", "prune")


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
