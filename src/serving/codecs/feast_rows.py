"""Codec `feast` in Redis: Feast's own layout, which Feast's SDK and feature server read.

All views of an entity share one hash, whose key is the serialized entity (version 3) and the project. The field name of
a feature has four bytes: the 32-bit MurmurHash3 of `view:feature`, little-endian; its value is a `ValueProto`. Field
`_ts:<view>` is the event timestamp as a `Timestamp`. Source: Feast 0.67, `infra/online_stores/redis.py`,
`infra/online_stores/helpers.py` and `infra/key_encoding_utils.py`.
"""

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import mmh3

from asgard.common.errors import ContractError
from asgard.features.feast.config import feast_project
from asgard.serving.codecs import feast_values
from asgard.serving.codecs.base import HASH_NAMES, IN_PLACE, Columns, Reader, Value
from asgard.serving.codecs.entity_keys import EntityKey

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_SCRIPT = """
local count, width, old = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local fields, obsolete, pairs = {}, {}, {}
for place = 1, width do
  fields[place] = ARGV[place + 6]
  pairs[2 * place - 1] = ARGV[place + 6]
end
for place = 1, old do
  obsolete[place] = ARGV[place + 6 + width]
end
local added, gone, failed = 0, 0, nil
for row = 1, count do
  local at = 6 + old + width * row
  for place = 1, width do
    pairs[2 * place] = ARGV[at + place]
  end
  local there = redis.pcall('HEXISTS', KEYS[row + 1], fields[1])
  local done = type(there) == 'table' and there or redis.pcall('HSET', KEYS[row + 1], unpack(pairs))
  if type(done) == 'table' then
    failed = done
    break
  end
  added = added + 1 - there
  if old > 0 then
    redis.call('HDEL', KEYS[row + 1], unpack(obsolete))
  end
end
for place = count + 2, failed and 0 or #KEYS do
  gone = gone + redis.call('HDEL', KEYS[place], fields[1])
  if width > 1 then
    redis.call('HDEL', KEYS[place], unpack(fields, 2))
  end
  if old > 0 then
    redis.call('HDEL', KEYS[place], unpack(obsolete))
  end
end
if added ~= gone then
  redis.call('HINCRBY', KEYS[1], 'rows:' .. ARGV[3], added - gone)
end
return failed or {added, gone}
"""
_KEY_TYPES = {"string": 2, "int": 3, "bigint": 4}
"""Feast's `ValueType` of each key type. Feast serializes no other type exactly: timestamps lose their microseconds."""
_MOST_FEATURES = 3_000
_ARGUMENTS = 20_000


class FeastRows:
    """See `RowCodec`.

    Args:
        view: name of the view.
        keys, features: name -> type, in order.
        before: features of earlier declarations, which rows may still have; a write or a delete removes them.

    Raises:
        ContractError: Feast can't store the type of a key or a feature.
    """

    generation: str | None = IN_PLACE
    script: str = _SCRIPT

    def __init__(
        self, view: str, keys: Mapping[str, str], features: Mapping[str, str], before: Collection[str] = ()
    ) -> None:
        for name, kind in keys.items():
            if kind not in _KEY_TYPES:
                raise ContractError(
                    f"Feature view {view}: Feast can't use key {name}, which is {kind}.",
                    hint=f"Codec feast allows keys of types {', '.join(_KEY_TYPES)}; or declare codec packed.",
                )
        for name, kind in features.items():
            if not feast_values.is_known(kind):
                raise ContractError(
                    f"Feature view {view}: Feast has no type for {name} ({kind}).", hint="Declare codec packed."
                )
        if len(features) > _MOST_FEATURES:
            raise ContractError(
                f"Feature view {view} has {len(features)} features.",
                hint=f"Codec feast allows at most {_MOST_FEATURES}; declare codec packed.",
            )
        self._view, self._features = view, features
        self._checked, self._keys = EntityKey(keys), sorted(keys.items())
        named = b"".join(struct.pack("<II", 2, len(name.encode())) + name.encode() for name, _ in self._keys)
        self._start = struct.pack("<I", len(self._keys)) + named
        self.fields: Sequence[bytes] = [f"_ts:{view}".encode(), *(_field(view, name) for name in features)]
        if len(set(self.fields)) < len(self.fields):
            raise ContractError(
                f"Feature view {view}: two features have the same field, because Feast's layout hashes their names.",
                hint="Rename one of them, or declare codec packed.",
            )
        own = set(self.fields)
        self._obsolete = [field for field in (_field(view, name) for name in before) if field not in own]
        self.rows_at_once = max(1, _ARGUMENTS // len(self.fields))

    def name(self, given: Mapping[str, Any]) -> bytes:
        """Serialize one entity as Feast does.

        Raises:
            UsageError: a key is missing, null, or has another type.
        """
        self._checked.of(given)
        parts = [_key_value(given[name], kind) for name, kind in self._keys]
        return b"".join((self._start, *parts))

    def names(self, entities: Sequence[Mapping[str, Any]], start: str) -> list[str]:
        """See `RowCodec`."""
        end = _end(start.encode())
        return [start + (self.name(entity) + end).decode(HASH_NAMES) for entity in entities]

    def entities(self, batch: "pa.RecordBatch") -> list[bytes]:
        """See `RowCodec`."""
        columns = [[_key_value(value, kind) for value in batch.column(name).to_pylist()] for name, kind in self._keys]
        return [b"".join((self._start, *parts)) for parts in zip(*columns, strict=True)]

    def encode(self, batch: "pa.RecordBatch", events: "np.ndarray[Any, Any]") -> Sequence[Value]:
        """See `RowCodec`.

        Raises:
            ContractError: Feast can't store a value: an array that has nulls.
        """
        columns = [feast_values.timestamps(events.tolist())]
        for name, kind in self._features.items():
            try:
                columns.append(feast_values.values(batch.column(name), kind))
            except ValueError as error:
                raise ContractError(
                    f"Feature view {self._view}: Feast can't store {name}: {error}.", hint="Declare codec packed."
                ) from error
        return list(zip(*columns, strict=True))

    def decode(self, values: Sequence[Sequence[bytes | None] | None]) -> Columns:
        """See `RowCodec`; a row consists of an event timestamp and the features' fields.

        Raises:
            ServiceError: a value is not in Feast's format for its type.
        """
        nothing = [None] * len(self.fields)
        rows = [nothing if row is None or row[0] is None else row for row in values]
        events, *columns = zip(*rows, strict=True) if rows else [()] * len(self.fields)
        return Columns(
            [None if event is None else feast_values.moment(event) for event in events],
            [
                [feast_values.value(each or b"", kind) for each in column]
                for column, kind in zip(columns, self._features.values(), strict=True)
            ],
        )

    def key(self, start: bytes, entity: bytes) -> bytes:
        """See `RowCodec`."""
        return entity + _end(start)

    def arguments(self, values: Sequence[Value]) -> list[Any]:
        """See `RowCodec`."""
        heads = [len(self.fields), len(self._obsolete), *self.fields, *self._obsolete]
        return [*heads, *(field for value in values for field in value)]

    def read(self, redis: Reader, start: bytes, entities: Sequence[bytes]) -> Sequence[Value | None]:
        """See `RowCodec`. A missing feature is a null; an obsolete field that still exists makes the row differ."""
        width = len(self.fields)
        end = _end(start)
        stored = redis.fields([entity + end for entity in entities], [*self.fields, *self._obsolete])
        rows = [(row[0], [*row[:width], *(each for each in row[width:] if each is not None)]) for row in stored]
        return [None if event is None else tuple(each or b"" for each in row) for event, row in rows]

    def stored_entities(self, redis: Reader, start: bytes) -> Iterator[list[bytes]]:
        """See `RowCodec`."""
        end = _end(start)
        for names in redis.names(end=end, kind="HASH"):
            own = [name for name in names if _entity_of(name, end)]
            marks = redis.fields(own, self.fields[:1])
            marked = [_entity_of(name, end) for name, (mark,) in zip(own, marks, strict=True) if mark is not None]
            if marked:
                yield marked

    def shown(self, entity: bytes) -> str:
        """See `RowCodec`."""
        text, at = [], len(self._start)
        if not entity.startswith(self._start):
            return repr(entity)
        while at < len(entity):
            kind, length = struct.unpack_from("<II", entity, at)
            content, at = entity[at + 8 : at + 8 + length], at + 8 + length
            whole = kind != _KEY_TYPES["string"]
            text.append(str(int.from_bytes(content, "little", signed=True)) if whole else content.decode())
        return "|".join(text)


def _end(start: bytes) -> bytes:
    """The end of a lakehouse's keys in Feast's layout; `start` gives the prefix of the lakehouse."""
    return feast_project(start.partition(b":")[0].decode()).encode()


def _entity_of(name: bytes, end: bytes) -> bytes:
    """The serialized entity in a Redis key; b"" if the key belongs to another project or is not an entity's."""
    entity, at = name.removesuffix(end), 4
    try:
        (count,) = struct.unpack_from("<I", entity)
        for _ in range(2 * count):
            (length,) = struct.unpack_from("<I", entity, at + 4)
            at += 8 + length
    except struct.error:
        return b""
    return entity if at == len(entity) else b""


def _field(view: str, feature: str) -> bytes:
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def _key_value(value: Any, kind: str) -> bytes:
    content = value.encode() if kind == "string" else struct.pack("<q" if kind == "bigint" else "<i", value)
    return struct.pack("<II", _KEY_TYPES[kind], len(content)) + content
