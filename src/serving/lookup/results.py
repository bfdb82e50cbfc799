"""What a lookup answers: the features of each entity, by row or by column, and which published snapshot they are of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, overload

from asgard.features.types import to_arrow
from asgard.model.versions import finite
from asgard.serving.codecs.base import Stored
from asgard.serving.lookup.view_header import Head

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


class ViewRows:
    """What one view says of all entities of a lookup.

    Args:
        head: of the view.
        values: of its rows in Redis, one for each entity.
        now: the moment from which the ttl is judged, in microseconds since 1970.

    Raises:
        ServiceError: a value is not of the view's layout.

    Attributes:
        columns: feature -> values; None is a null. Of an entity that is missing or expired, all are None.
    """

    __slots__ = ("_events", "_oldest", "columns", "head", "now")

    def __init__(self, head: Head, values: Sequence[Stored], now: int) -> None:
        self.head, self.now = head, now
        self._oldest = None if head.ttl_micros is None else now - head.ttl_micros
        self._events, columns = head.layout.decode(values)
        if self._oldest is not None:
            expired = [event is not None and event < self._oldest for event in self._events]
            if any(expired):
                columns = [[None if old else x for x, old in zip(each, expired, strict=True)] for each in columns]
        self.columns: Mapping[str, Sequence[Any]] = dict(zip(head.features, columns, strict=True))

    def status(self, place: int) -> Status:
        """Of an entity, by its place in the lookup."""
        event = self._events[place]
        if event is None:
            return Status.MISSING
        return Status.EXPIRED if self._oldest is not None and event < self._oldest else Status.FOUND

    def event(self, place: int) -> int | None:
        """Event timestamp of an entity's row, in microseconds since 1970; None if there is none."""
        return self._events[place]

    def answer(self, place: int) -> Answer:
        """The same with its values."""
        values = {name: column[place] for name, column in self.columns.items()}
        return Answer(self.head, self.status(place), values, self._events[place])


class Row(Mapping[str, Any]):
    """The features of one entity: a mapping of their names to their values; also by `view:feature`.

    Attributes:
        entity: as it was asked for.
    """

    __slots__ = ("_place", "_rows", "entity")

    def __init__(self, rows: "Rows", place: int) -> None:
        self.entity, self._rows, self._place = rows.entities[place], rows, place

    def __getitem__(self, name: str) -> Any:
        return self._rows.column(name)[self._place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows.columns)

    def __len__(self) -> int:
        return len(self._rows.columns)

    @property
    def answers(self) -> tuple[Answer, ...]:
        """One for each view, in the order in which they were asked for."""
        return tuple(view.answer(self._place) for view in self._rows.views)

    @property
    def status(self) -> Status:
        """Found, if every view knows the entity; else what the first says that does not."""
        return self._rows.status(self._place)

    @property
    def snapshot_id(self) -> int:
        """The published snapshot that the (first) view's row is of."""
        return self._rows.snapshot_id

    @property
    def age(self) -> float:
        """Seconds since Redis was last known to equal what is published; of several views the longest."""
        return self._rows.age

    def to_dict(self) -> dict[str, Any]:
        """Feature -> value."""
        place = self._place
        return {name: column[place] for name, column in self._rows.columns.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "entity": dict(self.entity),
            "features": finite(self.to_dict()),
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
        return f"Row({dict(self.entity)}, {self.status}, {self.to_dict()})"


class Rows(Sequence[Row]):
    """The features of many entities, in the order in which they were asked for.

    A row is made when it is asked for; who wants all values of a feature takes `columns`, `to_dict` or `to_arrow`.

    Args:
        entities: as they were asked for.
        views: what each says of them.
        computed: on-demand features: name -> values.

    Attributes:
        columns: feature -> values, one for each entity. Of a feature that several views have, the first view's stands
            by its own name, and the others' as `view:feature`.
    """

    __slots__ = ("columns", "computed", "entities", "views")

    def __init__(
        self,
        entities: Sequence[Mapping[str, Any]],
        views: Sequence[ViewRows],
        computed: "Mapping[str, pa.Array] | None" = None,
    ) -> None:
        self.entities, self.views, self.computed = entities, views, computed or {}
        self.columns: Mapping[str, Sequence[Any]] = views[0].columns
        if len(views) > 1 or computed:
            columns = dict(self.columns)
            for view in views[1:]:
                for name, column in view.columns.items():
                    columns[f"{view.head.view}:{name}" if name in columns else name] = column
            for name, values in self.computed.items():
                columns.setdefault(name, values.to_pylist())
            self.columns = columns

    def __len__(self) -> int:
        return len(self.entities)

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...

    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            return [Row(self, each) for each in range(len(self))[place]]
        return Row(self, place)

    def __iter__(self) -> Iterator[Row]:
        return (Row(self, place) for place in range(len(self)))

    def column(self, name: str) -> Sequence[Any]:
        """The values of a feature, by its name or as `view:feature`.

        Raises:
            KeyError: no view that was asked has it.
        """
        values = self.columns.get(name)
        if values is not None:
            return values
        owner, _, feature = name.rpartition(":")
        for view in self.views:
            if view.head.view == owner and feature in view.columns:
                return view.columns[feature]
        raise KeyError(name)

    @property
    def statuses(self) -> list[Status]:
        """What the views know of each entity; see `Row.status`."""
        return [self.status(place) for place in range(len(self))]

    def status(self, place: int) -> Status:
        """Of one entity, by its place."""
        known = (view.status(place) for view in self.views)
        return next((each for each in known if each is not Status.FOUND), Status.FOUND)

    @property
    def snapshot_id(self) -> int:
        """The published snapshot that the (first) view's rows are of."""
        return self.views[0].head.snapshot_id

    @property
    def age(self) -> float:
        """Seconds since Redis was last known to equal what is published; of several views the longest."""
        return max(view.head.age for view in self.views)

    def to_dict(self) -> dict[str, list[Any]]:
        """Lists of the entities' keys and of the features' values, a feature before a key of its name."""
        keys = {name: [entity[name] for entity in self.entities] for view in self.views for name in view.head.keys}
        return keys | {name: list(column) for name, column in self.columns.items()}

    def to_arrow(self) -> "pa.Table":
        """The same as a table, with the declared types."""
        import pyarrow as pa

        kinds: dict[str, str] = {}
        for view in self.views:
            for name, kind in view.head.features.items():
                kinds[f"{view.head.view}:{name}" if name in kinds else name] = kind
        for view in self.views:
            kinds = {**view.head.keys, **kinds}
        return pa.table(
            {
                name: pa.array(values, to_arrow(kinds[name])) if name in kinds else self.computed[name]
                for name, values in self.to_dict().items()
            }
        )
