"""Small files beside the tables (run records, events, markers), with the same calls for a folder and for S3."""

import errno
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from asgard.common.errors import EnvironmentSetupError, ServiceError
from asgard.common.settings import Settings

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


@dataclass(frozen=True)
class StoredFile:
    """One stored file: its path below the storage's root, and its modification time according to the storage."""

    path: str
    modified: datetime


class Storage:
    """Files below `<warehouse>/_asgard`, addressed by relative paths with `/`.

    Writes are atomic: a reader sees the complete old file, the complete new one, or none.
    """

    def __init__(self, filesystem: "FileSystem", root: str, *, local: bool) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        self._local = local

    @classmethod
    def of(cls, settings: Settings) -> "Storage":
        """The storage of the warehouse that the settings name."""
        from pyarrow.fs import LocalFileSystem

        parts = urlsplit(settings.warehouse)
        if parts.scheme == "file":
            return cls(LocalFileSystem(), f"{unquote(parts.path).rstrip('/')}/_asgard", local=True)
        return cls(s3_filesystem(settings), f"{parts.netloc}{parts.path.rstrip('/')}/_asgard", local=False)

    def read(self, path: str) -> bytes | None:
        """The bytes of a file, or None if it does not exist."""
        try:
            with self._filesystem.open_input_file(self._full(path)) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failed("read", path, error) from error

    def read_json(self, path: str) -> dict[str, Any] | None:
        """The JSON object in a file, or None if the file does not exist.

        Raises:
            ServiceError: the file does not contain a JSON object.
        """
        data = self.read(path)
        try:
            content = json.loads(data) if data is not None else None
        except ValueError:
            content = ()
        if content is not None and not isinstance(content, dict):
            raise ServiceError(
                f"{path} below _asgard/ in the warehouse is damaged: it does not contain a JSON object.",
                hint="Asgard writes files atomically: find out what else wrote there, and move the file away.",
            )
        return content

    def write(self, path: str, data: bytes) -> None:
        """Write a file, replacing an existing one.

        Raises:
            EnvironmentSetupError: the disk is full.
            ServiceError: the storage refused the write.
        """
        try:
            if self._local:
                os.replace(self._temporary(path, data), self._full(path))
            else:
                with self._filesystem.open_output_stream(self._full(path)) as stream:
                    stream.write(data)
        except OSError as error:
            raise _failed("write", path, error) from error

    def create(self, path: str, data: bytes) -> bool:
        """Write a file if it does not exist; False if it existed.

        On a local disk, exactly one of several concurrent callers gets True. The S3 client used here has no such call:
        on S3 this is a read followed by a write, and callers must rely on another arbiter (Nessie).
        """
        if not self._local:
            if self.read(path) is not None:
                return False
            self.write(path, data)
            return True
        try:
            temporary = self._temporary(path, data)
            try:
                os.link(temporary, self._full(path))
            except FileExistsError:
                return False
            finally:
                os.unlink(temporary)
        except OSError as error:
            raise _failed("create", path, error) from error
        return True

    def list(self, prefix: str) -> Iterator[StoredFile]:
        """Every file below a folder, sorted by path."""
        from pyarrow.fs import FileSelector, FileType

        selector = FileSelector(self._full(prefix), recursive=True, allow_not_found=True)
        try:
            infos = self._filesystem.get_file_info(selector)
        except FileNotFoundError:  # the folder was created between two reads of it by pyarrow
            infos = self._filesystem.get_file_info(selector)
        except OSError as error:
            raise _failed("list", prefix, error) from error
        files = [info for info in infos if info.type == FileType.File]
        for info in sorted(files, key=lambda info: str(info.path)):
            if not info.base_name.startswith("."):
                yield StoredFile(info.path.removeprefix(f"{self._root}/"), info.mtime)

    def delete(self, path: str) -> None:
        """Remove a file; does nothing if it does not exist."""
        try:
            self._filesystem.delete_file(self._full(path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise _failed("delete", path, error) from error

    def _full(self, path: str) -> str:
        if ".." in path.split("/") or path.startswith("/"):
            raise ServiceError(
                f"{path!r} is outside the folder of Asgard's own files.", hint="This is a defect: report it."
            )
        return f"{self._root}/{path}"

    def _temporary(self, path: str, data: bytes) -> str:
        folder = Path(self._full(path)).parent
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = new_file(folder)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            os.unlink(name)
            raise
        return name


def s3_filesystem(settings: Settings) -> "FileSystem":
    """S3 with the credentials, the region and the endpoint of the settings."""
    from pyarrow.fs import S3FileSystem

    options = {
        "access_key": settings.aws_access_key_id and settings.aws_access_key_id.reveal(),
        "secret_key": settings.aws_secret_access_key and settings.aws_secret_access_key.reveal(),
        "session_token": settings.aws_session_token and settings.aws_session_token.reveal(),
        "region": settings.aws_region,
        "endpoint_override": settings.s3_endpoint,
    }
    return S3FileSystem(**{name: value for name, value in options.items() if value})


def new_file(folder: Path, suffix: str = "") -> tuple[int, str]:
    """Create a hidden file with a unique name and the umask's permissions; returns its open handle and its path.

    `tempfile` would make it readable by its owner only, and it would keep those permissions after its renaming.
    """
    name = f"{folder}/.{secrets.token_hex(8)}{suffix}"
    return os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666), name


def _failed(what: str, path: str, error: OSError) -> ServiceError | EnvironmentSetupError:
    if error.errno == errno.ENOSPC:
        return EnvironmentSetupError(f"The disk is full: can't {what} {path}.", hint="Free some space, then run again.")
    return ServiceError(
        f"Can't {what} {path} in the warehouse: {error}", hint="Check the warehouse and its credentials."
    )
