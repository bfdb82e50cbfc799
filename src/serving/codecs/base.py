"""The interface of codecs: how a view's rows are named, written to Redis, and read back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Value = bytes | tuple[bytes, ...]
"""One row as Redis stores it: one value (`packed`), or the fields of a hash (`feast`)."""
HASH_NAMES = "latin-1"
"""Encoding that maps any bytes to str and back."""
IN_PLACE = "feast"
"""The generation of rows that are overwritten in place, under the names that readers use."""
Stored = bytes | Sequence[bytes | None] | None
"""One row as it is read; None if there is no row."""


class Columns(NamedTuple):
    """Decoded rows.

    Attributes:
        events: event timestamps in microseconds since 1970; None where there is no row.
        values: the values of each feature, in order; None for a null, and where there is no row.
    """

    events: Sequence[int | None]
    values: list[Sequence[Any]]


@dataclass(frozen=True)
class EncodedBatch:
    """Rows as Redis stores them.

    Attributes:
        entities: names of the entities.
        values: the encoded row of each entity.
        deleted: entities that have no row, to be deleted.
    """

    entities: Sequence[bytes] = ()
    values: Sequence[Value] = ()
    deleted: Sequence[bytes] = ()


class Reader(Protocol):
    """The reads that a codec needs from Redis."""

    def values(self, names: Sequence[bytes]) -> list[bytes | None]:
        """The values of some keys."""

    def fields(self, names: Sequence[bytes], fields: Sequence[bytes]) -> list[list[bytes | None]]:
        """Some fields of some hashes."""

    def names(self, start: bytes = b"", end: bytes = b"", kind: str | None = None) -> Iterator[list[bytes]]:
        """The names of keys with this start and end, in batches; a name may appear twice."""


class RowCodec(Protocol):
    """How the rows of one view are stored.

    Attributes:
        generation: the only generation of a codec that overwrites rows in place; None for a codec that rebuilds a view
            in a new generation beside the old one.
        script: Lua that runs after the fence. KEYS: the state, the rows to write, the rows to delete; ARGV from 3 on:
            the generation, the number of rows to write, and the result of `arguments`. It returns how many entities
            were added and how many were deleted, and updates the count in the state.
        rows_at_once: most rows for one call of the script.
        fields: fields of a row that is a hash; () if a row is one value.
    """

    generation: str | None
    script: str
    rows_at_once: int
    fields: Sequence[bytes]

    def names(self, entities: Sequence[Mapping[str, Any]], start: str) -> list[str]:
        """The Redis names of entities, each after `start`, the start of the names of a generation's keys.

        The name of a hash is not text: its bytes are decoded by `HASH_NAMES`.

        Raises:
            UsageError: an entity lacks a key, or a key has another type.
        """

    def decode(self, values: Sequence[Any]) -> Columns:
        """Decode rows that were read.

        Args:
            values: one `Stored` for each row.

        Raises:
            ServiceError: a row is not in this layout.
        """

    def entities(self, batch: "pa.RecordBatch") -> list[bytes]:
        """The names of a batch's entities."""

    def encode(self, batch: "pa.RecordBatch", events: "np.ndarray[Any, Any]") -> Sequence[Value]:
        """Encode a batch's rows; `events` are event timestamps in microseconds since 1970."""

    def key(self, start: bytes, entity: bytes) -> bytes:
        """The Redis key of an entity; `start` is the start of the names of a generation's keys."""

    def arguments(self, values: Sequence[Value]) -> list[bytes | int]:
        """The arguments of the script to write these values."""

    def read(self, redis: Reader, start: bytes, entities: Sequence[bytes]) -> Sequence[Value | None]:
        """Read the stored rows of some entities; None for an entity without a row."""

    def stored_entities(self, redis: Reader, start: bytes) -> Iterator[list[bytes]]:
        """The entities in Redis, in batches; an entity may appear twice."""

    def shown(self, entity: bytes) -> str:
        """An entity's name, readable by people."""
