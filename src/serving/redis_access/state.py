"""What Redis knows of one view: who may write, which published snapshot its rows are, and what was left unfinished.

```
<prefix>:<view>:state                       hash: all of this
<prefix>:<view>:head                        text: what a lookup has to know, as JSON
<prefix>:<view>:<generation>:<entity>       one row (codec packed)
```
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from asgard.common.errors import ServiceError
from asgard.common.names import CommitHash, SnapshotId, TableName
from asgard.serving.redis_access.connection import answered

GENERATION = rb"[0-9a-f]{8}-\d+"
"""How other generations are named: the epoch's first digits, and a number."""


@dataclass(frozen=True)
class Target:
    """A published state of a view's table that Redis is, or shall be, equal to.

    Attributes:
        uuid: of the table; another one is another table of the same name.
        written: when the snapshot was written, in ISO 8601.
        rule: digest of what decides which row an entity has, and how it is kept.
    """

    table: TableName
    uuid: str
    reference: str
    commit: CommitHash
    metadata_location: str
    snapshot_id: SnapshotId
    written: str
    rule: str

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "table": str(self.table)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Target":
        """What `to_json` gave.

        Raises:
            ServiceError: it is of a newer Asgard.
        """
        try:
            table, commit = TableName.parse(raw["table"]), CommitHash(raw["commit"])
            return cls(**{**raw, "table": table, "commit": commit, "snapshot_id": SnapshotId(int(raw["snapshot_id"]))})
        except (TypeError, KeyError, ValueError) as error:
            raise ServiceError(
                "The state of a view in Redis was written by a newer Asgard, or by something else.",
                hint="Update this one; or take the view's keys out of Redis.",
            ) from error


@dataclass(frozen=True)
class Synced:
    """What Redis holds of a view.

    Attributes:
        syncs: that ever began.
        epoch: drawn when Redis first knew the view; gone with a FLUSHALL.
        generation: that lookups read; "" before the first.
        generations: how many were ever begun.
        watermark: what the generation equals, once nothing is unfinished; None before the first sync.
        unfinished: targets of syncs that did not end; some of the rows may be theirs.
        rows: entities in the generation.
        left_over: generations that nobody reads, and that have rows.
        fields: features that rows of codec `feast` may have, also of declarations before.
        server, evicted: run id of the Redis that the watermark was set in, and how many keys it had evicted by then.
        finished: when the last sync ended, in ISO 8601.
    """

    syncs: int = 0
    epoch: str = ""
    generation: str = ""
    generations: int = 0
    watermark: Target | None = None
    unfinished: tuple[Target, ...] = ()
    rows: int = 0
    left_over: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    server: str = ""
    evicted: int = 0
    finished: str = ""

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> "Synced":
        """Read the hash.

        Raises:
            ServiceError: something else wrote it.
        """
        try:
            return cls._of(texts)
        except ValueError as error:
            raise ServiceError(
                "The state of a view in Redis can't be read.", hint="Did something else write it?"
            ) from error

    @classmethod
    def _of(cls, texts: Mapping[str, str]) -> "Synced":
        generation, watermark = texts.get("generation", ""), texts.get("watermark")
        rows = {name.removeprefix("rows:"): int(value) for name, value in texts.items() if name.startswith("rows:")}
        return cls(
            syncs=int(texts.get("syncs", 0)),
            epoch=texts.get("epoch", ""),
            generation=generation,
            generations=int(texts.get("generations", 0)),
            watermark=Target.from_json(json.loads(watermark)) if watermark else None,
            unfinished=tuple(map(Target.from_json, json.loads(texts.get("unfinished", "[]")))),
            rows=rows.get(generation, 0),
            left_over=tuple(sorted(rows.keys() - {generation})),
            fields=tuple(json.loads(texts.get("fields", "[]"))),
            server=texts.get("server", ""),
            evicted=int(texts.get("evicted", 0)),
            finished=texts.get("finished", ""),
        )


@dataclass(frozen=True)
class ViewKeys:
    """Names of one view's keys in Redis."""

    prefix: str
    view: str

    @property
    def state(self) -> str:
        """The hash."""
        return f"{self.prefix}:{self.view}:state"

    @property
    def start(self) -> bytes:
        """What the names of all the view's keys begin with."""
        return f"{self.prefix}:{self.view}:".encode()

    @property
    def head(self) -> str:
        """What lookups read first."""
        return f"{self.prefix}:{self.view}:head"

    def row(self, generation: str) -> bytes:
        """What the names of a generation's rows begin with; the entity follows."""
        return f"{self.prefix}:{self.view}:{generation}:".encode()


def read(client: Any, keys: ViewKeys, where: str) -> Synced:
    """What Redis holds of a view; nothing is written.

    Raises:
        ServiceError: Redis refuses, or does not answer.
    """
    with answered(where):
        return Synced.of(texts_of(client.hgetall(keys.state)))


def texts_of(fields: Mapping[Any, Any]) -> dict[str, str]:
    """A hash of Redis as texts.

    Raises:
        ServiceError: something else wrote it.
    """
    try:
        return {_text(name): _text(value) for name, value in fields.items()}
    except UnicodeDecodeError as error:
        raise ServiceError(
            "The state of a view in Redis can't be read.", hint="Did something else write it?"
        ) from error


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
