"""The rows of a published snapshot, encoded for Redis; and the differences between them and Redis."""

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
    """Return the codec of a view's rows; `before` as in `row_codec`.

    Raises:
        ContractError: the codec can't store a type.
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
        codec: codec of the rows.
        seen: number of entities read so far.
    """

    def __init__(self, pinned: PinnedView, before: Collection[str] = ()) -> None:
        self.pinned, self.codec, self.seen = pinned, codec_of(pinned.view, pinned.table, before), 0

    def of(self, connection: "DuckDBPyConnection", wanted: changes.Changes) -> Iterator[EncodedBatch]:
        """Read the rows of some entities; entities without a row are to be deleted.

        Raises:
            UsageError: files of the snapshot are missing.
        """
        for batch in changes.rows(connection, self.pinned, wanted):
            self.seen += batch.num_rows
            yield encoded(self.codec, batch)

    def differing(self, connection: "DuckDBPyConnection", redis: Reader, start: bytes) -> Iterator[EncodedBatch]:
        """The rows that are missing in Redis or have another value there; see `differing`."""
        return (differing(self.codec, redis, start, batch) for batch in self.of(connection, changes.EVERY))

    def surplus(self, connection: "DuckDBPyConnection", redis: Reader, start: bytes) -> Iterator[EncodedBatch]:
        """The entities that are in Redis but not in the snapshot, to be deleted."""
        published = SnapshotEntities(connection)
        for batch in changes.entities(connection, self.pinned):
            published.add(self.codec.entities(batch))
        for names in published.surplus(self.codec.stored_entities(redis, start)):
            yield EncodedBatch(deleted=names)


def encoded(codec: RowCodec, batch: "pa.RecordBatch") -> EncodedBatch:
    """Encode rows (keys, `changes.EVENT`, features) for Redis; an entity whose event is null is to be deleted."""
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
    """Select the rows of a batch that are missing in Redis or have another value there.

    Args:
        codec: codec of the rows.
        redis: the Redis to compare with.
        start: start of the names of the view's rows.
        batch: rows of a snapshot.
    """
    stored = codec.read(redis, start, batch.entities)
    other = [place for place, value in enumerate(batch.values) if stored[place] != value]
    return EncodedBatch(
        [batch.entities[place] for place in other], [batch.values[place] for place in other], batch.deleted
    )


class SnapshotEntities:
    """Names of a snapshot's entities, stored in DuckDB within its memory limit.

    Args:
        connection: connection of DuckDB; results of its other queries may be read meanwhile.
    """

    def __init__(self, connection: "DuckDBPyConnection") -> None:
        self._connection = connection.cursor()
        self._connection.execute("CREATE OR REPLACE TABLE entities_of_snapshot (entity BLOB)")
        self._connection.execute("CREATE OR REPLACE TABLE entities_of_redis (entity BLOB)")

    def add(self, entities: Sequence[bytes]) -> None:
        """Add entities of the snapshot."""
        self._insert("entities_of_snapshot", entities)

    def surplus(self, stored: Iterable[Sequence[bytes]]) -> Iterator[list[bytes]]:
        """The entities of Redis that are not in the snapshot, each once."""
        for entities in stored:
            self._insert("entities_of_redis", entities)
        surplus = self._connection.sql(
            "SELECT DISTINCT entity FROM entities_of_redis ANTI JOIN entities_of_snapshot USING (entity)"
        )
        for batch in surplus.to_arrow_reader(_ENTITIES_OF_A_BATCH):  # streamed: `execute` keeps the whole result
            yield batch.column(0).to_pylist()

    def _insert(self, table: str, entities: Sequence[bytes]) -> None:
        import pyarrow as pa

        if entities:
            given = pa.table({"entity": pa.array(entities, pa.binary())})
            self._connection.register("given", given)
            self._connection.execute(f"INSERT INTO {table} FROM given")
            self._connection.unregister("given")
