"""A sync by Spark in a separate process, whose stage gets its rows in other partitions at each try.

Arguments: project folder, Spark master, view.
"""

import sys

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from asgard.common.settings import load_settings
from asgard.features.joins.engines import Engine
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.serving.redis_access.store import Store
from asgard.serving.sync import spark_rows
from asgard.serving.sync.status import online_views
from asgard.serving.sync.sync import sync

PARTITIONS = 6


def main() -> None:
    """Sync."""
    folder, master, view = sys.argv[1:]
    lake = Lakehouse(load_settings({"project_dir": folder, "spark_master": master}))
    best_rows = spark_rows.best_rows

    def scattered(*given: object) -> DataFrame:
        return best_rows(*given).repartition(PARTITIONS, F.rand())  # type: ignore[arg-type]

    spark_rows.best_rows = scattered  # type: ignore[assignment]
    sync(lake, Store.of(lake.settings), online_views(lake, [view])[0], engine=Engine.SPARK)


if __name__ == "__main__":
    main()
