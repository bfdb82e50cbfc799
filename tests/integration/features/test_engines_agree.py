"""Both engines make the same training set: several views of different keys, every type of feature, one digest."""

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from tests.conftest import Fresh
from tests.support.customer_views import START, gold, labels_file, put, registered, view_of

from asgard.features.joins.engines import Engine
from asgard.features.joins.labels import Labels
from asgard.features.pinned import PinnedView
from asgard.features.training_sets.build import SetRequest, build
from asgard.features.views import Feature, feature_view
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import declare_table
from asgard.lakehouse.runs.run import RunRequest, execute

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FEATURES = {
    "flag": "boolean",
    "number": "int",
    "big": "bigint",
    "single": "float",
    "ratio": "double",
    "price": "decimal(20,4)",
    "word": "string",
    "raw": "binary",
    "day": "date",
    "seen": "timestamp",
    "clock": "timestamp_ntz",
    "words": "array<string>",
    "grid": "array<array<double>>",
}


def values(number: int) -> tuple[Any, ...]:
    """One of each type, with null, NaN, infinity and what looks like something else among them."""
    moment = datetime(2024, 3, 31, 0, 30, 0, number, tzinfo=UTC)
    rows: tuple[Any, ...] = (
        number % 2 == 0,
        -number,
        2**62 + number,
        number / 3,
        (math.nan, math.inf, -math.inf, 0.1 * number)[number % 4],
        Decimal(number) / 8,
        ("", "ä", "\x1f", "null", f"word {number}")[number % 5],
        bytes([number, 0, 255]),
        date(1969, 12, 31) + timedelta(days=number),
        moment,
        moment.replace(tzinfo=None),
        (["a, b", None], [], ["a", "b"])[number % 3],
        [[float(number), math.nan], None, []],
    )
    return tuple(None if (number + place) % 7 == 0 else value for place, value in enumerate(rows))


@pytest.fixture(scope="module")
def views(lake: Lakehouse, spark: "SparkSession") -> tuple[PinnedView, ...]:
    """One by customer, one by shop and customer, one by shop; with ties, late and unusable rows."""
    columns = ", ".join(f"{name} {kind}" for name, kind in FEATURES.items())
    schema = f"customer_id bigint, shop string, event_timestamp timestamp, created_at timestamp, {columns}"
    found = []
    for keys in (("customer_id",), ("shop", "customer_id"), ("shop",)):
        table = declare_table(str(Fresh().table("gold")), mode="append")
        rows = [
            (
                customer if number % 11 else None,
                f"{number % 3:03}",
                START + timedelta(days=number // 4),
                START + timedelta(days=number // 4 + (number % 3) * 2),
                *values(number * 7 % 60),
            )
            for customer in range(5)
            for number in range(60)
        ]
        frame = lake.spark.createDataFrame(rows, schema)
        execute(lake, RunRequest("test"), lambda attempt, t=table, f=frame: attempt.write(t, f), lambda _line: None)
        found.append(
            feature_view(
                f"view_{table.name.name}",
                table=str(table.name),
                keys=keys,
                features=[Feature(name, kind) for name, kind in FEATURES.items()],
                created_timestamp="created_at",
                ttl="5d",
            )
        )
    return registered(lake, *found)


def test_one_set_of_both_engines(lake: Lakehouse, views: tuple[PinnedView, ...], fresh: Fresh, tmp_path: Path) -> None:
    """The labels are a table, with columns of types that no feature has."""
    table = declare_table(str(fresh.table("gold")), mode="append")
    labels = lake.spark.createDataFrame(
        [
            (
                customer,
                f"{hour % 4:03}",
                START + timedelta(hours=hour * 7),
                {"source": f"s{hour % 2}", "codes": [hour, None]},
                {"a": hour, "b": None},
            )
            for customer in range(6)
            for hour in range(60)
        ],
        "customer_id bigint, shop string, event_timestamp timestamp, "
        "origin struct<source: string, codes: array<int>>, marks map<string, int>",
    )
    execute(lake, RunRequest("test"), lambda attempt: attempt.write(table, labels), lambda _line: None)
    built = {
        engine: build(
            lake,
            SetRequest(views, Labels(str(table.name)), full_names=True, engine=engine),
            tmp_path / f"{engine}.parquet",
            say=lambda _line: None,
        )
        for engine in (Engine.DUCKDB, Engine.SPARK)
    }
    one, other = (built[engine].manifest for engine in (Engine.DUCKDB, Engine.SPARK))
    assert one["rows"] == other["rows"] == 360
    assert one["without_features"] == other["without_features"]
    assert 0 < min(one["without_features"].values()) <= max(one["without_features"].values()) < 300
    assert one["columns"] == other["columns"]
    assert one["digest"] == other["digest"]
    paths = [f"read_parquet('{tmp_path}/duckdb.parquet')", f"read_parquet('{tmp_path}/spark.parquet/*.parquet')"]
    for first, second in (paths, reversed(paths)):
        assert duckdb.sql(f"SELECT * FROM {first} EXCEPT ALL SELECT * FROM {second}").fetchall() == []
    ratios = f"{views[1].name}__ratio"
    assert duckdb.sql(
        f"SELECT count_if(isnan({ratios})) > 0, count_if({ratios} > 0) > 0 FROM {paths[0]}"
    ).fetchall() == [(True, True)]
    assert duckdb.sql(f"SELECT any_value(origin.source), any_value(marks['a']) FROM {paths[0]}").fetchall()[0][0]


def test_beyond_the_limit_spark_joins(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> None:
    table = gold(fresh)
    put(lake, table, [(1, 0, 1.0, 1), (1, 1, 2.0, 2), (2, 0, 3.0, 3)])
    pinned = registered(lake, view_of(table))
    labels = Labels(labels_file(tmp_path, [(1, 1), (2, 5)]))
    used = {}
    for limit in (2, 3):
        bounded = Lakehouse(replace(lake.settings, point_in_time_rows=limit))
        said: list[str] = []
        built = build(bounded, SetRequest(pinned, labels), tmp_path / f"{limit}.parquet", say=said.append)
        used[limit] = built.manifest["engine"]["used"]
        assert f"joining with {used[limit]}: 3 feature rows are" in said[0]
        assert built.path.is_dir() == (used[limit] == "spark")
    assert used == {2: "spark", 3: "duckdb"}
