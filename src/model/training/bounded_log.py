"""The log of a process, bounded: its beginning, its end, and how much was left out between them."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BEGINNING, END = 256 * 2**10, 768 * 2**10
"""Bytes that are kept."""
_CHUNK = 64 * 2**10
_GRACE_SECONDS = 5.0
"""How long to wait for the end of what is written: a process that got away may keep the pipe open."""


class BoundedLog:
    """A file that keeps the beginning and the end of what is written to it.

    Args:
        path: of the file. Its beginning is there at once, its end when it is closed.
        beginning, end: bytes that are kept of each.
    """

    def __init__(self, path: Path, beginning: int = BEGINNING, end: int = END) -> None:
        self._file = path.open("wb", buffering=0)
        self._room, self._end = beginning, end
        self._rest, self._cut = bytearray(), 0
        self._lock = threading.Lock()

    def write(self, content: bytes) -> None:
        """Take more of what is written; nothing once it is closed."""
        with self._lock:
            if self._file.closed:
                return
            first = content[: self._room]
            self._file.write(first)
            self._room -= len(first)
            self._rest += content[len(first) :]
            if len(self._rest) > 2 * self._end:
                self._shorten()

    def close(self) -> None:
        """Write the end, and how much is missing before it."""
        with self._lock:
            self._shorten()
            if self._cut:
                self._file.write(f"\n[... {self._cut:,} bytes of this log were left out here ...]\n".encode())
            self._file.write(self._rest)
            self._file.close()

    def _shorten(self) -> None:
        surplus = max(0, len(self._rest) - self._end)
        del self._rest[:surplus]
        self._cut += surplus


@contextmanager
def bounded_log(path: Path) -> Iterator[int]:
    """A descriptor for a process's output, whose beginning and end are in a file when the block has ended.

    Args:
        path: of the file.
    """
    log = BoundedLog(path)
    source, target = os.pipe()
    reader = threading.Thread(target=_copy, args=(source, log), daemon=True)
    reader.start()
    try:
        yield target
    finally:
        os.close(target)
        reader.join(_GRACE_SECONDS)
        log.close()


def _copy(source: int, log: BoundedLog) -> None:
    with os.fdopen(source, "rb", buffering=0) as stream:
        while content := stream.read(_CHUNK):
            log.write(content)
