"""A model's files and their SHA-256 manifest: what is loaded is exactly what was verified, byte for byte.

An artifact is a folder. Beside the model's own file it holds `asgard/model.json` (what the model is),
`asgard/manifest.json` (the SHA-256 of every other file), and what MLflow's doors need: `MLmodel`, `requirements.txt`,
`code/asgard` and so on (`mlflow_folder.py`). The SHA-256 of the manifest stands for all of them, and is what the
registry keeps.

Files are read once; the bytes that were hashed are those that are loaded, so nothing can change in between.
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
_HINT = "Someone changed the files after they were registered: look who can write there; restore or train again."


@dataclass(frozen=True)
class ModelSpec:
    """What a model is.

    Attributes:
        name: of the model.
        format: of its file.
        signature: what it takes and gives.
        trained_with: version of Python and of each library.
        seed: with which everything was drawn.
        params: the trainer's; what JSON can say.
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
        """As plain values, for `from_json`."""
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
        """What `to_json` gave."""
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
        spec: what the model is, as `asgard/model.json` says.
        files: content by path, the manifest too.
        sha256: of the manifest.
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
        """The artifact of a newly trained model.

        Args:
            spec: what it is.
            content: of its file, as `dumping.dump` gives it.
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
        """Read a folder and hold every byte of it against the manifest, and the manifest against its SHA-256.

        What MLflow writes beside a model's files (`mlflow_folder.is_mlflows_own`) is not read, and not kept.

        Args:
            folder: where the files are.
            expected_sha256: of the manifest, from where nobody who can write the folder can write.

        Raises:
            ArtifactError: a file was changed, is missing, or is one too many; the first of them is named.
        """
        files = read_files(folder)
        _verify(files, expected_sha256, f"in {folder}")
        return cls(_spec_of(files), files, expected_sha256)

    def save(self, folder: Path) -> Path:
        """Write the files into a folder that is not there yet, or empty.

        Raises:
            ArtifactError: there are files already.
        """
        if folder.exists() and any(folder.iterdir()):
            raise ArtifactError(f"{folder} is not empty.", hint="Name a folder that is not there yet.")
        for path, content in self.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return folder

    def verified(self, expected_sha256: str | None = None) -> "Artifact":
        """The same, after its bytes in memory were held against the manifest once more.

        Args:
            expected_sha256: known from elsewhere than these bytes; by default the artifact's own.

        Raises:
            ArtifactError: they differ; the first file that does is named.
        """
        _verify(self.files, expected_sha256 or self.sha256, f"of model {self.spec.name}")
        if _spec_of(self.files) != self.spec:
            raise ArtifactError(f"{SPEC} of model {self.spec.name} says something else than its artifact.", hint=_HINT)
        return self

    @property
    def content(self) -> bytes:
        """Of the model's own file."""
        return self.files[self.spec.file]


def require_portable(artifact: Artifact) -> None:
    """Refuse an artifact that takes code which only the process that made it has; see `pickled.require_portable`.

    Raises:
        UsageError: it names the classes.
    """
    for path, content in artifact.files.items():
        format = format_of_file(path)
        if format is not None:
            pickled.require_portable(content, format, artifact.spec.name)


def _needs_of(models: Mapping[str, bytes]) -> set[str]:
    """Distributions that the predictions of models need, by their files' names and contents."""
    formats = {path: format_of_file(path) for path in models}
    needs = {need for format in formats.values() for need in NEEDS.get(format or Format.SEGMENTS, ())}
    return needs.union(
        *(pickled.needs_of(content, formats[path] or Format.SEGMENTS) for path, content in models.items())
    )


def hash_of(content: bytes) -> str:
    """SHA-256, in hex."""
    return hashlib.sha256(content).hexdigest()


def read_files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but MLflow's own, read once, by its path there.

    Raises:
        ArtifactError: there is no such folder, or something in it is neither file nor folder (a link, a pipe).
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
    raise ArtifactError(f"{path} of a model is no file.", hint=_HINT)


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
        raise ArtifactError(f"{SPEC} can't be read: {error!r}.", hint="It was made by another Asgard.") from error
