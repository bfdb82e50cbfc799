"""Results of a lookup: the features of each entity, by row or by column, and the published snapshot of each view."""

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
    """Whether a view has a row of an entity."""

    FOUND = "found"
    MISSING = "missing"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one view for one entity.

    Attributes:
        head: head of the view.
        values: feature -> value; None is a null. If the entity is missing or expired, all are None.
        event_micros: event timestamp of the row, in microseconds since 1970; None if there is no row.
    """

    head: Head
    status: Status
    values: Mapping[str, Any]
    event_micros: int | None = None

    @property
    def event_timestamp(self) -> datetime | None:
        """Event timestamp of the row, in UTC; None if there is no row."""
        return None if self.event_micros is None else _EPOCH + timedelta(microseconds=self.event_micros)


class ViewRows:
    """The results of one view for all entities of a lookup.

    Args:
        head: head of the view.
        values: its rows in Redis, one for each entity.
        now: the moment at which the ttl is evaluated, in microseconds since 1970.

    Raises:
        ServiceError: a value is not in the view's layout.

    Attributes:
        columns: feature -> values; None is a null. If an entity is missing or expired, all its values are None.
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
        """Status of an entity, by its position in the lookup."""
        event = self._events[place]
        if event is None:
            return Status.MISSING
        return Status.EXPIRED if self._oldest is not None and event < self._oldest else Status.FOUND

    def event(self, place: int) -> int | None:
        """Event timestamp of an entity's row, in microseconds since 1970; None if there is no row."""
        return self._events[place]

    def answer(self, place: int) -> Answer:
        """The result for one entity, by its position in the lookup."""
        values = {name: column[place] for name, column in self.columns.items()}
        return Answer(self.head, self.status(place), values, self._events[place])


class Row(Mapping[str, Any]):
    """The features of one entity: a mapping from name, or `view:feature`, to value.

    Attributes:
        entity: the entity, as given in the lookup.
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
        """The result of each view, in the order of the lookup."""
        return tuple(view.answer(self._place) for view in self._rows.views)

    @property
    def status(self) -> Status:
        """Found, if every view has a current row of the entity; else the status in the first view that does not."""
        return self._rows.status(self._place)

    @property
    def snapshot_id(self) -> int:
        """The published snapshot of the (first) view's row."""
        return self._rows.snapshot_id

    @property
    def age(self) -> float:
        """Seconds since Redis was last known to equal the published table; for several views, the longest."""
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
    """The features of many entities, in the order of the lookup.

    A `Row` is created on access; to get all values of a feature, use `columns`, `to_dict` or `to_arrow`.

    Args:
        entities: the entities, as given in the lookup.
        views: the results of each view.
        computed: on-demand features: name -> values.

    Attributes:
        columns: feature -> values, one for each entity. If several views have a feature of the same name, the first
            view's is listed by its name, and those of the others as `view:feature`.
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
            KeyError: no view of the lookup has the feature.
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
        """The status of each entity; see `Row.status`."""
        return [self.status(place) for place in range(len(self))]

    def status(self, place: int) -> Status:
        """Status of one entity, by its position; see `Row.status`."""
        known = (view.status(place) for view in self.views)
        return next((each for each in known if each is not Status.FOUND), Status.FOUND)

    @property
    def snapshot_id(self) -> int:
        """The published snapshot of the (first) view's rows."""
        return self.views[0].head.snapshot_id

    @property
    def age(self) -> float:
        """Seconds since Redis was last known to equal the published table; for several views, the longest."""
        return max(view.head.age for view in self.views)

    def to_dict(self) -> dict[str, list[Any]]:
        """Lists of the entities' keys and of the features' values; a feature replaces a key of the same name."""
        keys = {name: [entity[name] for entity in self.entities] for view in self.views for name in view.head.keys}
        return keys | {name: list(column) for name, column in self.columns.items()}

    def to_arrow(self) -> "pa.Table":
        """The keys and features of `to_dict` as a table, with the declared types."""
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
