"""A log of a sample of lookups: the exact answers, and the published snapshot of each.

```python
from asgard.serving import LookupLog, OnlineStore

with LookupLog("lookups.jsonl", share=0.01) as log:
    store = OnlineStore("redis://127.0.0.1:6379/0", log=log)
```

A lookup only passes its answer on; a thread writes it. `asgard lookup-check` compares the log with the snapshots.
"""

import atexit
import hashlib
import json
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, NamedTuple, Self
from weakref import WeakMethod

from asgard.common.data_type import DataType
from asgard.common.errors import UsageError
from asgard.serving.lookup.results import Rows, ViewRows
from asgard.serving.lookup_audit.json_values import plain, plain_key, text

FORMAT = 1
_AT_ONCE, _PAUSE = 4, 0.0001
"""Lines written before the thread pauses, and seconds of the pause, so that lookups get the interpreter's lock."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Offered(NamedTuple):
    """A lookup that waits to be written; `at` is the time of its answer, in microseconds since 1970."""

    at: int
    entities: tuple[Mapping[str, Any], ...]
    columns: tuple[Mapping[str, Any], ...]
    rows: Rows

    @property
    def lines(self) -> int:
        """Number of lines that the lookup will take."""
        return len(self.entities) * len(self.columns)


class LookupLog:
    """Appends a sample of lookups to a file, one JSON object for each entity and view.

    All threads and clients of a process can share one log, and so can processes forked from it. A lookup never waits
    for the log and never fails because of it: lines that can't be written are dropped, and counted.

    Args:
        path: the file; several processes may append to the same file on a local disk.
        share: share of the lookups that are logged, from 0 to 1.
        most_waiting: most lines that may wait to be written; further lines are dropped.
        seed: seed of the sample; by default a new one each time.

    Raises:
        UsageError: the share is not from 0 to 1, or the file can't be written.

    Attributes:
        written, dropped: lines written and dropped so far by this process.
        trouble: why lines were dropped most recently; "" if none were.
    """

    def __init__(
        self, path: str | Path, *, share: float = 0.01, most_waiting: int = 10_000, seed: int | None = None
    ) -> None:
        if not 0 <= share <= 1:
            raise UsageError(f"The share of lookups to log is {share}.", hint="Give a number from 0 to 1.")
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise UsageError(
                f"Lookups can't be logged to {path}: {error.strerror}.", hint="Give a path that this user may write to."
            ) from error
        self._share, self._most, self._seed = share, most_waiting, seed
        self._is_closed = False
        self._start()
        again = WeakMethod(self._start)
        os.register_at_fork(after_in_child=lambda: (start := again()) and start())
        atexit.register(self.close)

    def _start(self) -> None:
        """Reset all state: at the start, and in a forked process."""
        self.written = self.dropped = self._waiting = 0
        self.trouble = ""
        self._choice = Random(self._seed)  # noqa: S311
        self._offered: deque[_Offered] = deque()
        self._ready = threading.Condition()
        self._thread: threading.Thread | None = None

    def offer(self, rows: Rows) -> None:
        """Accept an answered lookup, if it is in the sample."""
        if self._choice.random() >= self._share or self._is_closed:
            return
        lines = len(rows) * len(rows.views)
        with self._ready:
            if self._waiting + lines > self._most:
                self.dropped, self.trouble = self.dropped + lines, "more lines waited than most_waiting allows"
                return
            self._waiting += lines
        try:
            at = time.time_ns() // 1_000
            offered = _Offered(at, tuple(map(dict, rows.entities)), tuple(map(_own, rows.views)), rows)
            with self._ready:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="asgard-lookup-log", daemon=True)
                    self._thread.start()
                self._offered.append(offered)
                self._ready.notify_all()
        except Exception as error:  # e.g. no thread can be started
            with self._ready:
                self._waiting -= lines
                self.dropped, self.trouble = self.dropped + lines, f"{type(error).__name__}: {error}"

    def flush(self, timeout: float = 10.0) -> None:
        """Wait until every offered lookup is written or dropped, for at most `timeout` seconds."""
        with self._ready:
            self._ready.wait_for(lambda: not self._waiting, timeout)

    def close(self) -> None:
        """Write waiting lookups, and close the file; lookups offered afterwards are not logged."""
        if self._is_closed:
            return
        self._is_closed = True
        self.flush()
        atexit.unregister(self.close)
        with self._ready:
            self._ready.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=10.0)
        # A thread that still runs could write to another file that gets the same descriptor.
        if self._thread is None or not self._thread.is_alive():
            os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._offered or self._is_closed)
                if not self._offered:
                    return
                offered = self._offered.popleft()
            written, trouble = 0, ""
            try:
                lines = _lines(offered)
                while some := list(islice(lines, _AT_ONCE)):
                    self._write(b"".join(some))
                    written += len(some)
                    if not self._is_closed:
                        time.sleep(_PAUSE)
            except Exception as error:
                trouble = f"{type(error).__name__}: {error}"
            with self._ready:
                self.written += written
                if trouble:
                    self.dropped, self.trouble = self.dropped + offered.lines - written, trouble
                self._waiting -= offered.lines
                self._ready.notify_all()

    def _write(self, lines: bytes) -> None:
        """Write whole lines, since other processes append too; a line that the disk cut off is ended by a newline."""
        done = os.write(self._file, lines)
        if done < len(lines):
            os.write(self._file, b"\n")
            raise OSError("the disk took only a part of a line")


def _own(view: ViewRows) -> Mapping[str, Any]:
    """A view's columns, with arrays copied, so that the caller can't change them afterwards."""
    kinds = view.head.features
    return {
        name: deepcopy(column) if DataType.parse(kinds[name]).element else column
        for name, column in view.columns.items()
    }


def _lines(offered: _Offered) -> Iterator[bytes]:
    rows = offered.rows
    computed = {name: values.to_pylist() for name, values in rows.computed.items()}
    for number, (view, columns) in enumerate(zip(rows.views, offered.columns, strict=True)):
        head = view.head
        shape = shape_of(head.codec, head.version, head.keys, head.features, head.ttl_seconds)
        for place, entity in enumerate(offered.entities):
            event = view.event(place)
            line = {
                "format": FORMAT,
                "at": _moment(offered.at),
                "moment": _moment(view.now),
                "view": head.view,
                "shape": shape,
                "entity": {name: plain_key(entity[name], kind) for name, kind in head.keys.items()},
                "status": str(view.status(place)),
                "event_timestamp": None if event is None else _moment(event),
                "features": {name: plain(column[place]) for name, column in columns.items()},
                "table": head.table,
                "snapshot_id": head.snapshot_id,
                "commit": head.commit,
            }
            if computed and not number:
                line["on_demand"] = {name: plain(values[place]) for name, values in computed.items()}
            yield f"{text(line)}\n".encode()


def shape_of(
    codec: str, version: int, keys: Mapping[str, str], features: Mapping[str, str], ttl_seconds: float | None
) -> str:
    """Digest of the part of a view's declaration that lookups have."""
    known = [codec, version, list(keys.items()), list(features.items()), ttl_seconds]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def _moment(micros: int) -> Any:
    return plain(_EPOCH + timedelta(microseconds=micros))
