"""Feast on registered views: its SDK and CLI, and parity with its own file store on the same rows."""

import subprocess
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from tests.conftest import Fresh
from tests.support.customer_views import START, gold, put, registered, view_of

from asgard.features import register
from asgard.features.feast import registry as feast_registry
from asgard.features.views import Feature, on_demand
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.declaring.declaration import declare_table
from asgard.lakehouse.runs.run import RunRequest, execute

if TYPE_CHECKING:
    from feast import FeatureStore
    from pyspark.sql import SparkSession


def day(number: float) -> datetime:
    """A moment."""
    return START + timedelta(days=number)


@pytest.fixture(scope="module")
def store(lake: Lakehouse, spark: "SparkSession") -> "FeatureStore":
    """Feast, on a registry with one view of two days and an on-demand feature."""
    table = gold(Fresh())
    put(lake, table, [(1, 0, 10.0, 1), (1, 5, 20.0, 2), (2, 3, 5.0, 9)])
    view = view_of(table, ttl="10d", owner="someone", description="of the tests", tags=("a",))
    registered(lake, view)

    @on_demand(inputs={"amount": f"{view.name}:amount"}, request={"factor": "double"})
    def scaled(amount: "pd.Series[Any]", factor: "pd.Series[Any]") -> "pd.Series[Any]":
        """Amount by factor."""
        return amount * factor

    feast_registry.synchronise(lake, [scaled])
    found = feast_registry.open_store(lake.settings)
    found.asgard_view = view.name  # type: ignore[attr-defined]
    found.asgard_table = table  # type: ignore[attr-defined]
    return found


def labels() -> pd.DataFrame:
    """In an order that is no order."""
    times = [day(5.5), day(1), day(0), day(20), day(3)]
    return pd.DataFrame({"customer_id": [1, 1, 1, 1, 2], "event_timestamp": times, "factor": 2.0, "label": range(5)})


def test_historical_features_are_those_of_the_snapshot(store: Any) -> None:
    names = [f"{store.asgard_view}:amount", f"{store.asgard_view}:visits", "scaled:scaled"]
    found = store.get_historical_features(labels(), features=names).to_df()
    assert found["label"].tolist() == [0, 1, 2, 3, 4]
    amounts = [None if pd.isna(value) else value for value in found["amount"]]
    assert amounts == [20.0, 10.0, 10.0, None, 5.0]
    assert [None if pd.isna(value) else value for value in found["scaled"]] == [40.0, 20.0, 20.0, None, 10.0]


def test_a_new_snapshot_is_read_only_after_an_apply(lake: Lakehouse, store: Any) -> None:
    names, asked = [f"{store.asgard_view}:amount"], labels().iloc[[0]]
    put(lake, store.asgard_table, [(1, 5.2, 77.0, 1)])  # type: ignore[list-item]
    assert store.get_historical_features(asked, features=names).to_df()["amount"].tolist() == [20.0]
    view = register.registered_views(lake, [store.asgard_view])[0].view
    registered(lake, view)
    feast_registry.synchronise(lake, [])
    fresh = feast_registry.open_store(lake.settings)
    assert fresh.get_historical_features(asked, features=names).to_df()["amount"].tolist() == [77.0]


def test_what_the_registry_says(store: Any) -> None:
    view = store.get_feature_view(store.asgard_view)
    assert (view.owner, view.description, view.ttl) == ("someone", "of the tests", timedelta(days=10))
    assert "a" in view.tags
    assert view.tags["asgard.snapshot-id"] == view.batch_source.options["snapshot_id"]
    assert [field.name for field in view.features] == ["amount", "visits"]


def test_feasts_own_command_line(lake: Lakehouse, store: Any) -> None:
    folder = feast_registry.repository(lake.settings)
    command = [sys.executable, "-m", "feast.cli.cli", "-c", str(folder), "feature-views", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert store.asgard_view in done.stdout


def test_a_view_that_feast_has_no_types_for_keeps_no_other_out(
    lake: Lakehouse, spark: "SparkSession", fresh: Fresh
) -> None:
    plain, odd = gold(fresh), gold(fresh)
    put(lake, plain, [(1, 0, 10.0, 1)])
    rows = spark.sql("SELECT 1L customer_id, TIMESTAMP'2024-01-01' event_timestamp, array(array(1D)) grid")
    execute(lake, RunRequest("test"), lambda attempt: attempt.write(odd, rows))
    grid = view_of(odd, created_timestamp=None, features=[Feature("grid", "array<array<double>>")])
    for view in (view_of(plain), grid):
        registered(lake, view)
    said: list[str] = []
    feast_registry.synchronise(lake, [], said.append)
    names = {each.name for each in feast_registry.open_store(lake.settings).list_feature_views()}
    assert view_of(plain).name in names
    assert grid.name not in names
    wanted = f"{grid.name}: left out of Feast's registry, which can't store grid (array<array<double>>)"
    assert wanted in said
    assert feast_registry.is_current(lake, [])


def test_a_view_that_is_taken_out_leaves_feast(lake: Lakehouse, spark: "SparkSession", fresh: Fresh) -> None:
    table = gold(fresh)
    put(lake, table, [(1, 0, 1.0, 1)])
    view = view_of(table)
    registered(lake, view)
    feast_registry.synchronise(lake, [])
    assert view.name in {each.name for each in feast_registry.open_store(lake.settings).list_feature_views()}
    register.apply(lake, "tests", register.plan(lake, [], resolve(lake, None), prune=[view.name]))
    feast_registry.synchronise(lake, [])
    assert view.name not in {each.name for each in feast_registry.open_store(lake.settings).list_feature_views()}


@pytest.fixture(scope="module")
def both(lake: Lakehouse, spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Our store and Feast's, over the same rows."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource
    from feast.types import Float64, Int32
    from feast.value_type import ValueType

    table = declare_table(str(Fresh().table("gold")), mode="append")
    rows = [
        (customer, day(at), day(at + late), float(value), number)
        for number, (customer, at, late, value) in enumerate(
            [(1, 0, 0, 1), (1, 2, 0, 2), (1, 2, 1, 3), (2, 1, 5, 4), (2, 4, 0, 5), (3, 0.5, 0, 6), (3, 9, 0, 7)]
        )
    ]
    columns = "customer_id bigint, event_timestamp timestamp, created_at timestamp, amount double, visits int"
    frame = spark.createDataFrame(rows, columns)
    execute(lake, RunRequest("test"), lambda attempt: attempt.write(table, frame), lambda _line: None)
    view = view_of(table, ttl="5d")
    registered(lake, view)
    feast_registry.synchronise(lake, [])
    folder = tmp_path_factory.mktemp("stock")
    path = folder / "rows.parquet"
    pd.DataFrame(rows, columns=["customer_id", "event_timestamp", "created_at", "amount", "visits"]).astype(
        {"visits": "int32"}
    ).to_parquet(path)
    (folder / "feature_store.yaml").write_text(
        "project: stock\nprovider: local\nregistry: registry.db\noffline_store: {type: file}\n"
        "online_store: {type: sqlite, path: o.db}\nentity_key_serialization_version: 3\n"
    )
    stock = FeatureStore(repo_path=str(folder))
    customer = Entity(name="customer_id", join_keys=["customer_id"], value_type=ValueType.INT64)
    source = FileSource(path=str(path), timestamp_field="event_timestamp", created_timestamp_column="created_at")
    fields = [Field(name="amount", dtype=Float64), Field(name="visits", dtype=Int32)]
    stock.apply(
        [
            customer,
            FeatureView(name=view.name, entities=[customer], schema=fields, source=source, ttl=timedelta(days=5)),
        ]
    )
    return feast_registry.open_store(lake.settings), stock, view.name


def asked(store: Any, name: str, rows: list[tuple[int, float]]) -> dict[tuple[int, float], float | None]:
    """The amount of each label that comes back."""
    given = pd.DataFrame(
        {
            "customer_id": [customer for customer, _ in rows],
            "event_timestamp": [day(at) for _, at in rows],
            "place": range(len(rows)),
        }
    )
    found = store.get_historical_features(given, features=[f"{name}:amount", f"{name}:visits"]).to_df()
    return {
        rows[place]: None if pd.isna(amount) else amount
        for place, amount in zip(found["place"], found["amount"], strict=True)
    }


def test_equal_where_rows_are_known_in_time_and_fresh(both: Any) -> None:
    ours, stock, name = both
    rows: list[tuple[int, float]] = [(1, 0), (1, 1), (1, 1.999), (1, 3.5), (1, 7), (2, 6), (2, 9), (3, 5.5), (9, 1)]
    found = asked(ours, name, rows)
    assert found == asked(stock, name, rows)
    assert None in found.values()
    assert len({*found.values()}) > 4


def test_feast_loses_labels_whose_rows_are_all_too_old_or_too_new(both: Any) -> None:
    ours, stock, name = both
    rows = [(1, 7.001), (3, 0.4), (3, 5.6)]
    assert asked(ours, name, rows) == dict.fromkeys(rows)
    assert asked(stock, name, rows) == {}


def test_a_row_that_was_not_known_yet_is_seen_by_feast_only(both: Any) -> None:
    ours, stock, name = both
    rows = [(2, 3.0), (1, 2.5)]  # the row of day 1 was created on day 6; the correction of day 2 on day 3
    assert asked(ours, name, rows) == {(2, 3.0): None, (1, 2.5): 2.0}
    assert asked(stock, name, rows) == {(2, 3.0): 4.0, (1, 2.5): 3.0}


def test_feast_makes_one_of_equal_labels(both: Any) -> None:
    ours, stock, name = both
    given = pd.DataFrame({"customer_id": [1, 1], "event_timestamp": [day(1)] * 2, "place": [0, 1]})
    features = [f"{name}:amount"]
    assert len(ours.get_historical_features(given, features=features).to_df()) == 2
    assert len(stock.get_historical_features(given, features=features).to_df()) == 1


@pytest.fixture(scope="module")
def tied(lake: Lakehouse, spark: "SparkSession") -> Any:
    """Feast, and a view with ties and rows that never count."""
    table = declare_table(str(Fresh().table("gold")), mode="append")
    rows = [
        (1, day(0), day(0), 5.0, 1),
        (1, day(0), day(0), 3.0, 9),
        (1, day(0), day(0), None, 99),
        (2, day(1), day(1), 7.0, 2),
        (2, day(3), None, 8.0, 3),
        (None, day(1), day(1), 9.0, 4),
    ]
    columns = "customer_id bigint, event_timestamp timestamp, created_at timestamp, amount double, visits int"
    frame = spark.createDataFrame(rows, columns)
    execute(lake, RunRequest("test"), lambda attempt: attempt.write(table, frame), lambda _line: None)
    view = view_of(table)
    registered(lake, view)
    feast_registry.synchronise(lake, [])
    store = feast_registry.open_store(lake.settings)
    return store, store.get_feature_view(view.name)


def test_pulls_follow_the_rule_of_training_sets(tied: Any) -> None:
    from asgard.features.feast.source import SnapshotOfflineStore

    store, view = tied
    given = {
        "config": store.config,
        "data_source": view.batch_source,
        "join_key_columns": ["customer_id"],
        "feature_name_columns": ["visits"],  # the greater amount decides, also where it is not asked for
        "timestamp_field": "event_timestamp",
        "created_timestamp_column": "created_at",
        "start_date": day(0),
        "end_date": day(9),
    }
    latest = SnapshotOfflineStore.pull_latest_from_table_or_query(**given).to_df()
    assert sorted(zip(latest["customer_id"], latest["visits"], strict=True)) == [(1, 1), (2, 2)]
    every = SnapshotOfflineStore.pull_all_from_table_or_query(**given).to_df()
    assert sorted(zip(every["customer_id"], every["visits"], strict=True)) == [(1, 1), (1, 9), (1, 99), (2, 2)]
    labelled = pd.DataFrame({"customer_id": [1, 2], "event_timestamp": [day(9)] * 2})
    joined = store.get_historical_features(labelled, features=[f"{view.name}:visits"]).to_df()
    assert joined["visits"].tolist() == [1, 2]


def test_one_view_for_two_entities_of_a_label(tied: Any) -> None:
    from feast import FeatureService

    store, view = tied
    service = FeatureService(
        name="pairs",
        features=[
            view[["amount"]].with_name("buyer").with_join_key_map({"customer_id": "buyer_id"}),
            view[["amount"]].with_name("payer").with_join_key_map({"customer_id": "payer_id"}),
        ],
    )
    store.registry.apply_feature_service(service, store.project)
    given = pd.DataFrame({"buyer_id": [1, 2], "payer_id": [2, 3], "event_timestamp": [day(2)] * 2})
    found = store.get_historical_features(given, features=service, full_feature_names=True).to_df()
    assert found["buyer__amount"].tolist() == [5.0, 7.0]
    assert [None if pd.isna(value) else value for value in found["payer__amount"]] == [7.0, None]
