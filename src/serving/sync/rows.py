"""The rows of a published snapshot, encoded as Redis keeps them; and how Redis differs from them."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from asgard.features.pinned import PinnedTable, PinnedView
from asgard.features.views import FeatureView
from asgard.serving.codecs.base import EncodedBatch, Reader, RowCodec
from asgard.serving.codecs.choose import row_codec
from asgard.serving.sync import changes

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

_ENTITIES_OF_A_BATCH = 5_000


def codec_of(view: FeatureView, table: PinnedTable, before: Collection[str] = ()) -> RowCodec:
    """How a view's rows are kept; `before` as in `row_codec`.

    Raises:
        ContractError: its codec can't hold a type.
    """
    keys = {name: table.columns[name].type for name in view.keys}
    return row_codec(view.codec, view.name, keys, {each.name: each.type for each in view.features}, before)


class SnapshotRows:
    """Rows of one view at one snapshot, read by DuckDB.

    Args:
        pinned: the view.
        before: as in `row_codec`.

    Attributes:
        pinned: the view.
        codec: how they are kept.
        seen: how many entities went through so far.
    """

    def __init__(self, pinned: PinnedView, before: Collection[str] = ()) -> None:
        self.pinned, self.codec, self.seen = pinned, codec_of(pinned.view, pinned.table, before), 0

    def of(self, connection: "DuckDBPyConnection", wanted: changes.Changes) -> Iterator[EncodedBatch]:
        """The rows of some entities; those that have none are to be deleted.

        Raises:
            UsageError: files of the snapshot are gone.
        """
        for batch in changes.rows(connection, self.pinned, wanted):
            self.seen += batch.num_rows
            yield encoded(self.codec, batch)

    def differing(self, connection: "DuckDBPyConnection", redis: Reader, start: bytes) -> Iterator[EncodedBatch]:
        """Of all rows those that Redis lacks or has otherwise; see `differing`."""
        return (differing(self.codec, redis, start, batch) for batch in self.of(connection, changes.EVERY))

    def surplus(self, connection: "DuckDBPyConnection", redis: Reader, start: bytes) -> Iterator[EncodedBatch]:
        """What Redis has beyond the snapshot's entities, to be deleted."""
        published = SnapshotEntities(connection)
        for batch in changes.entities(connection, self.pinned):
            published.add(self.codec.entities(batch))
        for names in published.surplus(self.codec.stored_entities(redis, start)):
            yield EncodedBatch(deleted=names)


def encoded(codec: RowCodec, batch: "pa.RecordBatch") -> EncodedBatch:
    """Rows (keys, `changes.EVENT`, features) as Redis keeps them; one without an event is to be deleted."""
    import pyarrow.compute as pc

    events = batch.column(changes.EVENT)
    deleted = codec.entities(batch.filter(pc.is_null(events))) if events.null_count else []
    if events.null_count:
        batch = batch.filter(pc.is_valid(events))
    if not batch.num_rows:
        return EncodedBatch(deleted=deleted)
    moments = batch.column(changes.EVENT).to_numpy(zero_copy_only=False)
    return EncodedBatch(codec.entities(batch), codec.encode(batch, moments), deleted)


def differing(codec: RowCodec, redis: Reader, start: bytes, batch: EncodedBatch) -> EncodedBatch:
    """The rows of a batch that Redis lacks or has otherwise.

    Args:
        codec: how they are kept.
        redis: where they are.
        start: what the names of the view's rows begin with.
        batch: rows of a snapshot.
    """
    stored = codec.read(redis, start, batch.entities)
    other = [place for place, value in enumerate(batch.values) if stored[place] != value]
    return EncodedBatch(
        [batch.entities[place] for place in other], [batch.values[place] for place in other], batch.deleted
    )


class SnapshotEntities:
    """Names of the entities of a snapshot, kept by DuckDB within its memory bound.

    Args:
        connection: of DuckDB; other queries of it may be read meanwhile.
    """

    def __init__(self, connection: "DuckDBPyConnection") -> None:
        self._connection = connection.cursor()
        self._connection.execute("CREATE OR REPLACE TABLE entities_of_snapshot (entity BLOB)")
        self._connection.execute("CREATE OR REPLACE TABLE entities_of_redis (entity BLOB)")

    def add(self, entities: Sequence[bytes]) -> None:
        """More of them."""
        self._insert("entities_of_snapshot", entities)

    def surplus(self, stored: Iterable[Sequence[bytes]]) -> Iterator[list[bytes]]:
        """Those entities of Redis that the snapshot does not have, each once."""
        for entities in stored:
            self._insert("entities_of_redis", entities)
        surplus = self._connection.sql(
            "SELECT DISTINCT entity FROM entities_of_redis ANTI JOIN entities_of_snapshot USING (entity)"
        )
        for batch in surplus.to_arrow_reader(_ENTITIES_OF_A_BATCH):  # streamed: what `execute` gives is kept whole
            yield batch.column(0).to_pylist()

    def _insert(self, table: str, entities: Sequence[bytes]) -> None:
        import pyarrow as pa

        if entities:
            given = pa.table({"entity": pa.array(entities, pa.binary())})
            self._connection.register("given", given)
            self._connection.execute(f"INSERT INTO {table} FROM given")
            self._connection.unregister("given")
