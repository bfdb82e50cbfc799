"""Which runs a reference contains now, according to its log and the logs that were merged into it.

A run's outcome records that it published. Only the log of a ref shows whether the ref still contains that publish:
someone may have assigned the ref to an earlier commit, or merged the branch that the run published to.
"""

import heapq
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from asgard.common.errors import UnknownReferenceError
from asgard.common.names import LOG_MARGIN, CommitHash, RunId, run_id_time
from asgard.lakehouse.catalog.nessie import LogEntry, Nessie

Key = tuple[str, str]
"""A run id, and the attempt."""
REVERTS, REVERTED_COMMIT = "asgard.reverts", "asgard.reverted-commit"
"""Commit properties of a revert: the run that it undoes, and that run's publish commit."""


class Reverts:
    """Which publishes of a log were undone; its entries are noted newest first."""

    def __init__(self) -> None:
        self._newest: dict[str, LogEntry] = {}

    def note(self, entry: LogEntry) -> None:
        """Take an entry of the log into account."""
        undone = entry.properties.get(REVERTED_COMMIT)
        if undone:
            self._newest.setdefault(undone, entry)

    def of(self, commit: CommitHash) -> LogEntry | None:
        """The revert of a publish commit; None if there is none, or if the revert was itself undone."""
        newest = self._newest.get(commit)
        return newest if newest is not None and self.of(newest.hash) is None else None


def reachable(nessie: Nessie, reference: str) -> Iterator[LogEntry]:
    """Every commit that a reference contains, its own and merged ones, newest first.

    Raises:
        UnknownReferenceError: there is no such reference.
    """
    seen: set[CommitHash] = set()
    waiting: list[tuple[float, int, LogEntry, Iterator[LogEntry]]] = []

    def put(log: Iterator[LogEntry]) -> None:
        entry = next(log, None)
        if entry is not None and entry.hash not in seen:  # the log below a commit that was seen is read already
            seen.add(entry.hash)
            heapq.heappush(waiting, (-entry.committed.timestamp(), len(seen), entry, log))

    put(nessie.log(reference))
    while waiting:
        _, _, entry, log = heapq.heappop(waiting)
        yield entry
        put(log)
        if entry.merged is not None:
            with suppress(UnknownReferenceError):  # garbage-collected; the merge has its rows
                put(nessie.log("", at=entry.merged))


class Publications:
    """The runs of one reference; its log is read only as far back as necessary."""

    def __init__(self, nessie: Nessie, reference: str) -> None:
        self._log = reachable(nessie, reference)
        self._known: dict[Key, LogEntry] = {}
        self._reverts = Reverts()
        self._oldest: datetime | None = None

    def of(self, run_id: RunId, attempt: int | str | None = None) -> LogEntry | None:
        """The newest commit of a run (of one attempt, if given) that the reference contains; None if there is none.

        Raises:
            UnknownReferenceError: there is no such reference.
        """
        since = run_id_time(run_id) - LOG_MARGIN
        while (found := self._found(run_id, attempt)) is None and (self._oldest is None or self._oldest >= since):
            entry = next(self._log, None)
            if entry is None:
                return None
            self._oldest = entry.committed
            self._reverts.note(entry)
            key = (entry.properties.get("asgard.run-id", ""), entry.properties.get("asgard.attempt", ""))
            for each in (key, (key[0], "")):
                self._known.setdefault(each, entry)
        return found

    def revert_of(self, publish: LogEntry) -> LogEntry | None:
        """The commit by which a publish that `of` found was undone; None if it stands."""
        return self._reverts.of(publish.hash)

    def _found(self, run_id: RunId, attempt: int | str | None) -> LogEntry | None:
        return self._known.get((run_id, "" if attempt is None else str(attempt)))
