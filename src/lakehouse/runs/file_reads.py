"""Read a table, or chosen data files of it, in as many tasks as there are cores, through Iceberg itself.

`spark.read.parquet` reads files by column names: a file that is older than a rename would give nulls. Iceberg's staged
scan reads by field id, uses the table's storage, and takes paths unchanged. Source: Iceberg's
`SparkBinPackFileRewriteRunner` (`ScanTaskSetManager`, `SparkTableCache`, read option `scan-task-set-id`).

A task reads whole row groups. By default, Iceberg gives each task 16 to 128 MiB of files, so that one core would audit
what two cores wrote.
"""

import uuid
from collections.abc import Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any

from asgard.common.errors import ServiceError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameReader, SparkSession

_SMALLEST, _LARGEST = 1 << 20, 128 << 20
"""Least and most bytes of files for one task: less is not worth a task, and the most is Iceberg's own default."""


class FileReads:
    """Reads tables and chosen files; a DataFrame of chosen files can be used until the `with` block ends.

    Args:
        session: the Spark session to read with.
    """

    def __init__(self, session: "SparkSession") -> None:
        self._session = session
        self._tasks: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._staged: list[tuple[Any, str]] = []

    def __enter__(self) -> "FileReads":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for table, name in self._staged:
            self._task_sets.removeTasks(table, name)
            self._table_cache.remove(name)

    def whole(self, sql_name: str, size: int) -> "DataFrame":
        """All rows of a table.

        Args:
            sql_name: SQL name of the table at the commit to read.
            size: total size of the table's files, in bytes.
        """
        return self._reader(size).table(sql_name)

    def frame(self, sql_name: str, paths: Sequence[str]) -> "DataFrame":
        """The rows of some data files of a table's current snapshot.

        Args:
            sql_name: SQL name of the table at the commit to read.
            paths: of the files, as in the table's manifests.

        Raises:
            ServiceError: one of the paths is not a live file of that snapshot.
        """
        if not paths:
            return self._session.createDataFrame([], self._session.table(sql_name).schema)
        table, tasks = self._plan(sql_name)
        missing = [path for path in paths if path not in tasks]
        if missing:
            raise ServiceError(f"{missing[0]} is not a live file of {sql_name}.", hint="This is a defect: report it.")
        chosen, size = self._java.util.ArrayList(), 0
        for path in paths:
            chosen.add(tasks[path])
            size += tasks[path].length()
        name = f"asgard-{uuid.uuid4()}"
        self._task_sets.stageTasks(table, name, chosen)
        self._table_cache.add(name, table)
        self._staged.append((table, name))
        return self._reader(size).format("iceberg").option("scan-task-set-id", name).load(name)

    def _reader(self, size: int) -> "DataFrameReader":
        share = size // self._session.sparkContext.defaultParallelism
        split = min(max(share, _SMALLEST), _LARGEST)
        return self._session.read.option("split-size", split).option("file-open-cost", split // 32)

    def _plan(self, sql_name: str) -> tuple[Any, dict[str, Any]]:
        if sql_name not in self._tasks:
            table = self._iceberg.Spark3Util.loadIcebergTable(self._session._jsparkSession, sql_name)
            tasks, files = {}, table.newScan().planFiles().iterator()
            while files.hasNext():
                task = files.next()
                tasks[str(task.file().location())] = task
            self._tasks[sql_name] = (table, tasks)
        return self._tasks[sql_name]

    @property
    def _java(self) -> Any:
        return self._session._jvm.java  # type: ignore[union-attr]

    @property
    def _iceberg(self) -> Any:
        return self._session._jvm.org.apache.iceberg.spark  # type: ignore[union-attr]

    @cached_property
    def _task_sets(self) -> Any:
        return self._iceberg.ScanTaskSetManager.get()

    @cached_property
    def _table_cache(self) -> Any:
        """`SparkTableCache.get()`, by reflection: py4j sees one method of a name, but the class has two `get`."""
        gateway = self._session.sparkContext._gateway
        kind = self._task_sets.getClass().getClassLoader().loadClass("org.apache.iceberg.spark.SparkTableCache")
        no_types, no_values = (gateway.new_array(each, 0) for each in (self._java.lang.Class, self._java.lang.Object))  # type: ignore[union-attr]
        return kind.getMethod("get", no_types).invoke(None, no_values)
