"""One lookup without its I/O: what to read, and what Redis's answers mean."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from asgard.common.errors import UsageError
from asgard.features.views import OnDemandFeature
from asgard.serving.answers import Rows, ViewRows
from asgard.serving.codecs import HASH_NAMES, Stored
from asgard.serving.head import Head
from asgard.serving.on_demand import compute
from asgard.serving.store import Store


class Known(NamedTuple):
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


Before = Sequence[Known | None]
"""The views of a lookup as they were last read."""


class Wanted(NamedTuple):
    """What a lookup has to read, all at one moment.

    Attributes:
        names: of keys with one value.
        hashes: of hashes, and their fields.
    """

    names: Sequence[str]
    hashes: Sequence[tuple[bytes, Sequence[bytes]]] = ()


class Found(NamedTuple):
    """What Redis has, read at one moment.

    Attributes:
        heads: of each view.
        values: of each view its rows, one for each entity.
    """

    heads: Sequence[Head]
    values: Sequence[Sequence[Stored]]


@dataclass(slots=True)
class Asked:
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

    def wanted(self, before: Before, rows: Sequence[Sequence[str]]) -> Wanted:
        """The views' heads, and the rows; the answers to it have the same order, hashes last."""
        names = [
            known.key if known is not None else self.store.keys(view).head
            for view, known in zip(self.views, before, strict=True)
        ]
        hashes: list[tuple[bytes, Sequence[bytes]]] = []
        for known, given in zip(before, rows, strict=bool(rows)):
            fields = known.head.layout.fields if known is not None else ()
            if known is None or not fields:
                names += given
            else:
                hashes += [(name[len(known.start) :].encode(HASH_NAMES), fields) for name in given]
        return Wanted(names, hashes)

    def rows(self, before: Before) -> list[list[str]]:
        """For each view the names of the entities' rows; [] while one of the views is not known yet.

        Raises:
            UsageError: an entity lacks a key, or one is of another type.
        """
        known = [view for view in before if view is not None]
        if len(known) < len(before):
            return []
        return [view.head.layout.names(self.entities, view.start) for view in known]

    def fresh(self, before: Before, answers: Sequence[Any]) -> Sequence[Known]:
        """The views as they are now.

        Args:
            answers: what the views' heads are.

        Raises:
            UsageError: Redis has no such view.
        """
        return [
            known if known is not None and known.text == text else self._known(view, text)
            for view, known, text in zip(self.views, before, answers, strict=True)
        ]

    def _known(self, view: str, text: bytes | None) -> Known:
        if text is None:
            raise UsageError(
                f"There is no view {view} in Redis.",
                hint=f"If it is online, `asgard online-sync --view {view}` brings it; `asgard status` shows all.",
            )
        keys, head = self.store.keys(view), Head.from_text(text, view)
        return Known(keys.head, text, head, keys.row(head.generation).decode())

    def found(self, fresh: Sequence[Known], answers: Sequence[Any]) -> Found:
        """What was read.

        Args:
            answers: to what was wanted beside the heads.
        """
        count = len(self.entities)
        order = sorted(range(len(fresh)), key=lambda place: bool(fresh[place].head.layout.fields))
        starts = {place: at * count for at, place in enumerate(order)}
        values = [answers[starts[place] : starts[place] + count] for place in range(len(fresh))]
        return Found([view.head for view in fresh], values)

    def answer(self, found: Found) -> Rows:
        """What they mean.

        Raises:
            ServiceError: a value is not of its view's layout.
            UsageError: an on-demand feature lacks what it needs.
        """
        now = time.time_ns() // 1_000 if self.now is None else self.now
        views = [ViewRows(head, values, now) for head, values in zip(found.heads, found.values, strict=True)]
        if not self.on_demand or not self.entities:
            return Rows(self.entities, views)
        return Rows(self.entities, views, compute(self.on_demand, views, self.request, len(self.entities)))


def changed_over(before: Before, fresh: Sequence[Known]) -> bool:
    """Whether other rows are to be read than those that the views had before: one of them was built anew."""
    return any(
        old is not new and (old is None or _place(old) != _place(new)) for old, new in zip(before, fresh, strict=True)
    )


def _place(known: Known) -> tuple[str, Sequence[bytes], list[tuple[str, str]]]:
    """Where the rows of a view are, and how they are named."""
    return known.start, known.head.layout.fields, list(known.head.keys.items())
