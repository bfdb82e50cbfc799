"""The state of one view in Redis: who may write, the published snapshot of its rows, and unfinished syncs.

```
<prefix>:<view>:state                       hash: this state
<prefix>:<view>:head                        text: the head that lookups read first, as JSON
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
"""Names of generations that are not in place: the epoch's first digits, and a number."""


@dataclass(frozen=True)
class Target:
    """A published state of a view's table that Redis equals, or that a sync writes.

    Attributes:
        uuid: uuid of the table; it differs if a table of the same name was created again.
        written: when the snapshot was written, in ISO 8601.
        rule: digest of what decides which row an entity has and how it is stored.
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
        """Parse the result of `to_json`.

        Raises:
            ServiceError: a newer Asgard or another program wrote it.
        """
        try:
            table, commit = TableName.parse(raw["table"]), CommitHash(raw["commit"])
            return cls(**{**raw, "table": table, "commit": commit, "snapshot_id": SnapshotId(int(raw["snapshot_id"]))})
        except (TypeError, KeyError, ValueError) as error:
            raise ServiceError(
                "The state of a view in Redis was written by a newer Asgard, or by another program.",
                hint="Update this Asgard, or delete the view's keys from Redis.",
            ) from error


@dataclass(frozen=True)
class Synced:
    """The parsed state of a view in Redis.

    Attributes:
        syncs: how many syncs ever began.
        epoch: random, drawn at the first sync of the view; lost with a FLUSHALL.
        generation: the generation that lookups read; "" before the first sync.
        generations: how many generations were ever begun.
        watermark: what the generation equals if no sync is unfinished; None before the first sync.
        unfinished: targets of syncs that did not finish; some rows may be theirs.
        rows: entities in the generation.
        left_over: generations that have rows and that nobody reads.
        fields: features that rows of codec `feast` may have, including those of earlier declarations.
        server, evicted: run id of the Redis in which the watermark was set, and how many keys it had evicted by then.
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
        """Parse the hash.

        Raises:
            ServiceError: another program wrote it.
        """
        try:
            return cls._of(texts)
        except ValueError as error:
            raise ServiceError(
                "The state of a view in Redis can't be read.",
                hint="Another program may have written it: delete the view's keys from Redis, then sync again.",
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
        """The hash with the state."""
        return f"{self.prefix}:{self.view}:state"

    @property
    def start(self) -> bytes:
        """Start of the names of all the view's keys."""
        return f"{self.prefix}:{self.view}:".encode()

    @property
    def head(self) -> str:
        """The key of the head, which lookups read first."""
        return f"{self.prefix}:{self.view}:head"

    def row(self, generation: str) -> bytes:
        """Start of the names of a generation's rows; the entity follows."""
        return f"{self.prefix}:{self.view}:{generation}:".encode()


def read(client: Any, keys: ViewKeys, where: str) -> Synced:
    """Read the state of a view; nothing is written.

    Raises:
        ServiceError: Redis refuses, or does not answer.
    """
    with answered(where):
        return Synced.of(texts_of(client.hgetall(keys.state)))


def texts_of(fields: Mapping[Any, Any]) -> dict[str, str]:
    """Decode a hash of Redis into texts.

    Raises:
        ServiceError: another program wrote it.
    """
    try:
        return {_text(name): _text(value) for name, value in fields.items()}
    except UnicodeDecodeError as error:
        raise ServiceError(
            "The state of a view in Redis can't be read.",
            hint="Another program may have written it: delete the view's keys from Redis, then sync again.",
        ) from error


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
