"""What Redis knows of one view: who may write, which published snapshot its rows are, and what was left unfinished.

```
<prefix>:<view>:state                       hash: all of this
<prefix>:<view>:head                        text: what a lookup has to know, as JSON
<prefix>:<view>:<generation>:<entity>       one row (codec packed)
```

Every write goes through a Lua script that first compares the view's token with the writer's own. Redis runs a script
alone, so between comparison and write nobody else does anything: a sync that was overtaken can't write at all.
"""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from asgard.common.errors import ConflictError, ServiceError
from asgard.common.names import CommitHash, SnapshotId, TableName
from asgard.serving.connection import answered

_FENCE = """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return redis.error_reply('STALE')
end
if not string.find(redis.call('INFO', 'server'), ARGV[2], 1, true) then
  return redis.error_reply('RESTARTED')
end
"""
"""A Redis that was restarted, or another one that took over, may have lost what it had acknowledged."""
_BEGIN = """
local token = redis.call('HINCRBY', KEYS[1], 'syncs', 1) .. ':' .. ARGV[1]
redis.call('HSET', KEYS[1], 'token', token)
redis.call('HSETNX', KEYS[1], 'epoch', ARGV[1])
return redis.call('HGETALL', KEYS[1])
"""
_NOTE = (
    _FENCE
    + """
for place = 4, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[place], ARGV[place + 1])
end
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[2], ARGV[3])
end
return 1
"""
)
_WRITE = (
    _FENCE
    + """
local writes, pairs, deletes = {}, {}, {}
local count = tonumber(ARGV[4])
for place = 1, count do
  writes[place] = KEYS[place + 1]
  pairs[2 * place - 1] = KEYS[place + 1]
  pairs[2 * place] = ARGV[place + 4]
end
for place = count + 2, #KEYS do
  deletes[#deletes + 1] = KEYS[place]
end
local added, gone = 0, 0
if count > 0 then
  added = count - redis.call('EXISTS', unpack(writes))
  redis.call('MSET', unpack(pairs))
end
if #deletes > 0 then
  gone = redis.call('UNLINK', unpack(deletes))
end
if added ~= gone then
  redis.call('HINCRBY', KEYS[1], 'rows:' .. ARGV[3], added - gone)
end
return {added, gone}
"""
)
_DROP = (
    _FENCE
    + """
if #KEYS > 1 then
  redis.call('UNLINK', unpack(KEYS, 2))
end
for place = 3, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[place])
end
return 1
"""
)
_SCRIPT_ROWS = 1_000
"""In one call of a script: Lua hands on no more than some thousand arguments at once."""


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
    server: str = ""
    evicted: int = 0
    finished: str = ""

    @classmethod
    def of(cls, found: Mapping[str, str]) -> "Synced":
        """Read the hash."""
        generation, watermark = found.get("generation", ""), found.get("watermark")
        rows = {name.removeprefix("rows:"): int(value) for name, value in found.items() if name.startswith("rows:")}
        return cls(
            syncs=int(found.get("syncs", 0)),
            epoch=found.get("epoch", ""),
            generation=generation,
            generations=int(found.get("generations", 0)),
            watermark=Target.from_json(json.loads(watermark)) if watermark else None,
            unfinished=tuple(map(Target.from_json, json.loads(found.get("unfinished", "[]")))),
            rows=rows.get(generation, 0),
            left_over=tuple(sorted(rows.keys() - {generation})),
            server=found.get("server", ""),
            evicted=int(found.get("evicted", 0)),
            finished=found.get("finished", ""),
        )


@dataclass(frozen=True)
class Batch:
    """Some rows as Redis keeps them.

    Attributes:
        entities: by name.
        values: of each, encoded.
        deleted: entities that have no row.
    """

    entities: Sequence[bytes] = ()
    values: Sequence[bytes] = ()
    deleted: Sequence[bytes] = ()


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
        return Synced.of(_texts(client.hgetall(keys.state)))


class Fenced:
    """The right to write a view, until another sync of it begins, or Redis is restarted.

    Args:
        client: of Redis.
        keys: of the view.
        where: the address for messages.
        server: what INFO said.

    Raises:
        ServiceError: Redis refuses, or does not answer.
    """

    def __init__(self, client: Any, keys: ViewKeys, where: str, server: Mapping[str, str]) -> None:
        self._client, self.keys, self._where, self._server = client, keys, where, server
        with answered(where):
            self._note, self._write, self._drop = (str(client.script_load(each)) for each in (_NOTE, _WRITE, _DROP))
            found = client.eval(_BEGIN, 1, keys.state, secrets.token_hex(8))
            texts = _texts(dict(zip(found[::2], found[1::2], strict=True)))
        self.token = texts["token"]
        self.synced = Synced.of(texts)

    def begin(self, target: Target, *, fresh: bool) -> str:
        """Note what will be written before any of it is.

        Args:
            target: that the rows will be of.
            fresh: into a new generation, which nobody reads yet; else into the current one.

        Returns:
            The generation to write: its name was never used before.

        Raises:
            ConflictError: another sync of the view began.
            ServiceError: Redis refuses, does not answer, or was restarted.
        """
        now = self.synced
        if fresh:
            number = now.generations + 1
            self._set({"generations": number})
            return f"{now.epoch[:8]}-{number}"
        unfinished = tuple(dict.fromkeys((*now.unfinished, target)))
        self._set({"unfinished": json.dumps([each.to_json() for each in unfinished])})
        return now.generation

    def write(self, generation: str, batch: Batch) -> tuple[int, int]:
        """Write and delete rows, in one round trip; each script's share of them appears at once.

        Args:
            generation: which.
            batch: rows to write, and entities to delete.

        Returns:
            how many entities are new, and how many are gone.

        Raises:
            ConflictError: another sync of the view began; nothing more is written.
            ServiceError: Redis refuses, does not answer, or was restarted.
        """
        start = self.keys.row(generation)
        with self._answered(), self._client.pipeline(transaction=False) as pipe:
            for at in range(0, len(batch.entities), _SCRIPT_ROWS):
                names = [start + entity for entity in batch.entities[at : at + _SCRIPT_ROWS]]
                self._send(pipe, generation, names, batch.values[at : at + _SCRIPT_ROWS], [])
            for at in range(0, len(batch.deleted), _SCRIPT_ROWS):
                gone = [start + entity for entity in batch.deleted[at : at + _SCRIPT_ROWS]]
                self._send(pipe, generation, [], [], gone)
            answers = pipe.execute()
        return sum(added for added, _ in answers), sum(gone for _, gone in answers)

    def _send(
        self, pipe: Any, generation: str, names: Sequence[bytes], values: Sequence[bytes], deleted: Sequence[bytes]
    ) -> None:
        keys = [self.keys.state, *names, *deleted]
        pipe.evalsha(self._write, len(keys), *keys, *self._fence, generation, len(names), *values)

    def finish(self, generation: str, target: Target, head: str, rows: int | None = None) -> None:
        """Move the watermark, and let lookups read the generation: one step.

        Args:
            generation: that lookups read from now on.
            target: that it equals.
            head: for lookups.
            rows: entities in the generation, where all were looked at; else the count that writes kept stands.

        Raises:
            ConflictError: another sync of the view began; nothing was moved.
            ServiceError: Redis refuses, does not answer, or was restarted.
        """
        self._set(
            {
                "generation": generation,
                "watermark": json.dumps(target.to_json()),
                "unfinished": "[]",
                "server": self._server.get("run_id", ""),
                "evicted": self._server.get("evicted_keys", "0"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                **({} if rows is None else {f"rows:{generation}": rows}),
            },
            head,
        )

    def drop(self, names: Sequence[bytes], generations: Sequence[str] = ()) -> None:
        """Delete keys that no lookup reads, and the counts of generations.

        Raises:
            ConflictError: another sync of the view began.
            ServiceError: Redis refuses, does not answer, or was restarted.
        """
        fields = [f"rows:{each}" for each in generations]
        with self._answered():
            self._client.evalsha(self._drop, 1 + len(names), self.keys.state, *names, *self._fence, *fields)

    def _set(self, values: Mapping[str, Any], head: str = "") -> None:
        fields = [part for pair in values.items() for part in pair]
        with self._answered():
            self._client.evalsha(self._note, 2, self.keys.state, self.keys.head, *self._fence, head, *fields)

    @property
    def _fence(self) -> tuple[str, str]:
        return self.token, f"run_id:{self._server['run_id']}" if self._server.get("run_id") else ""

    @contextmanager
    def _answered(self) -> Iterator[None]:
        from redis.exceptions import NoScriptError, ResponseError

        with answered(self._where):
            try:
                yield
            except ResponseError as error:
                if "STALE" in str(error):
                    raise ConflictError(
                        f"Another sync of {self.keys.view} began after this one, or Redis lost the view: this one "
                        "wrote no more.",
                        hint="The newer one does the work; look at `asgard status`.",
                    ) from error
                if "RESTARTED" in str(error) or isinstance(error, NoScriptError):
                    raise ServiceError(
                        f"Redis at {self._where} was restarted, or another one took over, in the middle of the sync.",
                        hint="Run it again: it compares everything.",
                    ) from error
                raise


def _texts(found: Mapping[Any, Any]) -> dict[str, str]:
    try:
        return {_text(name): _text(value) for name, value in found.items()}
    except UnicodeDecodeError as error:
        raise ServiceError(
            "The state of a view in Redis can't be read.", hint="Did something else write it?"
        ) from error


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
