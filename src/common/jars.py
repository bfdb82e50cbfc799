"""The jars that Asgard needs in addition to its Python packages: pinned, verified, fetched once.

They are kept in `<cache_dir>/jars`. A jar is used only if its SHA-256 equals the one below. A verified jar's size and
modification time are recorded, so that a start does not read the jars again. A jar copied there by hand is accepted,
too. An interrupted fetch leaves `<jar>.part`, and the next fetch continues it.
"""

import fcntl
import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from asgard.common.aliases import Say
from asgard.common.errors import EnvironmentSetupError
from asgard.common.maven import Artifact, download
from asgard.common.settings import Settings


class JarSet(Enum):
    """What a jar is for."""

    SPARK = "spark"
    S3 = "s3"
    JDBC = "jdbc"
    NESSIE = "nessie"


@dataclass(frozen=True)
class Jar:
    """One pinned jar: what it is for, its SHA-256, and its size in MB (10^6 bytes)."""

    artifact: Artifact
    purpose: JarSet
    sha256: str
    megabytes: int

    @property
    def file_name(self) -> str:
        """Its file name in the cache."""
        return self.artifact.file_name


JARS: tuple[Jar, ...] = (
    Jar(
        Artifact("org.apache.iceberg", "iceberg-spark-runtime-4.1_2.13", "1.12.0"),
        JarSet.SPARK,
        "3123c3798af642dd537230923548e013ef41cc28b6626e5225808cf5670a0f82",
        48,
    ),
    Jar(
        Artifact("org.apache.iceberg", "iceberg-aws-bundle", "1.12.0"),
        JarSet.S3,
        "dd7e49ffa4ac9b215bed846581991259e3aec9bb2fa08d6cec029c46cd66d957",
        69,
    ),
    Jar(
        Artifact("org.postgresql", "postgresql", "42.7.4"),
        JarSet.JDBC,
        "188976721ead8e8627eb6d8389d500dccc0c9bebd885268a3047180274a6031e",
        1,
    ),
    Jar(
        Artifact("com.mysql", "mysql-connector-j", "9.1.0"),
        JarSet.JDBC,
        "8776e2ebc46072c9a47ea59d98298c4273bd9f16a7b26b5dfa4744535aa26c62",
        3,
    ),
    Jar(
        Artifact("org.projectnessie.nessie", "nessie-quarkus", "0.99.0", "runner"),
        JarSet.NESSIE,
        "ce9fa33e2878bf5ea3981876b9e6204cabc0362b3dd82326b10e47271a78c417",
        245,
    ),
)


class JarChecksumError(EnvironmentSetupError):
    """A fetched jar differs from the pinned one."""


def ensure_jars(*purposes: JarSet, settings: Settings, say: Say | None = None) -> list[Path]:
    """The paths of the jars for these purposes, fetched if they are not in the cache yet.

    Args:
        purposes: what the jars are for.
        settings: `cache_dir`, `maven_repository` and `trust_store` are used.
        say: receives progress lines while fetching.

    Raises:
        JarDownloadError: a jar can't be fetched; the message has the artifact and the reason.
        JarChecksumError: a fetched jar has another SHA-256 than the pinned one.
        EnvironmentSetupError: the cache can't be written; the repository, proxy or trust store can't be used.
    """
    return ensure_pinned([jar for jar in JARS if jar.purpose in purposes], settings=settings, say=say)


def ensure_pinned(wanted: Sequence[Jar], *, settings: Settings, say: Say | None = None) -> list[Path]:
    """The paths of jars, fetched if they are not in the cache yet; see `ensure_jars`."""
    folder = settings.cache_dir / "jars"
    if not all(_is_checked(jar, folder) for jar in wanted):
        say = say or _say_nothing
        with _cache_lock(folder, say):
            for jar in wanted:
                if not _is_checked(jar, folder) and not _check_present(jar, folder, say):
                    _fetch(jar, folder, settings, say)
    return [folder / jar.file_name for jar in wanted]


def _say_nothing(line: str) -> None:
    """Ignore the line, for callers without `say`."""


def _note(jar: Jar, folder: Path) -> Path:
    return folder / f"{jar.file_name}.checked"


def _fingerprint(jar: Jar, path: Path) -> str:
    stat = path.stat()
    return f"{jar.sha256} {stat.st_size} {stat.st_mtime_ns}\n"


def _is_checked(jar: Jar, folder: Path) -> bool:
    """Whether the jar exists and is unchanged since its SHA-256 was last computed."""
    try:
        return _note(jar, folder).read_bytes() == _fingerprint(jar, folder / jar.file_name).encode()
    except OSError:
        return False


def _check_present(jar: Jar, folder: Path, say: Say) -> bool:
    path = folder / jar.file_name
    if not path.is_file():
        return False
    if _sha256(path) == jar.sha256:
        _remember(jar, folder)
        return True
    say(f"{path} is not the pinned jar (its SHA-256 differs): fetching it again")
    path.unlink()
    return False


def _remember(jar: Jar, folder: Path) -> None:
    note = _note(jar, folder)
    new = note.with_suffix(".new")
    new.write_text(_fingerprint(jar, folder / jar.file_name), encoding="ascii")
    new.replace(note)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _cache_lock(folder: Path, say: Say) -> Iterator[None]:
    """Allow one fetcher at a time; the kernel frees the lock when its process ends, even if it is killed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a")
    except OSError as error:
        raise EnvironmentSetupError(
            f"The jar cache {folder} can't be written: {error.strerror}.",
            hint="Set ASGARD_CACHE_DIR to a folder that you may write to.",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is fetching jars into {folder}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(jar: Jar, folder: Path, settings: Settings, say: Say) -> None:
    say(f"fetching {jar.artifact} ({jar.megabytes} MB)")
    started = time.monotonic()
    part = folder / f"{jar.file_name}.part"
    begun = _sha256(part) if part.is_file() else None
    if begun is not None and begun != jar.sha256:
        say(f"  continuing after {part.stat().st_size // 1_000_000} MB from an earlier fetch")
    digest = begun if begun == jar.sha256 else _download(jar, part, settings, say)
    if begun is not None and digest != jar.sha256:
        say("  the earlier fetch was not the beginning of this jar: fetching all of it")
        part.unlink()
        digest = _download(jar, part, settings, say)
    if digest != jar.sha256:
        part.unlink()
        raise JarChecksumError(
            f"{jar.artifact}: the fetched file is not the pinned jar: its SHA-256 is {digest}, expected {jar.sha256}.",
            hint="A mirror or a proxy changes it: ask its operator, or put the correct file at "
            f"{folder / jar.file_name} yourself.",
        )
    part.replace(folder / jar.file_name)
    _remember(jar, folder)
    say(f"fetched {jar.file_name} in {time.monotonic() - started:.1f} s")


def _download(jar: Jar, part: Path, settings: Settings, say: Say) -> str:
    """Fetch the missing part of the file, and return the SHA-256 of all of it."""
    download(jar.artifact, part, settings, say)
    return _sha256(part)
