"""What lookups know of a view: its layout, and which published snapshot its rows are of."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from asgard.common.errors import ServiceError
from asgard.features.pinned import PinnedTable
from asgard.features.views import Codec, FeatureView
from asgard.serving.codecs.base import RowCodec
from asgard.serving.codecs.choose import row_codec
from asgard.serving.redis_access.state import Target

FORMAT = 1


@dataclass(frozen=True)
class Head:
    """The text that Redis keeps beside a view's rows.

    Attributes:
        generation: of the rows to read.
        keys, features: name -> type, in order.
        ttl_seconds: how long a row counts after its event timestamp; None: for ever.
        snapshot_id, commit: the published state that the rows are of.
        written: when that snapshot was written.
        equal_at: the moment as of which Redis equals the target ref, as the last sync knew it.
    """

    codec: str
    generation: str
    view: str
    version: int
    keys: Mapping[str, str]
    features: Mapping[str, str]
    ttl_seconds: float | None
    table: str
    snapshot_id: int
    commit: str
    written: datetime
    equal_at: datetime

    @classmethod
    def of(cls, view: FeatureView, table: PinnedTable, target: Target, generation: str, equal_at: datetime) -> "Head":
        """The head of a view that was just synced."""
        return cls(
            codec=str(view.codec),
            generation=generation,
            view=view.name,
            version=view.version,
            keys={name: table.columns[name].type for name in view.keys},
            features={each.name: each.type for each in view.features},
            ttl_seconds=view.ttl.total_seconds() if view.ttl is not None else None,
            table=str(target.table),
            snapshot_id=target.snapshot_id,
            commit=target.commit,
            written=datetime.fromisoformat(target.written),
            equal_at=equal_at,
        )

    def to_text(self) -> str:
        """As Redis keeps it."""
        plain = {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "keys": list(map(list, self.keys.items())),
            "features": list(map(list, self.features.items())),
            "written": self.written.isoformat(timespec="milliseconds"),
            "equal_at": self.equal_at.isoformat(timespec="milliseconds"),
        }
        return json.dumps({"format": FORMAT, **plain})

    @classmethod
    def from_text(cls, text: bytes, view: str) -> "Head":
        """Read it.

        Raises:
            ServiceError: it is of a newer Asgard, or something else wrote it.
        """
        try:
            raw = json.loads(text)
            if raw.pop("format") != FORMAT or raw["codec"] not in tuple(Codec):
                raise ServiceError(
                    f"View {view} was written to Redis by a newer Asgard.", hint="Update the client that looks it up."
                )
            moments = {name: datetime.fromisoformat(raw[name]) for name in ("written", "equal_at")}
            return cls(**{**raw, **moments, "keys": dict(raw["keys"]), "features": dict(raw["features"])})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ServiceError(
                f"What Redis keeps of view {view} can't be read.", hint="`asgard online-sync --full` writes it anew."
            ) from error

    @property
    def age(self) -> float:
        """Seconds since `equal_at`."""
        return (datetime.now(UTC) - self.equal_at).total_seconds()

    @cached_property
    def layout(self) -> RowCodec:
        """How an entity is named, and a row is written."""
        return row_codec(self.codec, self.view, self.keys, self.features)

    @cached_property
    def ttl_micros(self) -> int | None:
        """The ttl in microseconds."""
        return None if self.ttl_seconds is None else round(self.ttl_seconds * 1_000_000)
