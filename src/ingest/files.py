"""Find the files that a call names, hash them, and detect whether one changed in the meantime.

A file is identified by its content: the SHA-256 of its stored bytes (of the compressed ones, for a gzip).
"""

import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote, urlsplit

from asgard.common.aliases import Say
from asgard.common.errors import InputDataError, UsageError
from asgard.common.settings import Settings, redact_url
from asgard.ingest.formats import EXTENSIONS, Format, format_of
from asgard.lakehouse.catalog.lake import hand_over_credentials

if TYPE_CHECKING:
    from pyarrow.fs import S3FileSystem

CHUNK = 1 << 20
_HASHING_THREADS = 4
_WILDCARD = re.compile(r"[*?\[]")
_S3_HINT = "Check the bucket, and AWS_* or S3's own credentials for it."


@dataclass(frozen=True)
class S3Door:
    """S3's region and endpoint; credentials come from the environment of the process that opens it."""

    region: str | None
    endpoint: str | None

    def open(self) -> "S3FileSystem":
        """A client for this process."""
        from pyarrow.fs import S3FileSystem

        options = {"region": self.region, "endpoint_override": self.endpoint}
        return S3FileSystem(**{name: value for name, value in options.items() if value})


@dataclass(frozen=True)
class SourceFile:
    """One file to ingest.

    Attributes:
        name: as given, or as found below the given folder; written to `_source_file`.
        location: absolute path, or `bucket/key`.
        s3: None for a local file.
        size: in bytes.
        stamp: changes when the file changes.
        digest: SHA-256 of its bytes, hexadecimal; "" until it is hashed.
    """

    name: str
    location: str
    s3: S3Door | None
    size: int
    stamp: str
    digest: str = ""

    def open(self) -> BinaryIO:
        """Its bytes, from the start.

        Raises:
            InputDataError: it can't be opened.
        """
        try:
            if self.s3 is None:
                return Path(self.location).open("rb")
            stream: BinaryIO = self.s3.open().open_input_stream(self.location)
            return stream
        except OSError as error:
            raise unreadable(self.name, error) from error

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, a piece at a time.

        Raises:
            InputDataError: it can't be read.
        """
        with self.open() as stream:
            try:
                while piece := stream.read(CHUNK):
                    yield piece
            except OSError as error:
                raise unreadable(self.name, error) from error

    def hashed(self) -> "SourceFile":
        """The same file with its digest; its size and stamp are verified.

        Raises:
            InputDataError: it can't be read, or changes while it is read.
        """
        digest, size = hashlib.sha256(), 0
        for piece in self.chunks():
            digest.update(piece)
            size += len(piece)
        if size != self.size or self.current_stamp() != self.stamp:
            raise changed(self.name)
        return replace(self, digest=digest.hexdigest())

    def current_stamp(self) -> str:
        """The stamp that the file has now.

        Raises:
            InputDataError: it is missing.
        """
        try:
            return _local_stamp(self.location) if self.s3 is None else _s3_stamp(self.s3.open(), self.location)
        except OSError as error:
            raise unreadable(self.name, error) from error

    def require_unchanged(self) -> None:
        """Hash the file again and compare it with what was ingested.

        Raises:
            InputDataError: the file changed.
        """
        if self.current_stamp() != self.stamp or self.hashed().digest != self.digest:
            raise changed(self.name)


def changed(name: str) -> InputDataError:
    """The error for a file that changed."""
    return InputDataError(
        f"{printable(name)} changed while it was being ingested: nothing was published.",
        hint="Wait until its writer is done (best: write elsewhere, then rename), and run again.",
    )


def unreadable(name: str, error: OSError) -> InputDataError:
    """The error for a file that is missing or can't be read."""
    return InputDataError(
        f"{printable(name)} can't be read: {error.strerror or error}.",
        hint="Was it moved or removed, or is a permission missing?",
    )


def printable(name: str) -> str:
    """A file's name with escaped control characters, so that it can't control a terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)


def find_files(sources: Sequence[str], kind: Format | None, settings: Settings, say: Say) -> tuple[SourceFile, ...]:
    """The files that paths, folders and globs name, each once, in order of their names.

    Args:
        sources: local paths, `file://` or `s3://` addresses; a folder means all files below it,
            except those whose name starts with `.` or `_`; `*`, `?`, `[...]` and `**` are wildcards.
        kind: the format of all of them; None: as their names say.
        settings: region and endpoint of S3.
        say: called with one line for each file of a folder or glob that is left out because its name does not say its
            format.

    Raises:
        UsageError: an address of another kind, or a single file whose name does not say its format.
        InputDataError: a source matches no file.
    """
    found: dict[tuple[bool, str], SourceFile] = {}
    for source in sources:
        fresh = _find(source, settings)
        if not fresh:
            raise InputDataError(
                f"{printable(redact_url(source))} matches no file.",
                hint="Give an existing file, a folder with files, or a glob that matches some.",
            )
        usable = [file for file in fresh if kind or format_of(file.name)]
        if not usable:
            raise UsageError(
                f"The name of {printable(fresh[0].name)} does not say its format.",
                hint=f"Say --format, or name it with one of {EXTENSIONS} (and .gz).",
            )
        for file in fresh:
            if file not in usable:
                say(f"left out {printable(file.name)}: its name does not say its format")
        for file in usable:
            found.setdefault((file.s3 is None, file.location), file)
    return tuple(sorted(found.values(), key=lambda file: file.name))


def hash_files(files: Iterable[SourceFile]) -> tuple[SourceFile, ...]:
    """The files with their digests; several are read concurrently.

    Raises:
        InputDataError: a file can't be read, or changes meanwhile.
    """
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        return tuple(pool.map(SourceFile.hashed, files))


def _find(source: str, settings: Settings) -> list[SourceFile]:
    scheme = source.partition("://")[0].lower() if "://" in source else ""
    if scheme in ("s3", "s3a"):
        hand_over_credentials(settings)  # S3 clients here and on the workers take them from the environment
        return _find_s3(source, S3Door(settings.aws_region, settings.s3_endpoint))
    if scheme == "file":
        return _find_local(unquote(urlsplit(source).path))
    if scheme:
        raise UsageError(
            f"{printable(redact_url(source))} is neither a local path nor on S3.",
            hint="Give a path, file:///... or s3://bucket/...; download it first, or read a database by --jdbc-url.",
        )
    return _find_local(source)


def _find_local(source: str) -> list[SourceFile]:
    path = Path(source).expanduser()
    try:
        if path.is_file():
            names = [str(path)]
        elif path.is_dir():
            names = [name for name in _below(str(path)) if _is_visible(os.path.relpath(name, path))]
        else:
            names = [name for name in glob.glob(str(path), recursive=True) if os.path.isfile(name)]
        return [local_file(name) for name in sorted(names)]
    except OSError as error:
        raise unreadable(source, error) from error


def _below(folder: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise error

    for parent, _, names in os.walk(folder, onerror=refuse):
        yield from (os.path.join(parent, name) for name in names)


def _is_visible(relative: str) -> bool:
    return not any(part.startswith((".", "_")) for part in relative.split("/"))


def local_file(name: str) -> SourceFile:
    """One file of this machine, not hashed yet.

    Raises:
        InputDataError: its name is not UTF-8.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InputDataError(
            f"The name of {printable(name)} is not UTF-8, so it can't be stored in a table.", hint="Rename the file."
        ) from error
    return SourceFile(os.path.normpath(name), os.path.abspath(name), None, os.stat(name).st_size, _local_stamp(name))


def _local_stamp(path: str) -> str:
    stat = os.stat(path)
    return f"{stat.st_dev}-{stat.st_ino}-{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}"


def _find_s3(source: str, door: S3Door) -> list[SourceFile]:
    from pyarrow.fs import FileSelector, FileType

    parts = urlsplit(source.replace("?", "%3F").replace("#", "%23"))
    path = unquote(f"{parts.netloc.rpartition('@')[2]}{parts.path}").rstrip("/")
    try:
        client = door.open()
        info = client.get_file_info(path)
        if info.type == FileType.File:
            entries: list[Any] = [info]
        else:
            fixed = path if info.type == FileType.Directory else path[: _first_wildcard(path)].rpartition("/")[0]
            if not fixed:
                return []
            below = client.get_file_info(FileSelector(fixed, recursive=True, allow_not_found=True))
            entries = [one for one in below if one.type == FileType.File and _is_wanted(one.path, path, fixed)]
        return [
            SourceFile(f"s3://{one.path}", one.path, door, one.size, _s3_stamp(client, one.path)) for one in entries
        ]
    except OSError as error:
        raise InputDataError(f"{printable(redact_url(source))} can't be listed: {error}.", hint=_S3_HINT) from error


def _first_wildcard(path: str) -> int:
    match = _WILDCARD.search(path)
    return match.start() if match else len(path)


def _is_wanted(found: str, asked: str, folder: str) -> bool:
    if folder == asked:
        return _is_visible(found.removeprefix(f"{folder}/"))
    return _glob_matches(asked, found)


def _glob_matches(pattern: str, path: str) -> bool:
    """Whether a path matches a glob: `*`, `?` and `[...]` stay within one folder, `**` spans folders."""
    wildcards = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    expression = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^\]]+\])", pattern):
        if part in wildcards:
            expression += wildcards[part]
        elif part.startswith("["):
            expression += f"[{'^' if part[1] == '!' else ''}{re.escape(part[1:-1].removeprefix('!'))}]".replace(
                "\\-", "-"
            )
        else:
            expression += re.escape(part)
    return re.fullmatch(expression, path, re.DOTALL) is not None


def _s3_stamp(client: "S3FileSystem", path: str) -> str:
    with client.open_input_stream(path) as stream:
        metadata = stream.metadata()
    info = client.get_file_info(path)
    return f"{info.size}-{info.mtime_ns}-{(metadata or {}).get(b'ETag', b'').decode()}"
