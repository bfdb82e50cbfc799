"""Codec `packed` in Redis: one key and one value for each entity, in generations.

The key is `<prefix>:<view>:<generation>:<entity>`; see `entity_keys` for the entity and `packed` for the value.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from asgard.common.errors import ContractError
from asgard.serving.codecs.base import Columns, Reader, Value
from asgard.serving.codecs.entity_keys import EntityKey
from asgard.serving.codecs.packed import Packed

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_SCRIPT = """
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


class PackedRows:
    """See `RowCodec`.

    Args:
        keys, features: name -> type, in order.
    """

    generation: str | None = None
    script: str = _SCRIPT
    rows_at_once: int = 1_000
    """Lua passes on only a few thousand arguments at once."""
    fields: Sequence[bytes] = ()

    def __init__(self, keys: Mapping[str, str], features: Mapping[str, str]) -> None:
        self._key, self._row = EntityKey(keys), Packed(features)

    def names(self, entities: Sequence[Mapping[str, Any]], start: str) -> list[str]:
        """See `RowCodec`."""
        return self._key.names(entities, start)

    def decode(self, values: Sequence[Any]) -> Columns:
        """See `RowCodec`."""
        return self._row.decode(values)

    def entities(self, batch: "pa.RecordBatch") -> list[bytes]:
        """See `RowCodec`."""
        return self._key.column(batch)

    def encode(self, batch: "pa.RecordBatch", events: "np.ndarray[Any, Any]") -> Sequence[Value]:
        """See `RowCodec`.

        Raises:
            ContractError: an array has a date or a timestamp that Python can't represent (after year 9999).
        """
        try:
            return self._row.encode(batch, events)
        except OverflowError as error:
            raise ContractError(
                f"An array has a date or a timestamp that can't be stored: {error}.",
                hint=f"Find it in one of {', '.join(self._row.names)}: no date may be after the year 9999.",
            ) from error

    def key(self, start: bytes, entity: bytes) -> bytes:
        """See `RowCodec`."""
        return start + entity

    def arguments(self, values: Sequence[Value]) -> list[Any]:
        """See `RowCodec`."""
        return list(values)

    def read(self, redis: Reader, start: bytes, entities: Sequence[bytes]) -> Sequence[Value | None]:
        """See `RowCodec`."""
        return redis.values([start + entity for entity in entities])

    def stored_entities(self, redis: Reader, start: bytes) -> Iterator[list[bytes]]:
        """See `RowCodec`."""
        for names in redis.names(start):
            yield [name.removeprefix(start) for name in names]

    def shown(self, entity: bytes) -> str:
        """See `RowCodec`."""
        return entity.decode(errors="replace")
