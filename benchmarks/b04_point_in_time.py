"""B4: the point-in-time join, against Feast's DuckDB store and a hand-written DuckDB ASOF join; and on Spark.

One million labels, five million feature rows of a hundred thousand customers, ten features. All sides read the same
Parquet files of one published table and write one Parquet file.
"""

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb

from asgard.features import register
from asgard.features.joins import duck
from asgard.features.joins.engines import Engine
from asgard.features.joins.labels import Labels, load_labels
from asgard.features.pinned import local_path
from asgard.features.training_sets.build import SetRequest, build, join_by_duckdb
from asgard.features.views import Feature, feature_view
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.declaring.declaration import declare_table
from asgard.lakehouse.runs.run import RunRequest, execute
from benchmarks.harness import Row, interleave, parse, project, ratio, report, spread

FEATURES = tuple(f"f{number}" for number in range(10))
TTL_DAYS = 60
SECONDS = 365 * 86_400


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__)
    rows, labels, customers = (500_000, 50_000, 10_000) if options.quick else (5_000_000, 1_000_000, 100_000)
    with project() as settings, tempfile.TemporaryDirectory(prefix="asgard-b04-") as name:
        folder = Path(name)
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SELECT setseed(0.4)")
        values = ", ".join(f"random() AS {feature}" for feature in FEATURES)
        connection.execute(
            f"COPY (SELECT (random() * {customers})::BIGINT AS customer_id, make_timestamptz((1704067200 + "
            f"(random() * {SECONDS})::BIGINT) * 1000000) AS event_timestamp, {values} FROM range({rows})) "
            f"TO '{folder}/rows.parquet'"
        )
        # Feast merges labels with equal key and time, so each label has a unique key and time, and its own number.
        connection.execute(
            f"COPY (SELECT DISTINCT ON (customer_id, event_timestamp) * FROM (SELECT (random() * {customers})::BIGINT "
            f"AS customer_id, make_timestamptz((1704067200 + (random() * {SECONDS})::BIGINT) * 1000000) AS "
            f"event_timestamp, range AS label FROM range({labels}))) TO '{folder}/labels.parquet'"
        )
        lake = Lakehouse.connect(settings, "b04")
        table = declare_table("gold.points", mode="replace")
        frame = lake.spark.read.parquet(f"{folder}/rows.parquet").dropDuplicates(["customer_id", "event_timestamp"])
        execute(lake, RunRequest("b04"), lambda attempt: attempt.write(table, frame))
        view = feature_view(
            "points",
            table="gold.points",
            keys=("customer_id",),
            features=[Feature(feature, "double") for feature in FEATURES],
            ttl=timedelta(days=TTL_DAYS),
        )
        register.apply(lake, "b04", register.plan(lake, [view], resolve(lake, None)))
        pinned = register.registered_views(lake)
        request = SetRequest(pinned, Labels(f"{folder}/labels.parquet"))
        feast = feast_side(folder, [local_path(file) for file in pinned[0].table.files], view.name)
        sides = {
            "asgard": lambda: by_asgard(lake, request, folder / "asgard.parquet"),
            "hand": lambda: by_hand(folder, [local_path(file) for file in pinned[0].table.files]),
            "feast": feast,
        }
        seconds = interleave(sides, options.rounds)
        found = {side: summary(folder / f"{side}.parquet") for side in sides}
        assert found["asgard"] == found["hand"] == found["feast"], found
        spark = interleave(
            {"spark": lambda: build(lake, as_spark(request), folder / "spark", overwrite=True, say=lambda _line: None)},
            2,
        )["spark"]
        whole = interleave(
            {"set": lambda: build(lake, request, folder / "set.parquet", overwrite=True, say=lambda _line: None)}, 2
        )["set"]
    report(
        "b04_point_in_time",
        "B4: the point-in-time join",
        f"{labels:,} labels x {rows:,} rows x {len(FEATURES)} features, ttl {TTL_DAYS} days, {options.rounds} rounds",
        [
            Row("Asgard's join, by DuckDB", spread(seconds["asgard"])),
            Row("hand-written DuckDB ASOF join", spread(seconds["hand"])),
            Row("Feast's DuckDB store", spread(seconds["feast"])),
            Row("against Feast", f"{1 / ratio(seconds['asgard'], seconds['feast']):.1f} x faster", ">= 2 x"),
            Row("against the hand-written join", f"{ratio(seconds['asgard'], seconds['hand']):.2f} x", "<= 1.3 x"),
            Row("the whole training set: holds, audit, digest, manifest", spread(whole)),
            Row("the same on Spark", spread(spark)),
        ],
        quick=options.quick,
    )


def as_spark(request: SetRequest) -> SetRequest:
    """The same request, on Spark."""
    return SetRequest(request.views, request.labels, engine=Engine.SPARK)


def by_asgard(lake: Lakehouse, request: SetRequest, out: Path) -> None:
    """Join and audit a training set."""
    with duck.connect(lake.settings) as connection:
        labels, columns = load_labels(connection, request.labels, request.labels.pinned(lake), request.views)
        join_by_duckdb(connection, labels, request.join(columns), out)


def by_hand(folder: Path, files: list[str]) -> None:
    """Join by the query that a person who knows DuckDB would write."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
    fresh = f"r.event_timestamp >= l.event_timestamp - INTERVAL {TTL_DAYS} DAY"
    chosen = ", ".join(f"CASE WHEN {fresh} THEN r.{feature} END AS {feature}" for feature in FEATURES)
    connection.execute(
        f"COPY (SELECT l.*, {chosen} FROM '{folder}/labels.parquet' l ASOF LEFT JOIN read_parquet({files}) r "
        f"ON l.customer_id = r.customer_id AND l.event_timestamp >= r.event_timestamp) "
        f"TO '{folder}/hand.parquet' (FORMAT parquet, COMPRESSION zstd)"
    )
    connection.close()


def feast_side(folder: Path, files: list[str], name: str) -> Any:
    """Set up Feast on the same files, with its DuckDB store; returns the join."""
    import pandas as pd
    import pyarrow.parquet as pq
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource
    from feast.types import Float64
    from feast.value_type import ValueType

    where = folder / "feast"
    where.mkdir()
    (where / "feature_store.yaml").write_text(
        "project: b04\nprovider: local\nregistry: registry.db\noffline_store: {type: duckdb}\n"
        "online_store: {type: sqlite, path: o.db}\nentity_key_serialization_version: 3\n"
    )
    store = FeatureStore(repo_path=str(where))
    customer = Entity(name="customer_id", join_keys=["customer_id"], value_type=ValueType.INT64)
    source = FileSource(path=str(Path(files[0]).parent / "*.parquet"), timestamp_field="event_timestamp")
    view = FeatureView(
        name=name,
        entities=[customer],
        schema=[Field(name=feature, dtype=Float64) for feature in FEATURES],
        source=source,
        ttl=timedelta(days=TTL_DAYS),
    )
    store.apply([customer, view], skip_feature_view_validation=True)

    def join() -> None:
        given = pd.read_parquet(folder / "labels.parquet")
        found = store.get_historical_features(given, features=[f"{name}:{feature}" for feature in FEATURES]).to_arrow()
        pq.write_table(found, folder / "feast.parquet", compression="zstd")

    return join


def summary(path: Path) -> tuple[Any, ...]:
    """Values that must be equal on all sides: rows, rows with features, and each feature's exact multiset by label."""
    features = ", ".join(f"bit_xor(hash(label, {feature}))" for feature in FEATURES)
    return duckdb.sql(f"SELECT count(*), count(f0), {features} FROM '{path}'").fetchall()[0]


if __name__ == "__main__":
    main()
