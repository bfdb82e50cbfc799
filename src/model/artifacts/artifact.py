"""A model's files and their SHA-256 manifest: the loaded bytes are exactly the verified ones.

An artifact is a folder. Beside the model's own file it contains `asgard/model.json` (the model's properties),
`asgard/manifest.json` (the SHA-256 of every other file), and the files that MLflow needs: `MLmodel`,
`requirements.txt`, `code/asgard` and so on (`mlflow_folder.py`). The SHA-256 of the manifest covers all of them; the
registry keeps it.

Files are read once, and the bytes that were hashed are loaded, so nothing can change in between.
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.errors import ArtifactError
from asgard.model.artifacts import mlflow_folder as mlflow_files
from asgard.model.artifacts import pickled
from asgard.model.artifacts.formats import FILES, NEEDS, Format, format_of_file
from asgard.model.artifacts.signature import Signature, dumps

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = "asgard/manifest.json"
SPEC = "asgard/model.json"
_HINT = "The files changed after they were registered: check who can write there; restore them or train again."


@dataclass(frozen=True)
class ModelSpec:
    """A model's properties.

    Attributes:
        name: name of the model.
        format: format of its file.
        signature: its inputs and outputs.
        trained_with: versions of Python and of each library.
        seed: seed of all random draws.
        params: the trainer's parameters, as JSON values.
    """

    name: str
    format: Format
    signature: Signature
    trained_with: Mapping[str, str] = field(default_factory=dict, hash=False)
    seed: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def file(self) -> str:
        """The model's own file."""
        return FILES[self.format]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `from_json`."""
        return {
            "name": self.name,
            "format": str(self.format),
            "file": self.file,
            "signature": self.signature.to_json(),
            "trained_with": dict(self.trained_with),
            "seed": self.seed,
            "params": dict(self.params),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "ModelSpec":
        """Read what `to_json` returned."""
        return cls(
            content["name"],
            Format(content["format"]),
            Signature.from_json(content["signature"]),
            content["trained_with"],
            content["seed"],
            content["params"],
        )


@dataclass(frozen=True)
class Artifact:
    """A model's files in memory; it can be pickled and sent to executors.

    Attributes:
        spec: the model's properties, from `asgard/model.json`.
        files: content by path, including the manifest.
        sha256: digest of the manifest.
    """

    spec: ModelSpec
    files: Mapping[str, bytes] = field(repr=False, hash=False)
    sha256: str

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        content: bytes,
        example: "pd.DataFrame | None" = None,
        segments: Mapping[str, bytes] | None = None,
    ) -> "Artifact":
        """Build the artifact of a newly trained model.

        Args:
            spec: the model's properties.
            content: bytes of its file, from `dumping.dump`.
            example: some rows of the input, for MLflow's pages.
            segments: content of the segments' models by path.
        """
        models = {spec.file: content, **(segments or {})}
        files = {**models, SPEC: dumps(spec.to_json())}
        files |= mlflow_files.made(spec.signature, spec.trained_with, example, _needs_of(models))
        manifest = dumps({"files": {path: hash_of(data) for path, data in files.items()}})
        return cls(spec, {**files, MANIFEST: manifest}, hash_of(manifest))

    @classmethod
    def read(cls, folder: Path, expected_sha256: str) -> "Artifact":
        """Read a folder, and verify all of its files against the manifest, and the manifest against its SHA-256.

        Files that MLflow writes beside a model's (`mlflow_folder.is_mlflows_own`) are not read, and not kept.

        Args:
            folder: the folder with the files.
            expected_sha256: digest of the manifest, from a place that nobody who can write to the folder can change.

        Raises:
            ArtifactError: a file was changed, is missing, or is not in the manifest; the message names the first one.
        """
        files = read_files(folder)
        _verify(files, expected_sha256, f"in {folder}")
        return cls(_spec_of(files), files, expected_sha256)

    def save(self, folder: Path) -> Path:
        """Write the files into a new or empty folder.

        Raises:
            ArtifactError: the folder contains files.
        """
        if folder.exists() and any(folder.iterdir()):
            raise ArtifactError(f"{folder} is not empty.", hint="Choose a new folder.")
        for path, content in self.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return folder

    def verified(self, expected_sha256: str | None = None) -> "Artifact":
        """Verify the bytes in memory against the manifest again, and return the artifact.

        Args:
            expected_sha256: digest from another source than these bytes; by default the artifact's own.

        Raises:
            ArtifactError: a file differs; the message names the first one.
        """
        _verify(self.files, expected_sha256 or self.sha256, f"of model {self.spec.name}")
        if _spec_of(self.files) != self.spec:
            raise ArtifactError(f"{SPEC} of model {self.spec.name} differs from its artifact.", hint=_HINT)
        return self

    @property
    def content(self) -> bytes:
        """Bytes of the model's own file."""
        return self.files[self.spec.file]


def require_portable(artifact: Artifact) -> None:
    """Refuse an artifact that needs code that only the training process has; see `pickled.require_portable`.

    Raises:
        UsageError: the artifact needs such code; the message names the classes.
    """
    for path, content in artifact.files.items():
        format = format_of_file(path)
        if format is not None:
            pickled.require_portable(content, format, artifact.spec.name)


def _needs_of(models: Mapping[str, bytes]) -> set[str]:
    """Distributions that predictions of the models need, by the names and contents of their files."""
    formats = {path: format_of_file(path) for path in models}
    needs = {need for format in formats.values() for need in NEEDS.get(format or Format.SEGMENTS, ())}
    return needs.union(
        *(pickled.needs_of(content, formats[path] or Format.SEGMENTS) for path, content in models.items())
    )


def hash_of(content: bytes) -> str:
    """SHA-256, in hex."""
    return hashlib.sha256(content).hexdigest()


def read_files(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder once, except MLflow's own, by its path in the folder.

    Raises:
        ArtifactError: the folder does not exist, or contains something other than files and folders (a link, a pipe).
    """
    if not folder.is_dir():
        raise ArtifactError(f"There is no model in {folder}.", hint="Download the version again.")
    files = {}
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted((*names, *(each for each in folders if (Path(parent) / each).is_symlink()))):
            path = Path(parent) / name
            relative = path.relative_to(folder).as_posix()
            if not mlflow_files.is_mlflows_own(relative):
                files[relative] = _content(path)
    return files


def _content(path: Path) -> bytes:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read()
    except OSError as error:
        raise ArtifactError(f"{path} of a model can't be read: {error.strerror}.", hint=_HINT) from error
    raise ArtifactError(f"{path} of a model is not a file.", hint=_HINT)


def _verify(files: Mapping[str, bytes], expected_sha256: str, where: str) -> None:
    manifest = files.get(MANIFEST)
    if manifest is None:
        raise ArtifactError(f"{MANIFEST} {where} is missing.", hint=_HINT)
    if hash_of(manifest) != expected_sha256:
        raise ArtifactError(
            f"{MANIFEST} {where} was changed: its SHA-256 is {hash_of(manifest)}, expected {expected_sha256}.",
            hint=_HINT,
        )
    expected: dict[str, str] = json.loads(manifest)["files"]
    for path in sorted({*expected, *files} - {MANIFEST}):
        if path not in files:
            raise ArtifactError(f"{path} {where} is missing.", hint=_HINT)
        if path not in expected:
            raise ArtifactError(f"{path} {where} is not one of the model's files.", hint=_HINT)
        if hash_of(files[path]) != expected[path]:
            raise ArtifactError(
                f"{path} {where} was changed: its SHA-256 is {hash_of(files[path])}, expected {expected[path]}.",
                hint=_HINT,
            )


def _spec_of(files: Mapping[str, bytes]) -> ModelSpec:
    try:
        return ModelSpec.from_json(json.loads(files[SPEC]))
    except (KeyError, ValueError, TypeError) as error:
        raise ArtifactError(f"{SPEC} can't be read: {error!r}.", hint="Another version of Asgard made it.") from error
