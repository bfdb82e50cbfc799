"""The right to write a view: one sync has it at a time, and each of its writes shows it.

Every write goes through a Lua script that first compares the view's token with the writer's own. Redis runs a script
alone, so between comparison and write nobody else does anything: a sync that was overtaken can't write at all.
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
"""A Redis that was restarted, or another one that took over, may have lost what it had acknowledged; and so may one
that was a replica in between, whose run id is the same: its replication id is not.
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
    """A sync's right to write, as it can be handed to other processes.

    Attributes:
        token: the view's, as long as no other sync began.
        server: run id of the Redis that gave it.
        origin: its run id and replication id, which each write compares; "" where it does not tell them.
        evicted: keys that it had evicted by then.
    """

    token: str
    server: str
    origin: str
    evicted: str


class Fenced:
    """The right to write a view, until another sync of it begins, or Redis is restarted.

    Args:
        client: of Redis.
        keys: of the view.
        where: the address for messages.
        permit: the right.
        synced: what Redis held when it was given.

    Raises:
        ServiceError: Redis refuses, or does not answer.
    """

    def __init__(self, client: Any, keys: ViewKeys, where: str, permit: WritePermit, synced: Synced) -> None:
        self._client, self.keys, self._where, self.permit, self.synced = client, keys, where, permit, synced
        self._scripts: dict[str, str] = {}

    @classmethod
    def taken(cls, client: Any, keys: ViewKeys, where: str, server: Mapping[str, str]) -> "Fenced":
        """The right, from now on, and nobody's else; `server` is what INFO said.

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
        """Note what will be written before any of it is.

        Args:
            target: that the rows will be of.
            generation: that lookups read and that is written to; None: a new one, which nobody reads yet.
            fields: features that the rows may have, where rows are written in place.

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
        """Write and delete rows, in one round trip; each script's share of them appears at once.

        Args:
            codec: how rows are kept.
            generation: which.
            batch: rows to write, and entities to delete.

        Returns:
            how many entities are new, and how many are gone.

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
        """Move the watermark, and let lookups read the generation: one step.

        Args:
            generation: that lookups read from now on.
            target: that it equals.
            head: for lookups.
            rows: entities in the generation, where all were looked at; else the count that writes kept stands.
            fields: features that the rows have, where they are written in place.

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
        """Take the view from lookups, and forget what its rows are of, in one step: a later sync builds it anew.

        Raises:
            ConflictError: another sync of the view began.
            ServiceError: Redis refuses, does not answer, or was restarted.
        """
        self._drop([self.keys.head.encode()], ["watermark", "unfinished"])

    def drop(self, names: Sequence[bytes], generations: Sequence[str] = ()) -> None:
        """Delete keys that no lookup reads, and what is noted of generations.

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
                        f"Another sync of {self.keys.view} began after this one, or Redis lost the view: this one "
                        "wrote no more.",
                        hint="The newer one does the work; look at `asgard status`.",
                    ) from error
                if "RESTARTED" in str(error) or isinstance(error, NoScriptError):
                    raise ServiceError(
                        f"Redis at {self._where} was restarted, or another one took over, or it got its first replica, "
                        "in the middle of the sync.",
                        hint="Run it again: it ends what is unfinished, or compares everything.",
                    ) from error
                raise
