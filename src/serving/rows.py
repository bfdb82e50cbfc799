"""The rows of a published snapshot, encoded as Redis keeps them; and how Redis differs from them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from asgard.features.pinned import PinnedView
from asgard.serving import changes
from asgard.serving.beyond import Names
from asgard.serving.entities import EntityKey
from asgard.serving.packed import Packed
from asgard.serving.state import Batch
from asgard.serving.store import Store

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection


class ViewRows:
    """Rows of one view at one snapshot.

    Args:
        pinned: the view.

    Attributes:
        seen: how many entities went through so far.
    """

    def __init__(self, pinned: PinnedView) -> None:
        columns = pinned.table.columns
        self._pinned = pinned
        self._key = EntityKey({name: columns[name].type for name in pinned.view.keys})
        self._layout = Packed({each.name: each.type for each in pinned.view.features})
        self.seen = 0

    def of(self, connection: "DuckDBPyConnection", wanted: changes.Changes) -> Iterator[Batch]:
        """The rows of some entities; those that have none are to be deleted.

        Raises:
            UsageError: files of the snapshot are gone.
        """
        return map(self._encoded, changes.rows(connection, self._pinned, wanted))

    def _encoded(self, batch: "pa.RecordBatch") -> Batch:
        import pyarrow.compute as pc

        self.seen += batch.num_rows
        events = batch.column(changes.EVENT)
        deleted = self._key.column(batch.filter(pc.is_null(events))) if events.null_count else []
        if events.null_count:
            batch = batch.filter(pc.is_valid(events))
        if not batch.num_rows:
            return Batch(deleted=deleted)
        moments = batch.column(changes.EVENT).to_numpy(zero_copy_only=False)
        return Batch(self._key.column(batch), self._layout.encode(batch, moments), deleted)

    def differing(self, connection: "DuckDBPyConnection", store: Store, start: bytes) -> Iterator[Batch]:
        """Of all rows those that Redis lacks or has otherwise; then what it has beyond them, to be deleted.

        Args:
            connection: of DuckDB.
            store: the Redis.
            start: what the names of the view's rows begin with.
        """
        right = Names(connection)
        for batch in self.of(connection, changes.EVERY):
            there = store.values([start + entity for entity in batch.entities])
            other = [place for place, value in enumerate(batch.values) if there[place] != value]
            right.add(batch.entities)
            yield Batch([batch.entities[place] for place in other], [batch.values[place] for place in other])
        for names in right.beyond(store.entities(start)):
            yield Batch(deleted=names)
