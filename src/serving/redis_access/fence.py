"""The right to write a view: one sync has it at a time, and each of its writes proves it.

Every write goes through a Lua script that first compares the view's token with the writer's token. Redis runs scripts
one at a time, so nothing happens between comparison and write: a sync that was overtaken can't write at all.
"""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asgard.common.errors import ConflictError, ServiceError
from asgard.serving.codecs.base import IN_PLACE, EncodedBatch, RowCodec
from asgard.serving.redis_access.connection import answered
from asgard.serving.redis_access.state import Synced, Target, ViewKeys, texts_of

_FENCE = """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return redis.error_reply('STALE')
end
if ARGV[2] ~= '' then
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  if run .. ':' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') ~= ARGV[2] then
    return redis.error_reply('RESTARTED')
  end
end
"""
"""Compares the token, then the ids of Redis. A Redis that was restarted, or one that took over, may have lost
acknowledged writes. So may one that was a replica in between: its run id is unchanged, but its replication id is not.
"""
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


@dataclass(frozen=True)
class WritePermit:
    """A sync's right to write, in a form that can be passed to other processes.

    Attributes:
        token: the view's token, until another sync begins.
        server: run id of the Redis that gave the right.
        origin: its run id and replication id, which each write compares; "" if INFO does not contain them.
        evicted: number of keys that Redis had evicted by then.
    """

    token: str
    server: str
    origin: str
    evicted: str


class Fenced:
    """The right to write a view, until another sync of the view begins, or Redis is restarted.

    Args:
        client: client of Redis.
        keys: keys of the view.
        where: the address, for messages.
        permit: the right.
        synced: the state of the view when the right was taken.

    Raises:
        ServiceError: Redis refuses, or does not answer.
    """

    def __init__(self, client: Any, keys: ViewKeys, where: str, permit: WritePermit, synced: Synced) -> None:
        self._client, self.keys, self._where, self.permit, self.synced = client, keys, where, permit, synced
        self._scripts: dict[str, str] = {}

    @classmethod
    def taken(cls, client: Any, keys: ViewKeys, where: str, server: Mapping[str, str]) -> "Fenced":
        """Take the right, which ends that of every earlier sync; `server` has the fields of INFO.

        Raises:
            ServiceError: Redis refuses, or does not answer.
        """
        with answered(where):
            fields = client.eval(_BEGIN, 1, keys.state, secrets.token_hex(8))
            texts = texts_of(dict(zip(fields[::2], fields[1::2], strict=True)))
        ids = [server.get(name, "") for name in ("run_id", "master_replid")]
        permit = WritePermit(texts["token"], ids[0], ":".join(ids) if all(ids) else "", server.get("evicted_keys", "0"))
        return cls(client, keys, where, permit, Synced.of(texts))

    def begin(self, target: Target, generation: str | None, fields: Sequence[str] = ()) -> str:
        """Record in Redis what will be written, before any write.

        Args:
            target: the published state to write.
            generation: the current generation, to be overwritten in place; None: a new one, which nobody reads yet.
            fields: features that the rows may have, if rows are written in place.

        Returns:
            The generation to write; the name of a new one was never used before.

        Raises:
            ConflictError: another sync of the view began.
            ServiceError: Redis refuses, does not answer, or was restarted.
        """
        now = self.synced
        if generation is None:
            number = now.generations + 1
            self._set({"generations": number})
            return f"{now.epoch[:8]}-{number}"
        unfinished = tuple(dict.fromkeys((*now.unfinished, target)))
        known = tuple(dict.fromkeys((*now.fields, *fields)))
        self._set({"unfinished": json.dumps([each.to_json() for each in unfinished]), "fields": json.dumps(known)})
        return generation

    def write(self, codec: RowCodec, generation: str, batch: EncodedBatch) -> tuple[int, int]:
        """Write and delete rows, in one round trip; the rows of each script call become visible together.

        Args:
            codec: codec of the rows.
            generation: the generation to write.
            batch: rows to write, and entities to delete.

        Returns:
            How many entities were added, and how many were deleted.

        Raises:
            ConflictError: another sync of the view began; nothing more is written.
            ServiceError: Redis refuses, does not answer, or was restarted.
        """
        start, step = self.keys.row(generation), codec.rows_at_once
        with self._answered(), self._client.pipeline(transaction=False) as pipe:
            script = self._script(_FENCE + codec.script)
            for at in range(0, len(batch.entities), step):
                part = slice(at, at + step)
                names = [codec.key(start, entity) for entity in batch.entities[part]]
                keys, arguments = [self.keys.state, *names], codec.arguments(batch.values[part])
                pipe.evalsha(script, len(keys), *keys, *self._fence, generation, len(names), *arguments)
            for at in range(0, len(batch.deleted), step):
                gone = [codec.key(start, entity) for entity in batch.deleted[at : at + step]]
                keys, arguments = [self.keys.state, *gone], codec.arguments(())
                pipe.evalsha(script, len(keys), *keys, *self._fence, generation, 0, *arguments)
            answers = pipe.execute()
        return sum(added for added, _ in answers), sum(gone for _, gone in answers)

    def _script(self, text: str) -> str:
        if text not in self._scripts:
            self._scripts[text] = str(self._client.script_load(text))
        return self._scripts[text]

    def finish(
        self, generation: str, target: Target, head: str, rows: int | None = None, fields: Sequence[str] = ()
    ) -> None:
        """Move the watermark and let lookups read the generation, in one step.

        Args:
            generation: the generation that lookups read from now on.
            target: the published state that the generation equals.
            head: the view's head, for lookups.
            rows: entities in the generation, if all were counted; None: keep the count that the writes updated.
            fields: features that the rows have, if they are written in place.

        Raises:
            ConflictError: another sync of the view began; nothing was moved.
            ServiceError: Redis refuses, does not answer, or was restarted.
        """
        self._set(
            {
                "generation": generation,
                "watermark": json.dumps(target.to_json()),
                "unfinished": "[]",
                **({"fields": json.dumps(fields)} if fields else {}),
                "server": self.permit.server,
                "evicted": self.permit.evicted,
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                **({} if rows is None else {f"rows:{generation}": rows}),
            },
            head,
        )

    def hide(self) -> None:
        """Remove the view's head and its watermark, in one step: lookups find no view, and a later sync rebuilds it.

        Raises:
            ConflictError: another sync of the view began.
            ServiceError: Redis refuses, does not answer, or was restarted.
        """
        self._drop([self.keys.head.encode()], ["watermark", "unfinished"])

    def drop(self, names: Sequence[bytes], generations: Sequence[str] = ()) -> None:
        """Delete keys that no lookup reads, and the records of generations in the state.

        Raises:
            ConflictError: another sync of the view began.
            ServiceError: Redis refuses, does not answer, or was restarted.
        """
        fields = [f"rows:{each}" for each in generations]
        fields += ["fields"] if IN_PLACE in generations else []
        self._drop(names, fields)

    def _drop(self, names: Sequence[bytes], fields: Sequence[str]) -> None:
        with self._answered():
            self._client.evalsha(self._script(_DROP), 1 + len(names), self.keys.state, *names, *self._fence, *fields)

    def _set(self, values: Mapping[str, Any], head: str = "") -> None:
        fields = [part for pair in values.items() for part in pair]
        with self._answered():
            self._client.evalsha(self._script(_NOTE), 2, self.keys.state, self.keys.head, *self._fence, head, *fields)

    @property
    def _fence(self) -> tuple[str, str]:
        return self.permit.token, self.permit.origin

    @contextmanager
    def _answered(self) -> Iterator[None]:
        from redis.exceptions import NoScriptError, ResponseError

        with answered(self._where):
            try:
                yield
            except ResponseError as error:
                if "STALE" in str(error):
                    raise ConflictError(
                        f"Another sync of {self.keys.view} began after this one, or Redis lost the view: this sync "
                        "stopped writing.",
                        hint="The newer sync updates the view; see `asgard status`.",
                    ) from error
                if "RESTARTED" in str(error) or isinstance(error, NoScriptError):
                    raise ServiceError(
                        f"Redis at {self._where} was restarted, or another one took over, or it got its first replica, "
                        "during the sync.",
                        hint="Run the sync again: it completes what is unfinished, or compares every entity.",
                    ) from error
                raise
