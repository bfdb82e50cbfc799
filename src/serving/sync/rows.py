"""The rows of a published snapshot, encoded as Redis keeps them; and how Redis differs from them."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from asgard.features.pinned import PinnedTable, PinnedView
from asgard.features.views import FeatureView
from asgard.serving.codecs.base import Batch, Reader, RowCodec
from asgard.serving.codecs.choose import row_codec
from asgard.serving.sync import changes
from asgard.serving.sync.beyond import Names

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection


def codec_of(view: FeatureView, table: PinnedTable, before: Collection[str] = ()) -> RowCodec:
    """How a view's rows are kept; `before` as in `row_codec`.

    Raises:
        ContractError: its codec can't hold a type.
    """
    keys = {name: table.columns[name].type for name in view.keys}
    return row_codec(view.codec, view.name, keys, {each.name: each.type for each in view.features}, before)


class ViewRows:
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

    def of(self, connection: "DuckDBPyConnection", wanted: changes.Changes) -> Iterator[Batch]:
        """The rows of some entities; those that have none are to be deleted.

        Raises:
            UsageError: files of the snapshot are gone.
        """
        for batch in changes.rows(connection, self.pinned, wanted):
            self.seen += batch.num_rows
            yield encoded(self.codec, batch)

    def differing(self, connection: "DuckDBPyConnection", redis: Reader, start: bytes) -> Iterator[Batch]:
        """Of all rows those that Redis lacks or has otherwise; see `differing`."""
        return (differing(self.codec, redis, start, batch) for batch in self.of(connection, changes.EVERY))

    def beyond(self, connection: "DuckDBPyConnection", redis: Reader, start: bytes) -> Iterator[Batch]:
        """What Redis has beyond the snapshot's entities, to be deleted."""
        right = Names(connection)
        for batch in changes.entities(connection, self.pinned):
            right.add(self.codec.entities(batch))
        for names in right.beyond(self.codec.there(redis, start)):
            yield Batch(deleted=names)


def encoded(codec: RowCodec, batch: "pa.RecordBatch") -> Batch:
    """Rows (keys, `changes.EVENT`, features) as Redis keeps them; one without an event is to be deleted."""
    import pyarrow.compute as pc

    events = batch.column(changes.EVENT)
    deleted = codec.entities(batch.filter(pc.is_null(events))) if events.null_count else []
    if events.null_count:
        batch = batch.filter(pc.is_valid(events))
    if not batch.num_rows:
        return Batch(deleted=deleted)
    moments = batch.column(changes.EVENT).to_numpy(zero_copy_only=False)
    return Batch(codec.entities(batch), codec.encode(batch, moments), deleted)


def differing(codec: RowCodec, redis: Reader, start: bytes, batch: Batch) -> Batch:
    """The rows of a batch that Redis lacks or has otherwise.

    Args:
        codec: how they are kept.
        redis: where they are.
        start: what the names of the view's rows begin with.
        batch: rows of a snapshot.
    """
    there = codec.read(redis, start, batch.entities)
    other = [place for place, value in enumerate(batch.values) if there[place] != value]
    return Batch([batch.entities[place] for place in other], [batch.values[place] for place in other], batch.deleted)
