"""Where a model's pipeline was loaded from: its path in a git repository, so that the code can be found again."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asgard.common.git_utils import CodeVersion, code_version, repository_of, state_of
from asgard.common.settings import Settings, python_environment
from asgard.lakehouse.declaring.loading import names_path, path_of


@dataclass(frozen=True)
class PipelineSource:
    """A pipeline as `--pipeline` named it.

    Attributes:
        reference: the `--pipeline` value, as given.
        folder: working folder of the process, where relative paths start.
        repository: top folder of the git repository that contains it; None if there is none.
        path: path of its file or folder in the repository.
        commit: commit that was checked out there.
        dirty: whether any file differed from the commit.
    """

    reference: str
    folder: str
    repository: str | None = None
    path: str | None = None
    commit: str = ""
    dirty: bool = False

    @classmethod
    def of(cls, reference: str) -> "PipelineSource":
        """Find where a pipeline is now, without importing its module."""
        path, folder = path_of(reference), str(Path.cwd())
        repository = repository_of(path) if path else None
        if path is None or repository is None or not path.is_relative_to(repository):
            return cls(reference, folder)
        state = state_of(repository)
        relative = str(path.relative_to(repository))
        return cls(
            reference, folder, str(repository), relative, state.version if state else "", bool(state and state.dirty)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(self.__dict__)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "PipelineSource":
        """Read what `to_json` returned."""
        return cls(**raw)

    def working_folder(self, tree: Path) -> Path:
        """The working folder within a tree that contains the repository's files."""
        return self._moved(Path(self.folder), tree) or tree

    def reference_in(self, tree: Path) -> str:
        """The reference of the pipeline in another tree, from that tree's working folder."""
        if self.path is None or not names_path(self.reference):
            return self.reference
        attribute = self.reference.partition(":")[2]
        return f"{tree / self.path}{f':{attribute}' if attribute else ''}"

    def search_path(self, tree: Path) -> str:
        """PYTHONPATH for a process that imports the repository's modules from a tree instead; Asgard is not moved."""
        own = Path(__file__).absolute().parents[2]
        first = [str(own.parent)] if own.name == "asgard" else []
        moved = [str(each) for entry in sys.path if (each := self._moved(Path(entry or self.folder), tree)) is not None]
        given = python_environment().get("PYTHONPATH", "").split(os.pathsep)
        return os.pathsep.join(dict.fromkeys(filter(None, (*first, *moved, *given))))

    def _moved(self, path: Path, tree: Path) -> Path | None:
        if self.repository is None or not path.resolve().is_relative_to(self.repository):
            return None
        moved = tree / path.resolve().relative_to(self.repository)
        return moved if moved.is_dir() else None


def code_of(source: PipelineSource | None, settings: Settings) -> CodeVersion:
    """The code version of a pipeline: from the settings, or of its repository, or else of the running code."""
    if settings.code_version or source is None or not source.commit:
        return code_version(settings)
    return CodeVersion(source.commit, source.dirty)
