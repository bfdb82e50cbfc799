"""The rows of a large view, read, encoded and written to Redis by Spark's tasks.

Each task writes through the fence of its sync. Spark may abandon a task, run it twice, or repeat a stage with its rows
in other partitions: such a task writes the same rows as its sync, because an entity's row depends only on the snapshot,
never on the partition. After the next sync began, it can't write at all.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard.common.spark_utils import explain
from asgard.features.joins.spark_join import column_of, visible_rows
from asgard.features.pinned import PinnedView
from asgard.features.types import to_arrow
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.serving.codecs.base import EncodedBatch
from asgard.serving.codecs.choose import row_codec
from asgard.serving.redis_access.fence import WritePermit
from asgard.serving.redis_access.store import Store
from asgard.serving.sync.changes import EVENT
from asgard.serving.sync.rows import differing, encoded
from asgard.serving.sync.sending import send

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

_COUNTED = "entities bigint, written bigint, deleted bigint"


@dataclass(frozen=True)
class WriteTask:
    """The function that each task runs on its rows; it is sent to the executors, with the address of Redis.

    Attributes:
        url, prefix: address of Redis and start of its keys, see `Store`.
        permit: the sync's right to write.
        generation: the generation to write.
        codec, view, keys, features, before: see `row_codec`.
        only_differing: whether to read the rows in Redis first, and write only those that differ.
    """

    url: str
    prefix: str
    permit: WritePermit
    generation: str
    codec: str
    view: str
    keys: dict[str, str]
    features: dict[str, str]
    before: tuple[str, ...]
    only_differing: bool

    def __repr__(self) -> str:
        return f"WriteTask({self.view}, {self.generation})"  # never the address: it may contain a password

    def __call__(self, batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        """Write rows with the keys, `EVENT` and the features.

        Returns:
            One row: the numbers of entities examined, written and deleted.
        """
        import pyarrow as pa

        store = Store(self.url, self.prefix)
        fenced = store.joined(self.view, self.permit)
        codec = row_codec(self.codec, self.view, self.keys, self.features, self.before)
        kinds = {**self.keys, EVENT: "bigint", **self.features}
        schema, start = (
            pa.schema([(name, to_arrow(kind)) for name, kind in kinds.items()]),
            fenced.keys.row(self.generation),
        )
        seen = 0

        def rows() -> "Iterator[EncodedBatch]":
            nonlocal seen
            for batch in batches:
                seen += batch.num_rows
                batch_of_redis = encoded(codec, batch.cast(schema))
                yield differing(codec, store, start, batch_of_redis) if self.only_differing else batch_of_redis

        written, deleted = send(fenced, codec, self.generation, rows())
        store.client.close()
        yield pa.record_batch([[seen], [written], [deleted]], ["entities", "written", "deleted"])


def write_on_spark(
    lake: Lakehouse, pinned: PinnedView, task: WriteTask, touched: "pa.Table | None", condition: str
) -> tuple[int, int, int]:
    """Write the rows of a view.

    Args:
        lake: the lakehouse, whose Spark session is used.
        pinned: the view.
        task: the function that writes the rows.
        touched: keys of the entities to examine; None: all that have a row.
        condition: Spark SQL condition for the rows from which each entity's row is chosen.

    Returns:
        The numbers of entities examined, written and deleted.

    Raises:
        ConflictError, ServiceError: as for a write in this process.
        RunError: Spark failed.
    """
    from pyspark.sql import functions as F

    names = ("entities", "written", "deleted")
    try:
        counted = best_rows(lake, pinned, touched, condition).mapInArrow(task, _COUNTED)
        sums = counted.agg(*(F.sum(name) for name in names)).collect()[0]
    except Exception as error:
        raise explain(error, f"Writing {pinned.name} to Redis") from error
    return int(sums[0] or 0), int(sums[1] or 0), int(sums[2] or 0)


def best_rows(lake: Lakehouse, pinned: PinnedView, touched: "pa.Table | None", condition: str) -> "DataFrame":
    """Compute each entity's row, by the rule of `changes.rows`: the keys, `EVENT` and the features.

    See `write_on_spark` for the arguments.
    """
    from pyspark.sql import functions as F

    view, session = pinned.view, lake.spark
    table = session.table(pinned.table.at.sql_name(pinned.table.name)).where(condition)
    rows = visible_rows(table, pinned, 0)
    keys = [column_of(f"__key_{key}") for key in view.keys]
    best = rows.groupBy(*keys).agg(F.max("__row_0").alias("__row"))
    current = best.select(
        *(column_of(f"__key_{key}").alias(key) for key in view.keys),
        column_of("__row", "__event").alias(EVENT),
        *(column_of("__row", feature).alias(feature) for feature in view.feature_names),
    )
    if touched is None:
        return current
    return session.createDataFrame(touched).join(current, list(view.keys), "left")
