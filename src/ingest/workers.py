"""Run work on Spark's Python workers: several files per task, with the results as a DataFrame."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

_SMALLEST, _LARGEST = 1 << 20, 64 << 20
"""The smallest and the largest target for the bytes of files that one task reads; a file is never split."""
_T = TypeVar("_T")


def in_groups(session: "SparkSession", items: Sequence[_T], size: Callable[[_T], int]) -> list[list[_T]]:
    """Group the items, in order, so that every core has work and no task has too much.

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
    """The rows that `work` yields for each task's number.

    Args:
        session: to run with.
        tasks: the number of tasks.
        work: picklable; called on the workers with 0, 1, ..., each in a task of its own.
        schema: of the rows.
    """
    return session.range(0, tasks, 1, tasks).mapInArrow(partial(_numbers, work), schema)


def _numbers(
    work: "Callable[[int], Iterator[pa.RecordBatch]]", batches: "Iterator[pa.RecordBatch]"
) -> "Iterator[pa.RecordBatch]":
    for batch in batches:
        for number in batch.column(0).to_pylist():
            yield from work(number)
