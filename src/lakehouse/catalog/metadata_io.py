"""Reads the metadata files of Iceberg tables for PyIceberg.

PyIceberg's own `PyArrowFileIO` imports pyarrow.dataset, which imports pandas: that takes a second, and only reads of
data files need it.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile

from asgard.common.settings import Settings
from asgard.common.storage import s3_filesystem
from asgard.lakehouse.catalog.locations import is_local, local_path

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_S3 = ("s3", "s3a", "s3n")


class MetadataIO(FileIO):
    """Reads local files and those of S3; writes nothing."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    @staticmethod
    def can_read(location: str) -> bool:
        """Whether it knows the scheme of a location."""
        return is_local(location) or urlsplit(location).scheme in _S3

    @cached_property
    def _local(self) -> "FileSystem":
        from pyarrow.fs import LocalFileSystem

        return LocalFileSystem()

    @cached_property
    def _s3(self) -> "FileSystem":
        return s3_filesystem(self._settings)

    def new_input(self, location: str) -> "MetadataFile":
        """A file to read."""
        if is_local(location):
            return MetadataFile(location, self._local, local_path(location))
        return MetadataFile(location, self._s3, location.partition("://")[2])

    def new_output(self, location: str) -> OutputFile:
        """Refuse: Asgard writes tables with Spark only."""
        raise NotImplementedError(location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Refuse, likewise."""
        raise NotImplementedError(location)


class MetadataFile(InputFile):
    """One file, as PyIceberg opens it."""

    def __init__(self, location: str, filesystem: "FileSystem", path: str) -> None:
        super().__init__(location)
        self._filesystem, self._path = filesystem, path

    @cached_property
    def _info(self) -> Any:
        return self._filesystem.get_file_info(self._path)

    def __len__(self) -> int:
        """Its bytes.

        Raises:
            FileNotFoundError: it is not there.
        """
        if not self.exists():
            raise FileNotFoundError(f"There is no file {self.location}.")
        return int(self._info.size)

    def exists(self) -> bool:
        """Whether it is a file."""
        return bool(self._info.is_file)

    def open(self, seekable: bool = True) -> InputStream:
        """A stream of its bytes.

        Raises:
            OSError: it can't be opened; FileNotFoundError if it is not there.
        """
        stream: InputStream = self._filesystem.open_input_file(self._path)
        return stream
