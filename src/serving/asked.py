"""One lookup without its I/O: which keys to read, and what the answers mean."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from asgard.common.errors import UsageError
from asgard.features.joining import computed
from asgard.features.types import to_arrow
from asgard.features.views import OnDemandFeature
from asgard.model.versions import finite
from asgard.serving.head import Head
from asgard.serving.store import Store

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Known = Mapping[str, tuple[bytes, Head]]
"""Heads by view: as Redis has them, and read."""


class Status(StrEnum):
    """What a view knows of an entity."""

    FOUND = "found"
    MISSING = "missing"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one view says of one entity.

    Attributes:
        head: of the view.
        values: feature -> value; None is a null. Of an entity that is missing or expired, all are None.
        event_micros: event timestamp of the row, in microseconds since 1970; None if there is none.
    """

    head: Head
    status: Status
    values: Mapping[str, Any]
    event_micros: int | None = None

    @property
    def event_timestamp(self) -> datetime | None:
        """The moment that the row speaks of."""
        return None if self.event_micros is None else _EPOCH + timedelta(microseconds=self.event_micros)


class Row(Mapping[str, Any]):
    """The features of one entity: a mapping of their names to their values; also by `view:feature`.

    Attributes:
        entity: as it was asked for.
        answers: one for each view, in the order in which they were asked for.
        computed: on-demand features.
    """

    __slots__ = ("answers", "computed", "entity")

    def __init__(
        self, entity: Mapping[str, Any], answers: Sequence[Answer], computed: Mapping[str, Any] | None = None
    ) -> None:
        self.entity, self.answers, self.computed = entity, tuple(answers), computed or {}

    def __getitem__(self, name: str) -> Any:
        view, _, feature = name.rpartition(":")
        for answer in self.answers:
            if feature in answer.values and view in ("", answer.head.view):
                return answer.values[feature]
        return self.computed[name]

    def __iter__(self) -> Iterator[str]:
        seen = dict.fromkeys(feature for answer in self.answers for feature in answer.values)
        yield from (seen | dict.fromkeys(self.computed))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def status(self) -> Status:
        """Found, if every view knows the entity; else what the first says that does not."""
        return next((each.status for each in self.answers if each.status is not Status.FOUND), Status.FOUND)

    @property
    def snapshot_id(self) -> int:
        """The published snapshot that the (first) view's row is of."""
        return self.answers[0].head.snapshot_id

    @property
    def age(self) -> float:
        """Seconds since Redis was last known to equal what is published; of several views the longest."""
        return max(answer.head.age for answer in self.answers)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "entity": dict(self.entity),
            "features": finite(dict(self)),
            "views": {
                each.head.view: {
                    "status": str(each.status),
                    "event_timestamp": each.event_timestamp.isoformat() if each.event_timestamp else None,
                    "table": each.head.table,
                    "snapshot_id": each.head.snapshot_id,
                    "commit": each.head.commit,
                    "written": each.head.written.isoformat(),
                    "equal_at": each.head.equal_at.isoformat(),
                    "age_seconds": round(each.head.age, 3),
                }
                for each in self.answers
            },
        }

    def __repr__(self) -> str:
        return f"Row({dict(self.entity)}, {self.status}, {dict(self)})"


@dataclass(frozen=True)
class Asked:
    """One lookup.

    Attributes:
        store: names the keys.
        on_demand: functions over the features.
        request: for each entity what they need that is in no view; () for nothing.
    """

    store: Store
    views: tuple[str, ...]
    entities: tuple[Mapping[str, Any], ...]
    on_demand: tuple[OnDemandFeature, ...] = ()
    request: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if not self.views:
            raise UsageError("No view was named.", hint="E.g. lookup('customer_metrics', {'customer_id': 7}).")

    def keys(self, known: Known) -> list[bytes]:
        """The heads' keys, then each view's rows; only heads, while one of them is not known yet.

        Raises:
            UsageError: an entity lacks a key, or one is of another type.
        """
        found = [self.store.keys(view).head.encode() for view in self.views]
        if all(view in known for view in self.views):
            for view in self.views:
                head = known[view][1]
                start, name = self.store.keys(view).row(head.generation), head.entity_key.of
                found += [start + name(entity).encode() for entity in self.entities]
        return found

    def names(self, keys: Sequence[bytes]) -> list[tuple[bytes, ...]]:
        """Of each entity the keys of its rows, out of `keys`; [] while a head is not known."""
        rows, count = keys[len(self.views) :], len(self.entities)
        return list(zip(*(rows[at : at + count] for at in range(0, len(rows), count or 1)), strict=True))

    def heads(self, found: Sequence[bytes | None], known: Known) -> dict[str, tuple[bytes, Head]]:
        """The heads as they are now.

        Raises:
            UsageError: Redis has no such view.
        """
        fresh = {}
        for view, text in zip(self.views, found, strict=False):
            if text is None:
                raise UsageError(
                    f"There is no view {view} in Redis.",
                    hint=f"`asgard online-sync --view {view}` brings it; `asgard status` shows what is there.",
                )
            before = known.get(view)
            fresh[view] = before if before and before[0] == text else (text, Head.from_text(text, view))
        return fresh

    def rows(self, found: Sequence[bytes | None], known: Known, fresh: Known) -> list[Row] | None:
        """The answers; None if a view changed over, so that the rows that were read are not those to read.

        Raises:
            ServiceError: a value is not of its view's layout.
            UsageError: an on-demand feature lacks what it needs.
        """
        for view in self.views:
            if view not in known or known[view][1].generation != fresh[view][1].generation:
                return None
        now, count = int(time.time() * 1_000_000), len(self.entities)
        columns = []
        for place, view in enumerate(self.views):
            start = len(self.views) + place * count
            columns.append(_answers(fresh[view][1], found[start : start + count], now))
        answers = list(zip(*columns, strict=True))
        extra = self._computed(fresh, answers) if self.on_demand and answers else [None] * count
        return [Row(*parts) for parts in zip(self.entities, answers, extra, strict=True)]

    def _computed(self, fresh: Known, answers: Sequence[tuple[Answer, ...]]) -> list[dict[str, Any]]:
        import pyarrow as pa

        request = self.request or ({},) * len(self.entities)
        if len(request) != len(self.entities):
            raise UsageError(
                f"{len(request)} requests were given for {len(self.entities)} entities.", hint="Give one for each."
            )
        found: list[dict[str, Any]] = [{} for _ in self.entities]
        for function in self.on_demand:
            given = {}
            for parameter, reference in function.inputs.items():
                view, _, feature = reference.partition(":")
                if view not in self.views:
                    raise UsageError(
                        f"On-demand feature {function.name} needs {reference}.", hint=f"Look {view} up as well."
                    )
                if feature not in fresh[view][1].features:
                    raise UsageError(
                        f"On-demand feature {function.name} needs {reference}, which Redis does not have.",
                        hint=f"It has {', '.join(fresh[view][1].features)}.",
                    )
                values = [row[self.views.index(view)].values[feature] for row in answers]
                given[parameter] = pa.array(values, to_arrow(fresh[view][1].features[feature]))
            for parameter, kind in function.request.items():
                if any(parameter not in each for each in request):
                    raise UsageError(
                        f"On-demand feature {function.name} needs {parameter}.", hint="Give it with the request."
                    )
                given[parameter] = pa.array([each[parameter] for each in request], to_arrow(kind))
            for row, value in zip(found, computed(function, given, len(answers)).to_pylist(), strict=True):
                row[function.name] = value
        return found


def _answers(head: Head, values: Sequence[bytes | None], now: int) -> list[Answer]:
    decode, nothing = head.layout.decode, dict.fromkeys(head.features)
    oldest = None if head.ttl_micros is None else now - head.ttl_micros
    found = []
    for value in values:
        if value is None:
            found.append(Answer(head, Status.MISSING, nothing))
            continue
        event, row = decode(value)
        if oldest is not None and event < oldest:
            found.append(Answer(head, Status.EXPIRED, nothing, event))
        else:
            found.append(Answer(head, Status.FOUND, row, event))
    return found
