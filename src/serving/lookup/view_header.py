"""The head of a view, which lookups read: the layout and the published snapshot of its rows."""

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
    """The head of a view in Redis: what a lookup has to know to read its rows.

    Attributes:
        generation: generation of the rows to read.
        keys, features: name -> type, in order.
        ttl_seconds: how long a row is valid after its event timestamp; None: without limit.
        snapshot_id, commit: the published state of the rows.
        written: when that snapshot was written.
        equal_at: the latest moment at which Redis is known to equal the target ref, set by the last sync.
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
        """Return the head of a view after a sync."""
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
        """Serialize for Redis."""
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
        """Parse the text that Redis stores.

        Raises:
            ServiceError: a newer Asgard or another program wrote it.
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
                f"The head of view {view} in Redis can't be read.", hint="Rewrite it: `asgard online-sync --full`."
            ) from error

    @property
    def age(self) -> float:
        """Seconds since `equal_at`."""
        return (datetime.now(UTC) - self.equal_at).total_seconds()

    @cached_property
    def layout(self) -> RowCodec:
        """The codec of the rows: how entities are named, and rows are written."""
        return row_codec(self.codec, self.view, self.keys, self.features)

    @cached_property
    def ttl_micros(self) -> int | None:
        """The ttl in microseconds."""
        return None if self.ttl_seconds is None else round(self.ttl_seconds * 1_000_000)
