"""The files that are kept of each attempt of a run: start, record, outcome, and a sign of life.

```
_asgard/runs/<run_id>/<attempt>.start.json     reserves the attempt's number; never changed
_asgard/runs/<run_id>/<attempt>.json           the record, written before the publish; never changed
_asgard/runs/<run_id>/<attempt>.outcome.json   how it ended; may be missing: Nessie's log decides
_asgard/live/<run_id>.<random>                 renewed while a process of the run is alive
```
"""

import hashlib
import json
import re
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from asgard.common.errors import AsgardError, RunError
from asgard.common.heartbeat import beating
from asgard.common.names import RunId
from asgard.common.storage import Storage, StoredFile

_MAX_ATTEMPTS = 1000
_TIME_LENGTH = len("20240131t235959")
_PATH = re.compile(r"runs/[^/]+/\d+(?:\.(?:start|outcome))?\.json")


@dataclass(frozen=True)
class AttemptRecord:
    """Everything that is stored of one attempt; a part that was never written is empty."""

    run_id: RunId
    attempt: int
    start: Mapping[str, Any] = field(default_factory=dict, hash=False)
    record: Mapping[str, Any] = field(default_factory=dict, hash=False)
    outcome: Mapping[str, Any] = field(default_factory=dict, hash=False)


class RunRecords:
    """The records of all runs of one warehouse."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def reserve(self, run_id: RunId, start: Mapping[str, Any]) -> int:
        """Reserve the next attempt number of a run, which was never used before, and record its start."""
        taken = [_parse(entry.path)[1] for entry in self._entries(run_id)]
        for attempt in range(max(taken, default=0) + 1, _MAX_ATTEMPTS):
            if self._storage.create(f"runs/{run_id}/{attempt}.start.json", _encode(start)):
                return attempt
        raise RunError(f"Run {run_id} has had {_MAX_ATTEMPTS} attempts.", hint="Start a new run.")

    def write_record(self, run_id: RunId, attempt: int, record: Mapping[str, Any]) -> str:
        """Store an attempt's record and return its SHA-256, which the publish commit names."""
        data = _encode(record)
        if not self._storage.create(f"runs/{run_id}/{attempt}.json", data):
            raise RunError(
                f"Attempt {attempt} of run {run_id} has a record already.",
                hint="Records are never changed: report this.",
            )
        return hashlib.sha256(data).hexdigest()

    def write_outcome(self, run_id: RunId, attempt: int, outcome: Mapping[str, Any]) -> None:
        """Store how an attempt ended."""
        self._storage.write(f"runs/{run_id}/{attempt}.outcome.json", _encode(outcome))

    def attempts(self, run_id: RunId | None = None, *, limit: int | None = None) -> list[AttemptRecord]:
        """The stored attempts, of one run or of all, newest first; no more than `limit`.

        Runs are ordered by the second in their run id; runs of one second, by the time of their first file.
        """
        parts: dict[tuple[RunId, int], dict[str, str]] = {}
        written: dict[RunId, datetime] = {}
        for entry in self._entries(run_id):
            run, attempt, part = _parse(entry.path)
            parts.setdefault((run, attempt), {})[part] = entry.path
            written[run] = min(entry.modified, written.get(run, entry.modified))
        newest = sorted(parts, key=lambda key: (key[0][:_TIME_LENGTH], written[key[0]], *key), reverse=True)[:limit]
        return [AttemptRecord(*key, **self._load(parts[key])) for key in newest]

    def _load(self, paths: Mapping[str, str]) -> dict[str, Any]:
        return {part: self._storage.read_json(path) or {} for part, path in paths.items()}

    def digest(self, run_id: RunId, attempt: int) -> str | None:
        """The SHA-256 of a stored record, to compare with the publish commit's."""
        data = self._storage.read(f"runs/{run_id}/{attempt}.json")
        return hashlib.sha256(data).hexdigest() if data is not None else None

    def signs_of_life(self) -> dict[RunId, datetime]:
        """When each running run last renewed its sign of life, by the storage's clock; ended runs are left out."""
        begun: dict[RunId, datetime] = {}
        for entry in self._storage.list("live"):
            run_id = RunId(entry.path.removeprefix("live/").split(".")[0])
            begun[run_id] = max(entry.modified, begun.get(run_id, entry.modified))
        return begun

    @contextmanager
    def alive(self, run_id: RunId) -> Iterator[None]:
        """Renew this process's sign of life for the run until the block ends."""
        path = f"live/{run_id}.{secrets.token_hex(4)}"
        note = _encode({"host": socket.gethostname(), "since": datetime.now(UTC).isoformat()})
        try:
            with beating(lambda: self._storage.write(path, note), f"alive-{run_id}"):
                yield
        finally:
            with suppress(AsgardError):  # a file that is left behind is only an old sign of life
                self._storage.delete(path)

    def _entries(self, run_id: RunId | None) -> Iterator[StoredFile]:
        for entry in self._storage.list(f"runs/{run_id}" if run_id else "runs"):
            if _PATH.fullmatch(entry.path):
                yield entry


def _parse(path: str) -> tuple[RunId, int, str]:
    _, run_id, file_name = path.split("/")
    number, *part = file_name.removesuffix(".json").split(".")
    return RunId(run_id), int(number), part[0] if part else "record"


def _encode(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False, default=str).encode()
