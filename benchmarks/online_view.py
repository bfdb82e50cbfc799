"""Shared parts of the online store's benchmarks: a published view of ten doubles for each entity, and Feast's view."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from asgard.features.views import Feature, FeatureView, feature_view
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import declare_table
from asgard.lakehouse.runs.run import RunRequest, execute
from asgard.serving.redis_access.store import Store
from benchmarks.harness import project

FEATURES = tuple(f"f{number}" for number in range(10))
FEAST_ROWS = 20_000
"""Rows on which Feast's rate is measured: Feast writes only a few thousand rows a second."""


@dataclass(frozen=True)
class OnlineView:
    """The view, the lakehouse where it is published, and the Redis."""

    lake: Lakehouse
    store: Store
    view: FeatureView
    folder: Path

    def publish(self, rows: int, *, day: int = 0, every: int = 1, mode: str = "append") -> None:
        """Publish a row of one day for every `every`-th entity."""
        file = self.folder / "rows.parquet"
        values = ", ".join(f"random() AS {feature}" for feature in FEATURES)
        duckdb.connect().execute(
            f"COPY (SELECT range * {every} AS customer_id, "
            f"to_timestamp(1704067200 + {day} * 86400) AS event_timestamp, {values} "
            f"FROM range({rows // every})) TO '{file}'"
        )
        frame = self.lake.spark.read.parquet(str(file))
        table = declare_table(str(self.view.table), mode=mode)
        execute(self.lake, RunRequest("benchmark"), lambda attempt: attempt.write(table, frame), lambda _line: None)

    def rewrite(self) -> None:
        """Rewrite the same rows into other files, as compaction does."""
        frame = self.lake.frame(self.view.table, "main").repartition(3)
        table = declare_table(str(self.view.table), mode="replace")
        execute(self.lake, RunRequest("benchmark"), lambda attempt: attempt.write(table, frame), lambda _line: None)


@contextmanager
def online_view(codec: str = "packed") -> Iterator[OnlineView]:
    """Open a temporary project folder, with Nessie and Redis running; nothing is published yet."""
    with project("redis") as settings:
        lake = Lakehouse.connect(settings, "online")
        yield OnlineView(lake, Store.of(settings), the_view(codec), Path(settings.project_dir))


def the_view(codec: str = "packed") -> FeatureView:
    """Return a view of ten doubles for each customer."""
    features = [Feature(feature, "double") for feature in FEATURES]
    return feature_view("customers", table="gold.customers", keys=("customer_id",), features=features, codec=codec)


def feast_store(made: OnlineView) -> Any:
    """Set up Feast's own store in the same Redis, with the same view."""
    os.environ.setdefault("FEAST_USAGE", "False")
    from feast import Entity, FeatureStore, Field, FileSource, RepoConfig, ValueType
    from feast import FeatureView as FeastView
    from feast.types import Float64

    port = str(made.store.where).rpartition(":")[2].partition("/")[0]
    config = RepoConfig(
        project="feast",
        provider="local",
        registry=str(made.folder / "registry.db"),
        online_store={"type": "redis", "connection_string": f"127.0.0.1:{port}"},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    entity = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)
    source = FileSource(path=str(made.folder / "rows.parquet"), timestamp_field="event_timestamp")
    schema = [Field(name=feature, dtype=Float64) for feature in FEATURES]
    store.apply([entity, FeastView(name="customers", entities=[entity], schema=schema, source=source)])
    return store


def feast_rows(made: OnlineView) -> Any:
    """Read the rows for Feast's writer."""
    table = made.lake.frame(made.view.table, "main").where(f"customer_id < {FEAST_ROWS}")
    frame = table.select("customer_id", *FEATURES).toPandas()
    frame["event_timestamp"] = datetime(2024, 1, 1, tzinfo=UTC)
    return frame
