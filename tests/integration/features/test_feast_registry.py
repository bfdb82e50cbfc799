"""The Feast registry at an SQL address, what leaves it, what is said when it can't be reached, and Feast's UI on it."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import urllib3
from tests.conftest import Fresh
from tests.support.customer_views import START
from tests.support.feast import feast, feast_server
from tests.support.features import ViewShop, expect_whole

from asgard.common.errors import EnvironmentSetupError, ServiceError
from asgard.features.feast import registry as feast_registry
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.registrations import Registrations

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def shop(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> ViewShop:
    """Two views, published and registered; what else is registered is in Feast too."""
    made = ViewShop(lake, tmp_path, fresh.table().name)
    made.publish([(1, 0, 10.0, 1), (1, 5, 20.0, 2)])
    assert made.run("features", "apply", "-p", made.pipeline(), "--no-feast") == 0
    return made


def with_registry(shop: ViewShop, address: str) -> Lakehouse:
    """The same lakehouse with another Feast registry."""
    return Lakehouse(replace(shop.lake.settings, feast_registry=address))


def test_a_registry_in_a_database(shop: ViewShop, tmp_path: Path) -> None:
    lake = with_registry(shop, f"sqlite:///{tmp_path / 'registry.sqlite'}")
    feast_registry.synchronise(lake, [])
    assert (tmp_path / "registry.sqlite").stat().st_size > 0
    expect_whole(ViewShop(lake, tmp_path, shop.suffix), "ab")
    listed = feast(feast_registry.repository(lake.settings), "feature-views", "list")
    assert shop.view("a") in listed
    assert shop.view("b") in listed
    labels = pd.DataFrame({"customer_id": [1, 1, 2], "event_timestamp": [START, START + pd.Timedelta(days=9), START]})
    store = feast_registry.open_store(lake.settings)
    found = store.get_historical_features(labels, features=[f"{shop.view('a')}:visits"]).to_df()
    assert [None if pd.isna(value) else int(value) for value in found["visits"]] == [1, 2, None]
    shop.publish([(1, 6, 30.0, 3)])
    assert shop.run("features", "apply", "-p", shop.pipeline("a"), "--prune", "--no-feast") == 0
    feast_registry.synchronise(lake, [])
    expect_whole(ViewShop(lake, tmp_path, shop.suffix), "a", gone="b")


def test_a_function_that_is_no_longer_declared_leaves_feast(shop: ViewShop) -> None:
    assert shop.run("features", "apply", "-p", shop.pipeline(on_demand="scaled")) == 0
    store = feast_registry.open_store(shop.lake.settings)
    name = f"scaled_{shop.suffix}"
    assert name in {each.name for each in store.list_on_demand_feature_views()}
    assert f"{name}_request" in {each.name for each in store.list_data_sources()}
    assert shop.run("features", "apply", "-p", shop.pipeline()) == 0
    store = feast_registry.open_store(shop.lake.settings)
    assert name not in {each.name for each in store.list_on_demand_feature_views()}
    assert f"{name}_request" not in {each.name for each in store.list_data_sources()}


def test_a_password_is_in_no_file_and_no_message(shop: ViewShop) -> None:
    lake = with_registry(shop, "postgresql://ada:canary-5e1f@127.0.0.1:9/feast")
    with pytest.raises((EnvironmentSetupError, ServiceError)) as raised:
        feast_registry.synchronise(lake, [])
    assert "postgresql://ada:***@127.0.0.1:9/feast" in str(raised.value)
    assert raised.value.hint
    for path in feast_registry.repository(lake.settings).iterdir():
        assert b"canary-5e1f" not in path.read_bytes()
    assert "${ASGARD_FEAST_REGISTRY}" in (feast_registry.repository(lake.settings) / "feature_store.yaml").read_text()


def test_a_registry_that_cant_be_reached_is_said_and_tried_again(shop: ViewShop, tmp_path: Path) -> None:
    lake = with_registry(shop, f"sqlite:///{tmp_path}/nowhere/registry.sqlite")
    with pytest.raises(ServiceError, match=r"can't be updated: .*unable to open database file"):
        feast_registry.synchronise(lake, [])
    assert not feast_registry.is_current(lake, [])
    (tmp_path / "nowhere").mkdir()
    feast_registry.synchronise(lake, [])
    assert feast_registry.is_current(lake, [])
    assert not feast_registry.is_current(shop.lake, [])  # it was brought to another registry


def test_feasts_ui_has_the_registered_views(shop: ViewShop) -> None:
    feast_registry.synchronise(shop.lake, [])
    registered = Registrations(shop.lake.storage).current("view")
    with feast_server(feast_registry.repository(shop.lake.settings), "ui") as client:
        assert [each["id"] for each in asked(client, "/projects-list.json")["projects"]] == ["asgard"]
        assert b"<div id=" in client.request("GET", f"/p/asgard/feature-view/{shop.view('a')}").data
        listed = asked(client, "/api/v1/feature_views", limit=100)["featureViews"]
        tags = {each["spec"]["name"]: each["spec"].get("tags", {}) for each in listed}
        for name, each in registered.items():
            if feast_registry.unfit(each) is not None:
                continue
            assert tags[name]["asgard.snapshot-id"] == str(each.snapshot_id)
        view = asked(client, f"/api/v1/feature_views/{shop.view('a')}")["spec"]
        assert [(each["name"], each["valueType"]) for each in view["features"]] == [
            ("amount", "DOUBLE"),
            ("visits", "INT32"),
        ]
        source = asked(client, f"/api/v1/data_sources/gold.{shop.suffix}:{shop.view('a')}")
        assert (source["type"], source["timestampField"]) == ("CUSTOM_SOURCE", "event_timestamp")
        related = asked(client, "/api/v1/lineage/registry", limit=100)["relationships"]
        assert {
            "source": {"type": "entity", "name": "customer_id"},
            "target": {"type": "featureView", "name": shop.view("a")},
        } in related


def asked(client: urllib3.HTTPConnectionPool, path: str, **query: Any) -> Any:
    """What an endpoint answers for our project."""
    answer = client.request("GET", path, fields={"project": "asgard", **query})
    assert answer.status == 200, answer.data
    return answer.json()
