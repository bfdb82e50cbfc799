"""One event for each execution of a job, from which the totals are counted at any time.

Jobs can't push counts: the Pushgateway neither adds nor expires, and a killed process pushes nothing. So each
execution leaves one immutable event, and the totals are counted from all events.

```
_asgard/events/open/<id>.json      the event so far; renewed each minute while the job runs, deleted when it ends
_asgard/events/ended/<id>.json     how it ended; never changed
_asgard/events/packs/<sha>.jsonl   many ended events in one file; never changed
```

An open event that was last renewed more than an hour ago belongs to a job that died: it counts as a failure. Packs
keep the number of files small. Every event is in at least one file at any moment; copies of it have the same id. A
pack is written before the files that it replaces are deleted, and readers read single files before packs. So packing
needs no lock, and any number of processes may pack concurrently.
"""

import hashlib
import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from asgard.common.errors import AsgardError, ServiceError
from asgard.common.heartbeat import DEAD_AFTER, beating
from asgard.common.names import new_run_id
from asgard.common.storage import Storage
from asgard.monitoring.stale_intervals import LeftFacts

PACK_AT = 64
"""Number of single files that are packed into one."""
MERGE_AT = 16
"""Number of packs that are merged into one."""

_OPEN, _ENDED, _PACKS = "events/open", "events/ended", "events/packs"
_DIED = ".died"
_READERS = 16


LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds, in seconds, of the histogram of prediction latencies."""


class Outcome(StrEnum):
    """How an execution of a job ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DIED = "died"
    """It never reported its end, and its renewals stopped."""


@dataclass(frozen=True)
class TableFacts:
    """What an execution did to one table, over all its runs.

    Attributes:
        rows_written: rows of data files that it added and published.
        checks: number of checks that were run.
        checks_failed: number of failed checks, by severity.
        publishes: when it published this table, by run id; the id is "" in events of an older version of Asgard.
        null_rate: share of nulls by column, 0 to 1, in the rows that it last published.
    """

    rows_written: int = 0
    checks: int = 0
    checks_failed: Mapping[str, int] = field(default_factory=dict)
    publishes: Mapping[str, datetime] = field(default_factory=dict)
    null_rate: Mapping[str, float] = field(default_factory=dict)

    @property
    def published(self) -> datetime | None:
        """When it last published this table; None if it did not."""
        return max(self.publishes.values(), default=None)

    @property
    def last_run(self) -> str | None:
        """The run that last published this table, whose rows the null rates describe."""
        return max(self.publishes, key=lambda run_id: (self.publishes[run_id], run_id), default=None)

    def and_then(self, later: "TableFacts") -> "TableFacts":
        """Combine these facts with those of a later run of the same execution."""
        return TableFacts(
            rows_written=self.rows_written + later.rows_written,
            checks=self.checks + later.checks,
            checks_failed=_sum(self.checks_failed, later.checks_failed),
            publishes={**self.publishes, **later.publishes},
            null_rate=later.null_rate or self.null_rate,
        )


@dataclass(frozen=True)
class PredictionFacts:
    """What an execution predicted by one model.

    Attributes:
        rows: published predictions that are not null.
        mean: mean of the scores; None if a prediction has no single score.
        trained: when the version was registered.
        batches, seconds: number of scored Arrow batches, and the total time of scoring them.
        within: number of batches that took at most each of `LATENCY_BUCKETS`.
        challenger: facts of the version that predicted a share of the entities; None if there was no challenger.
    """

    rows: int
    mean: float | None
    trained: datetime
    batches: int = 0
    seconds: float = 0.0
    within: tuple[int, ...] = ()
    challenger: "PredictionFacts | None" = None


@dataclass(frozen=True)
class OnlineFacts:
    """What the online store contains of one view after a sync.

    Attributes:
        keys: number of entities.
        equal_at: the time at which it was equal to what was published.
        is_gone: whether the view was removed; then it has no metrics any more.
    """

    keys: int
    equal_at: datetime
    is_gone: bool = False


@dataclass(frozen=True)
class JobEvent:
    """One execution of a job.

    Attributes:
        id: unique; starts with the UTC time at which the job started.
        seconds: how long it took; None while it runs, and for a job that died.
        steps: seconds of its runs, by step of the run.
        runs: the ids of its runs.
        tables: facts by table name.
        predictions: facts by model name.
        online: facts by view name.
        left: what a backfill left, by pipeline name.
        target: the reference that its runs publish to.
    """

    id: str
    job: str
    environment: str
    started: datetime
    outcome: Outcome | None = None
    ended: datetime | None = None
    seconds: float | None = None
    steps: Mapping[str, float] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    tables: Mapping[str, TableFacts] = field(default_factory=dict)
    predictions: Mapping[str, PredictionFacts] = field(default_factory=dict)
    online: Mapping[str, OnlineFacts] = field(default_factory=dict)
    left: Mapping[str, LeftFacts] = field(default_factory=dict)
    target: str = "main"

    def with_run(self, run_id: str, steps: Mapping[str, float], tables: Mapping[str, TableFacts]) -> "JobEvent":
        """This event with one more run."""
        merged = dict(self.tables)
        for name, facts in tables.items():
            merged[name] = merged[name].and_then(facts) if name in merged else facts
        return replace(self, steps=_sum(self.steps, steps), runs=(*self.runs, run_id), tables=merged)

    def died(self, last_sign: datetime) -> "JobEvent":
        """The event that records this execution as dead.

        It has a separate id: if the job turns out to be alive, the event of its end counts, too.
        """
        return replace(self, id=self.id + _DIED, outcome=Outcome.DIED, ended=last_sign)

    def encode(self) -> bytes:
        """The event as one line of JSON, without empty values."""
        return _dump(asdict(self)).encode()

    @classmethod
    def decode(cls, line: bytes) -> "JobEvent":
        """Read the output of `encode`; unknown fields of a later version are ignored.

        Raises:
            ValueError, KeyError, TypeError: the line is not an event.
        """
        raw = json.loads(line)
        return cls(
            id=str(raw["id"]),
            job=str(raw["job"]),
            environment=str(raw["environment"]),
            started=datetime.fromisoformat(raw["started"]),
            target=str(raw.get("target", "main")),
            outcome=Outcome(raw["outcome"]) if "outcome" in raw else None,
            ended=datetime.fromisoformat(raw["ended"]) if "ended" in raw else None,
            seconds=raw.get("seconds"),
            steps=raw.get("steps", {}),
            runs=tuple(raw.get("runs", ())),
            tables={name: _facts(facts) for name, facts in raw.get("tables", {}).items()},
            predictions={name: _predictions(facts) for name, facts in raw.get("predictions", {}).items()},
            online={name: _online(facts) for name, facts in raw.get("online", {}).items()},
            left={name: LeftFacts.parse(facts) for name, facts in raw.get("left", {}).items()},
        )


class OpenEvent:
    """The event of a job that runs now; safe to use from several threads."""

    def __init__(self, event: JobEvent, storage: Storage) -> None:
        self._event = event
        self._storage = storage
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def note_run(self, run_id: str, steps: Mapping[str, float], tables: Mapping[str, TableFacts]) -> None:
        """Add what a run did, and store it, so that it survives the end of this process."""
        with self._lock:
            self._event = self._event.with_run(run_id, steps, tables)
        self.renew()

    def note_predictions(self, model: str, facts: PredictionFacts) -> None:
        """Add what a model predicted."""
        with self._lock:
            self._event = replace(self._event, predictions={**self._event.predictions, model: facts})
        self.renew()

    def note_online(self, view: str, facts: OnlineFacts) -> None:
        """Add what the online store contains of a view."""
        with self._lock:
            self._event = replace(self._event, online={**self._event.online, view: facts})
        self.renew()

    def note_left(self, pipeline: str, facts: LeftFacts) -> None:
        """Add what is missing, stale or in doubt of a pipeline's tables."""
        with self._lock:
            self._event = replace(self._event, left={**self._event.left, pipeline: facts})
        self.renew()

    def renew(self) -> None:
        """Show that the job is alive; a storage error is ignored, because the job counts as dead only after an hour."""
        with self._lock:
            if self._event.outcome is not None:
                return
            try:
                self._storage.write(f"{_OPEN}/{self._event.id}.json", self._event.encode())
            except AsgardError:
                return

    def end(self, outcome: Outcome) -> None:
        """Write the immutable event.

        Raises:
            AsgardError: the storage failed; the job will count as one that died.
        """
        with self._lock:
            seconds = round(time.monotonic() - self._began, 3)
            self._event = replace(self._event, outcome=outcome, ended=datetime.now(UTC), seconds=seconds)
            self._storage.write(f"{_ENDED}/{self._event.id}.json", self._event.encode())
            self._storage.delete(f"{_OPEN}/{self._event.id}.json")


class EventLog:
    """The events of all jobs of one warehouse."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._packs: dict[str, tuple[JobEvent, ...]] = {}
        """Packs that were read; packs never change."""

    @contextmanager
    def job(self, job: str, environment: str, target: str = "main") -> Iterator[OpenEvent]:
        """Keep an open event while the block runs; the caller must end the event."""
        now = datetime.now(UTC)
        event = OpenEvent(JobEvent(new_run_id(now), job, environment, started=now, target=target), self._storage)
        with beating(event.renew, f"event-{job}"):
            yield event

    def events(self, now: datetime) -> list[JobEvent]:
        """Every execution that ended or died, in the order of their ids.

        Args:
            now: the time that renewals are compared with.
        """
        expired = self._expired(now)
        ended = self._ended()
        dead = (event for event in expired.values() if event.id.removesuffix(_DIED) not in ended)
        return [event for _, event in sorted((ended | {event.id: event for event in dead}).items())]

    def settle(self, now: datetime) -> None:
        """Record which jobs died, and pack single files if there are many.

        Args:
            now: the time that renewals are compared with.
        """
        expired = self._expired(now)
        known = set(self._ended()) if expired else set()
        for path, event in expired.items():
            if known.isdisjoint((event.id, event.id.removesuffix(_DIED))):
                self._storage.write(f"{_ENDED}/{event.id}.json", event.encode())
            self._storage.delete(path)
        self._pack([entry.path for entry in self._storage.list(_ENDED)], PACK_AT)
        self._pack([entry.path for entry in self._storage.list(_PACKS)], MERGE_AT)

    def _ended(self) -> dict[str, JobEvent]:
        """All ended events; single files are read first, because events move into packs and never back."""
        single = self._read([entry.path for entry in self._storage.list(_ENDED)])
        events = {event.id: event for path, content in single.items() for event in _decode_all(path, content)}
        for path in self._settled_packs():
            for event in self._packs[path]:
                events.setdefault(event.id, event)
        return events

    def _settled_packs(self) -> list[str]:
        """Read all packs, and return their paths.

        A listing is not atomic: during a merge it may miss both the old packs and the new one. Then the next listing
        differs, so packs are listed until two listings in a row are equal.
        """
        packs = None
        while True:
            before, packs = packs, [entry.path for entry in self._storage.list(_PACKS)]
            fresh = self._read([path for path in packs if path not in self._packs])
            self._packs |= {path: tuple(_decode_all(path, content)) for path, content in fresh.items()}
            if packs == before and self._packs.keys() >= set(packs):
                return packs

    def _expired(self, now: datetime) -> dict[str, JobEvent]:
        """Events of jobs whose last renewal is too old, as died, by the path of the open event."""
        old = {entry.path: entry.modified for entry in self._storage.list(_OPEN) if now - entry.modified > DEAD_AFTER}
        return {
            path: event.died(old[path])
            for path, content in self._read(list(old)).items()
            for event in _decode_all(path, content)
        }

    def _pack(self, paths: list[str], at: int) -> None:
        if len(paths) < at:
            return
        contents = self._read(paths)
        events = {event.id: event for path, content in contents.items() for event in _decode_all(path, content)}
        if not events:
            return  # another process has just packed them
        data = b"".join(event.encode() + b"\n" for event in _without_old_gauges(events.values()))
        pack = f"{_PACKS}/{hashlib.sha256(data).hexdigest()[:32]}.jsonl"
        self._storage.write(pack, data)
        for path in contents:
            if path != pack:
                self._storage.delete(path)

    def _read(self, paths: list[str]) -> dict[str, bytes]:
        """The contents of the files that still exist."""
        if not paths:
            return {}
        with ThreadPoolExecutor(_READERS) as pool:
            contents = zip(paths, pool.map(self._storage.read, paths), strict=True)
            return {path: content for path, content in contents if content is not None}


def _decode_all(path: str, content: bytes) -> Iterator[JobEvent]:
    for line in content.splitlines():
        try:
            yield JobEvent.decode(line)
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceError(
                f"{path} in the warehouse is not an event: {error}.",
                hint="Another program wrote to _asgard/events: move that file away.",
            ) from error


def _without_old_gauges(events: Iterable[JobEvent]) -> list[JobEvent]:
    """Drop all null rates but the latest of each table, and what backfills left but the latest: none is read again."""
    ordered = sorted(events, key=lambda event: event.id)
    rates: dict[tuple[str, str, str], tuple[datetime, str]] = {}
    left: dict[tuple[str, str, str], tuple[datetime, str]] = {}
    for event in ordered:
        for name, facts in event.tables.items():
            if facts.null_rate and facts.published is not None:
                key, moment = (event.environment, event.target, name), (facts.published, event.id)
                rates[key] = max(rates.get(key, moment), moment)
        for name, counted in event.left.items():
            key, moment = (event.environment, event.target, name), (counted.at, event.id)
            left[key] = max(left.get(key, moment), moment)
    return [
        replace(
            event,
            tables={
                name: facts
                if rates.get((event.environment, event.target, name)) == (facts.published, event.id)
                else replace(facts, null_rate={})
                for name, facts in event.tables.items()
            },
            left={
                name: counted
                for name, counted in event.left.items()
                if left[event.environment, event.target, name] == (counted.at, event.id)
            },
        )
        for event in ordered
    ]


def _facts(raw: Mapping[str, Any]) -> TableFacts:
    return TableFacts(
        rows_written=int(raw.get("rows_written", 0)),
        checks=int(raw.get("checks", 0)),
        checks_failed=raw.get("checks_failed", {}),
        publishes={
            run_id: datetime.fromisoformat(moment)
            for run_id, moment in (
                raw.get("publishes") or ({"": raw["published"]} if "published" in raw else {})
            ).items()
        },
        null_rate=raw.get("null_rate", {}),
    )


def _predictions(raw: Mapping[str, Any]) -> PredictionFacts:
    return PredictionFacts(
        rows=int(raw.get("rows", 0)),
        mean=raw.get("mean"),
        trained=datetime.fromisoformat(raw["trained"]),
        batches=int(raw.get("batches", 0)),
        seconds=float(raw.get("seconds", 0)),
        within=tuple(raw.get("within", ())),
        challenger=_predictions(raw["challenger"]) if "challenger" in raw else None,
    )


def _online(raw: Mapping[str, Any]) -> OnlineFacts:
    return OnlineFacts(
        int(raw.get("keys", 0)), datetime.fromisoformat(raw["equal_at"]), bool(raw.get("is_gone", False))
    )


def _sum(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    return {name: left.get(name, 0) + right.get(name, 0) for name in {**left, **right}}


def _dump(content: Mapping[str, Any]) -> str:
    return json.dumps(_filled(content), separators=(",", ":"), sort_keys=True, allow_nan=False, default=_text)


def _filled(content: Mapping[str, Any]) -> dict[str, Any]:
    """Drop empty values, which `decode` fills in; a rate of 0 is not empty."""
    filled = {name: _filled(value) if isinstance(value, Mapping) else value for name, value in content.items()}
    return {name: value for name, value in filled.items() if value not in (None, {}, ())}


def _text(value: object) -> str:
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else str(value)
