"""One lookup without its I/O: plan what to read, and interpret Redis's answers."""

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
        key: Redis key of its head.
        text: the head, as Redis stores it.
        head: the parsed head.
        start: start of the names of its rows.
    """

    key: str
    text: bytes
    head: Head
    start: str


CachedViews = Sequence[CachedView | None]
"""The views of a lookup as they were last read."""


class ReadPlan(NamedTuple):
    """What a lookup has to read: all names in one step, each hash in one step.

    If hashes are read, the heads are read again after them: if the heads did not change, all rows belong to them.
    MULTI would do the same with one read, but a full Redis refuses it.

    Attributes:
        names: names of keys with one value; the views' heads come first.
        heads: how many of these names are heads.
        hashes: names of hashes and the fields to read; one hash is an entity of all views that share it.
        shares: for each row, the position of its hash, and where its fields begin and end in the answer.
    """

    names: Sequence[str]
    heads: int
    hashes: Sequence[tuple[bytes, Sequence[bytes]]] = ()
    shares: Sequence[tuple[int, int, int]] = ()

    @property
    def commands(self) -> list[tuple[Any, ...]]:
        """The commands to send to Redis in one round trip."""
        commands: list[tuple[Any, ...]] = [("MGET", *self.names)]
        if self.hashes:
            commands += [("HMGET", name, *fields) for name, fields in self.hashes]
            commands.append(("MGET", *self.names[: self.heads]))
        return commands

    def read(self, answers: Sequence[Any]) -> "RedisReplies":
        """Sort the answers of Redis to `commands`."""
        values: Sequence[Any] = answers[0]
        heads, rows = values[: self.heads], values[self.heads :]
        if not self.hashes:
            return RedisReplies(heads, rows, heads)
        hashes = answers[1:-1]
        return RedisReplies(
            heads, [*rows, *(hashes[place][start:end] for place, start, end in self.shares)], answers[-1]
        )


class RedisReplies(NamedTuple):
    """The answers of Redis to one plan.

    Attributes:
        heads: heads of the views.
        rows: single values first, then those of hashes.
        heads_after: the heads, read after the rows.
    """

    heads: Sequence[Any]
    rows: Sequence[Any]
    heads_after: Sequence[Any]


class StoredRows(NamedTuple):
    """The rows in Redis at one moment.

    Attributes:
        heads: the head of each view.
        values: for each view, its rows, one for each entity.
    """

    heads: Sequence[Head]
    values: Sequence[Sequence[Stored]]


@dataclass(slots=True)
class LookupRequest:
    """One lookup.

    Attributes:
        store: gives the names of the keys.
        now: the moment at which a ttl is evaluated, in microseconds since 1970; None: the current time.
        on_demand: functions over the features.
        request: for each entity, inputs of these functions that are in no view; () if there are none.
    """

    store: Store
    views: Sequence[str]
    entities: Sequence[Mapping[str, Any]]
    now: int | None = None
    on_demand: Sequence[OnDemandFeature] = ()
    request: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if not self.views:
            raise UsageError("The lookup names no view.", hint="E.g. lookup('customer_metrics', {'customer_id': 7}).")

    def plan(self, before: CachedViews, rows: Sequence[Sequence[str]]) -> ReadPlan:
        """Plan to read the views' heads and the rows, rows in hashes last."""
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
        """Name the entities' rows, for each view; [] while the head of a view was not read yet.

        Raises:
            UsageError: an entity lacks a key, or a key has another type.
        """
        known = [view for view in before if view is not None]
        if len(known) < len(before):
            return []
        return [view.head.layout.names(self.entities, view.start) for view in known]

    def current(self, before: CachedViews, answers: Sequence[Any]) -> Sequence[CachedView]:
        """The current views.

        Args:
            before: the views as they were last read.
            answers: the heads of the views, as Redis stores them.

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
                hint=f"If it is online, run `asgard online-sync --view {view}`; `asgard status` shows all views.",
            )
        keys, head = self.store.keys(view), Head.from_text(text, view)
        return CachedView(keys.head, text, head, keys.row(head.generation).decode())

    def stored(self, current: Sequence[CachedView], answers: Sequence[Any]) -> StoredRows:
        """Sort the rows that were read by view.

        Args:
            current: the views.
            answers: the rows, single values first.
        """
        count = len(self.entities)
        order = sorted(range(len(current)), key=lambda place: bool(current[place].head.layout.fields))
        starts = {place: at * count for at, place in enumerate(order)}
        values = [answers[starts[place] : starts[place] + count] for place in range(len(current))]
        return StoredRows([view.head for view in current], values)

    def answer(self, stored: StoredRows) -> Rows:
        """Decode the rows and compute on-demand features.

        Raises:
            ServiceError: a value is not in its view's layout.
            UsageError: an input of an on-demand feature is missing.
        """
        now = time.time_ns() // 1_000 if self.now is None else self.now
        views = [ViewRows(head, values, now) for head, values in zip(stored.heads, stored.values, strict=True)]
        if not self.on_demand or not self.entities:
            return Rows(self.entities, views)
        return Rows(self.entities, views, compute(self.on_demand, views, self.request, len(self.entities)))


def changed_over(before: CachedViews, current: Sequence[CachedView]) -> bool:
    """Whether the rows have to be read from another place, because a view was rebuilt."""
    return any(
        old is not new and (old is None or _place(old) != _place(new)) for old, new in zip(before, current, strict=True)
    )


def _place(known: CachedView) -> tuple[str, Sequence[bytes], list[tuple[str, str]]]:
    """Where the rows of a view are, and how they are named."""
    return known.start, known.head.layout.fields, list(known.head.keys.items())
