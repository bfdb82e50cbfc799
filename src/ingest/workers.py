"""Work on Spark's Python workers: some files for each task, and what comes of them as a DataFrame."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

_SMALLEST, _LARGEST = 1 << 20, 64 << 20
"""Bytes of files that one task reads, at least and at most; a file is never divided."""
_T = TypeVar("_T")


def in_groups(session: "SparkSession", items: Sequence[_T], size: Callable[[_T], int]) -> list[list[_T]]:
    """The items in groups, in order, so that every core has some and no task has many.

    Args:
        session: to run with.
        items: to divide.
        size: of one, in bytes.
    """
    share = sum(map(size, items)) // session.sparkContext.defaultParallelism
    target = min(max(share, _SMALLEST), _LARGEST)
    groups: list[list[_T]] = []
    room = 0
    for item in items:
        if not groups or size(item) > room:
            groups.append([])
            room = target
        groups[-1].append(item)
        room -= size(item)
    return groups


def on_workers(
    session: "SparkSession", tasks: int, work: "Callable[[int], Iterator[pa.RecordBatch]]", schema: "StructType | str"
) -> "DataFrame":
    """What `work` gives for each task's number.

    Args:
        session: to run with.
        tasks: their number.
        work: picklable; called with 0, 1, ... on the workers, in a task each.
        schema: of what it gives.
    """
    return session.range(0, tasks, 1, tasks).mapInArrow(partial(_numbers, work), schema)


def _numbers(
    work: "Callable[[int], Iterator[pa.RecordBatch]]", batches: "Iterator[pa.RecordBatch]"
) -> "Iterator[pa.RecordBatch]":
    for batch in batches:
        for number in batch.column(0).to_pylist():
            yield from work(number)
