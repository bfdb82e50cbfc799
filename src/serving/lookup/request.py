"""One lookup without its I/O: what to read, and what Redis's answers mean."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from asgard.common.errors import UsageError
from asgard.features.views import OnDemandFeature
from asgard.serving.codecs.base import HASH_NAMES, Stored
from asgard.serving.lookup.on_demand import compute
from asgard.serving.lookup.results import Rows, ViewRows
from asgard.serving.lookup.view_header import Head
from asgard.serving.redis_access.store import Store


class CachedView(NamedTuple):
    """A view as it was last read.

    Attributes:
        key: of its head.
        text: the head as Redis has it.
        head: the same, read.
        start: what the names of its rows begin with.
    """

    key: str
    text: bytes
    head: Head
    start: str


CachedViews = Sequence[CachedView | None]
"""The views of a lookup as they were last read."""


class ReadPlan(NamedTuple):
    """What a lookup has to read: the names at one moment, each hash at one moment.

    Where hashes are read, the heads are read once more behind them: if they stood still, all was read while they
    counted. MULTI would do the same with one reading, but a Redis that is full refuses it.

    Attributes:
        names: of keys with one value; the views' heads come first.
        heads: how many of them are heads.
        hashes: of hashes, and their fields: one entity of all views that share it.
        shares: for each row its hash, and where its fields begin and end there.
    """

    names: Sequence[str]
    heads: int
    hashes: Sequence[tuple[bytes, Sequence[bytes]]] = ()
    shares: Sequence[tuple[int, int, int]] = ()

    @property
    def commands(self) -> list[tuple[Any, ...]]:
        """What to send to Redis, in one round trip."""
        commands: list[tuple[Any, ...]] = [("MGET", *self.names)]
        if self.hashes:
            commands += [("HMGET", name, *fields) for name, fields in self.hashes]
            commands.append(("MGET", *self.names[: self.heads]))
        return commands

    def read(self, answers: Sequence[Any]) -> "RedisReplies":
        """What Redis answered to the commands."""
        values: Sequence[Any] = answers[0]
        heads, rows = values[: self.heads], values[self.heads :]
        if not self.hashes:
            return RedisReplies(heads, rows, heads)
        hashes = answers[1:-1]
        return RedisReplies(
            heads, [*rows, *(hashes[place][start:end] for place, start, end in self.shares)], answers[-1]
        )


class RedisReplies(NamedTuple):
    """What a lookup read.

    Attributes:
        heads: of the views.
        rows: single values first, then those of hashes.
        heads_after: the heads, once the rows were read.
    """

    heads: Sequence[Any]
    rows: Sequence[Any]
    heads_after: Sequence[Any]


class StoredRows(NamedTuple):
    """What Redis has, read at one moment.

    Attributes:
        heads: of each view.
        values: of each view its rows, one for each entity.
    """

    heads: Sequence[Head]
    values: Sequence[Sequence[Stored]]


@dataclass(slots=True)
class LookupRequest:
    """One lookup.

    Attributes:
        store: names the keys.
        now: the moment from which a ttl is judged, in microseconds since 1970; None: the clock's.
        on_demand: functions over the features.
        request: for each entity what they need that is in no view; () for nothing.
    """

    store: Store
    views: Sequence[str]
    entities: Sequence[Mapping[str, Any]]
    now: int | None = None
    on_demand: Sequence[OnDemandFeature] = ()
    request: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if not self.views:
            raise UsageError("No view was named.", hint="E.g. lookup('customer_metrics', {'customer_id': 7}).")

    def plan(self, before: CachedViews, rows: Sequence[Sequence[str]]) -> ReadPlan:
        """The views' heads, and the rows, those in hashes last."""
        names = [
            known.key if known is not None else self.store.keys(view).head
            for view, known in zip(self.views, before, strict=True)
        ]
        hashes: dict[bytes, list[bytes]] = {}
        places: dict[bytes, int] = {}
        shares: list[tuple[int, int, int]] = []
        for known, given in zip(before, rows, strict=bool(rows)):
            fields = known.head.layout.fields if known is not None else ()
            if known is None or not fields:
                names += given
                continue
            for name in given:
                entity = name[len(known.start) :].encode(HASH_NAMES)
                together = hashes.setdefault(entity, [])
                shares.append((places.setdefault(entity, len(places)), len(together), len(together) + len(fields)))
                together += fields
        return ReadPlan(names, len(self.views), list(hashes.items()), shares)

    def rows(self, before: CachedViews) -> list[list[str]]:
        """For each view the names of the entities' rows; [] while one of the views is not known yet.

        Raises:
            UsageError: an entity lacks a key, or one is of another type.
        """
        known = [view for view in before if view is not None]
        if len(known) < len(before):
            return []
        return [view.head.layout.names(self.entities, view.start) for view in known]

    def current(self, before: CachedViews, answers: Sequence[Any]) -> Sequence[CachedView]:
        """The views as they are now.

        Args:
            answers: what the views' heads are.

        Raises:
            UsageError: Redis has no such view.
        """
        return [
            known if known is not None and known.text == text else self._cached(view, text)
            for view, known, text in zip(self.views, before, answers, strict=True)
        ]

    def _cached(self, view: str, text: bytes | None) -> CachedView:
        if text is None:
            raise UsageError(
                f"There is no view {view} in Redis.",
                hint=f"If it is online, `asgard online-sync --view {view}` brings it; `asgard status` shows all.",
            )
        keys, head = self.store.keys(view), Head.from_text(text, view)
        return CachedView(keys.head, text, head, keys.row(head.generation).decode())

    def stored(self, current: Sequence[CachedView], answers: Sequence[Any]) -> StoredRows:
        """What was read.

        Args:
            answers: the rows, single values first.
        """
        count = len(self.entities)
        order = sorted(range(len(current)), key=lambda place: bool(current[place].head.layout.fields))
        starts = {place: at * count for at, place in enumerate(order)}
        values = [answers[starts[place] : starts[place] + count] for place in range(len(current))]
        return StoredRows([view.head for view in current], values)

    def answer(self, stored: StoredRows) -> Rows:
        """What they mean.

        Raises:
            ServiceError: a value is not of its view's layout.
            UsageError: an on-demand feature lacks what it needs.
        """
        now = time.time_ns() // 1_000 if self.now is None else self.now
        views = [ViewRows(head, values, now) for head, values in zip(stored.heads, stored.values, strict=True)]
        if not self.on_demand or not self.entities:
            return Rows(self.entities, views)
        return Rows(self.entities, views, compute(self.on_demand, views, self.request, len(self.entities)))


def changed_over(before: CachedViews, current: Sequence[CachedView]) -> bool:
    """Whether other rows are to be read than those that the views had before: one of them was built anew."""
    return any(
        old is not new and (old is None or _place(old) != _place(new)) for old, new in zip(before, current, strict=True)
    )


def _place(known: CachedView) -> tuple[str, Sequence[bytes], list[tuple[str, str]]]:
    """Where the rows of a view are, and how they are named."""
    return known.start, known.head.layout.fields, list(known.head.keys.items())
