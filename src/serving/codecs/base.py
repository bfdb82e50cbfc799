"""What a codec does: how a view's rows are named and written in Redis, and read back from there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Value = bytes | tuple[bytes, ...]
"""One row as Redis keeps it: one value (`packed`), or the fields of a hash (`feast`)."""
HASH_NAMES = "latin-1"
"""Encoding that maps any bytes to str and back."""
IN_PLACE = "feast"
"""The generation of rows that are written where readers look for them."""
Stored = bytes | Sequence[bytes | None] | None
"""One row as it is read; None if there is none."""


class Columns(NamedTuple):
    """Some rows, decoded.

    Attributes:
        events: event timestamps in microseconds since 1970; None where there is no row.
        values: for each feature in order, its values; None for a null, and where there is no row.
    """

    events: Sequence[int | None]
    values: list[Sequence[Any]]


@dataclass(frozen=True)
class EncodedBatch:
    """Some rows as Redis keeps them.

    Attributes:
        entities: by name.
        values: of each, encoded.
        deleted: entities that have no row.
    """

    entities: Sequence[bytes] = ()
    values: Sequence[Value] = ()
    deleted: Sequence[bytes] = ()


class Reader(Protocol):
    """What a codec asks of Redis."""

    def values(self, names: Sequence[bytes]) -> list[bytes | None]:
        """The values of some keys."""

    def fields(self, names: Sequence[bytes], fields: Sequence[bytes]) -> list[list[bytes | None]]:
        """Some fields of some hashes."""

    def names(self, start: bytes = b"", end: bytes = b"", kind: str | None = None) -> Iterator[list[bytes]]:
        """The names of keys that begin and end so, by batches; a name may come twice."""


class RowCodec(Protocol):
    """How the rows of one view are kept.

    Attributes:
        generation: the one of a codec whose rows lie where readers look for them, so that there is but one; None for
            a codec that builds a view anew beside the old one.
        script: Lua behind the fence. KEYS: the state, the rows to write, those to delete; ARGV from 3 on: the
            generation, how many rows to write, and what `arguments` gave. It returns how many entities are new, and
            how many are gone, and counts them in the state.
        rows_at_once: that one call of the script takes.
        fields: of the hash that a row is; () where it is one value.
    """

    generation: str | None
    script: str
    rows_at_once: int
    fields: Sequence[bytes]

    def names(self, entities: Sequence[Mapping[str, Any]], start: str) -> list[str]:
        """The names of some entities; `start` is what names of a generation's keys begin with.

        The name of a hash, which is no text, follows as `HASH_NAMES`.

        Raises:
            UsageError: an entity lacks a key, or one is of another type.
        """

    def decode(self, values: Sequence[Any]) -> Columns:
        """What the rows say that were read.

        Args:
            values: one `Stored` for each.

        Raises:
            ServiceError: one is not of this layout.
        """

    def entities(self, batch: "pa.RecordBatch") -> list[bytes]:
        """The names of a batch's entities."""

    def encode(self, batch: "pa.RecordBatch", events: "np.ndarray[Any, Any]") -> Sequence[Value]:
        """The values of a batch's rows; `events` are microseconds since 1970."""

    def key(self, start: bytes, entity: bytes) -> bytes:
        """The Redis key of an entity; `start` is what names of a generation's keys begin with."""

    def arguments(self, values: Sequence[Value]) -> list[bytes | int]:
        """What the script is given to write these values."""

    def read(self, redis: Reader, start: bytes, entities: Sequence[bytes]) -> Sequence[Value | None]:
        """What Redis has of some entities."""

    def stored_entities(self, redis: Reader, start: bytes) -> Iterator[list[bytes]]:
        """The entities that Redis has, by batches; one may come twice."""

    def shown(self, entity: bytes) -> str:
        """An entity's name for people."""
