"""What other tools do in a lakehouse of Asgard's, as docs/beside-other-tools.md says: each through its own door.

PyIceberg writes the metadata itself. What pynessie does is in `lakehouse/test_pynessie.py`. Trino and DuckDB's Iceberg
extension are too large, or not to be had, for this suite.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import Fresh
from tests.support.customer_views import START, gold, put, registered, view_of
from tests.support.feast import feast
from tests.support.features import ViewShop
from tests.support.online import OnlineView

from asgard.cli.app import main
from asgard.common.names import BranchName
from asgard.features import register
from asgard.features.feast import registry as feast_registry
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import Content
from asgard.lakehouse.catalog.nessie import put as put_operation
from asgard.lakehouse.catalog.snapshots import resolve

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_THEIRS = """
from datetime import timedelta
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

shop = Entity(name="{name}_shop", join_keys=["shop_id"], value_type=ValueType.INT64)
source = FileSource(name="{name}_source", path="{path}", timestamp_field="at")
theirs = FeatureView(
    name="{name}", entities=[shop], ttl=timedelta(days=1), schema=[Field(name="x", dtype=Float64)], source=source
)
"""


@pytest.fixture
def repository(lake: Lakehouse) -> Iterator[Path]:
    """The Feast repository of the tests; files that a test adds are gone afterwards."""
    folder = feast_registry.repository(lake.settings)
    yield folder
    for path in folder.glob("theirs_*.py"):
        path.unlink()
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)


def test_feast_apply_in_our_repository_keeps_what_is_registered_and_adds_what_is_theirs(
    lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path, repository: Path
) -> None:
    shop = ViewShop(lake, tmp_path, fresh.table().name)
    shop.publish([(1, 0, 10.0, 1)])
    apply = ("features", "apply", "-p", shop.pipeline(on_demand="scaled"))
    assert shop.run(*apply) == 0

    def in_registry() -> dict[str, Any]:
        store = feast_registry.open_store(lake.settings)
        found: list[Any] = [*store.list_feature_views(), *store.list_on_demand_feature_views()]
        return {each.name: dict(each.tags) for each in found}

    ours, name = in_registry(), f"theirs_{shop.suffix}"
    assert {shop.view("a"), shop.view("b"), f"scaled_{shop.suffix}"} <= set(ours)
    pq.write_table(pa.table({"shop_id": [1], "at": [START], "x": [1.0]}), tmp_path / "theirs.parquet")
    (repository / f"{name}.py").write_text(_THEIRS.format(name=name, path=tmp_path / "theirs.parquet"))
    feast(repository, "apply", "--skip-source-validation")
    assert in_registry() == {**ours, name: {}}
    shop.publish([(2, 0, 10.0, 1)])
    assert shop.run("features", "apply", "-p", shop.pipeline("a"), "--prune") == 0  # b and the function go
    left = in_registry()
    assert name in left
    assert left[shop.view("a")]["asgard.snapshot-id"] == str(shop.snapshot())
    assert not {shop.view("b"), f"scaled_{shop.suffix}"} & set(left)
    store = feast_registry.open_store(lake.settings)
    assert {f"{name}_shop", "customer_id"} <= {each.name for each in store.list_entities()}
    assert f"{name}_source" in {each.name for each in store.list_data_sources()}
    store.delete_feature_view(name)


def test_a_view_of_theirs_with_the_name_of_ours_is_left_as_it_is(
    lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path
) -> None:
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64

    table = gold(fresh)
    put(lake, table, [(1, 0, 1.0, 1)])
    view = view_of(table)
    pq.write_table(pa.table({"shop_id": [1], "at": [START], "x": [1.0]}), tmp_path / "theirs.parquet")
    source = FileSource(name=f"of_{view.name}", path=str(tmp_path / "theirs.parquet"), timestamp_field="at")
    entity = Entity(name=f"shop_{view.name}", join_keys=["shop_id"], value_type=ValueType.INT64)
    theirs = FeatureView(name=view.name, entities=[entity], schema=[Field(name="x", dtype=Float64)], source=source)
    feast_registry.open_store(lake.settings).apply([entity, theirs])
    registered(lake, view)
    said: list[str] = []
    feast_registry.synchronise(lake, [], said.append)
    store = feast_registry.open_store(lake.settings)
    assert [each.name for each in store.get_feature_view(view.name).features] == ["x"]
    assert any(line.startswith(f"{view.name}: left out of Feast's registry") for line in said)
    store.delete_feature_view(view.name)
    feast_registry.synchronise(lake, [], said.append)
    assert [each.name for each in feast_registry.open_store(lake.settings).get_feature_view(view.name).features] == [
        "amount",
        "visits",
    ]


def append_by_pyiceberg(lake: Lakehouse, content: Content, rows: list[dict[str, Any]], folder: Path) -> Content:
    """Rows that PyIceberg appends: it writes files and metadata; what Nessie is told is the new metadata."""
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("theirs", uri=f"sqlite:///{folder / 'catalog.db'}", warehouse=str(folder))
    catalog.create_namespace_if_not_exists("gold")
    table = catalog.register_table(f"gold.t{content.snapshot_id}", content.metadata_location)
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return Content(
        content.kind,
        {**content.raw, "metadataLocation": table.metadata_location, "snapshotId": snapshot.snapshot_id},
    )


@pytest.mark.filterwarnings("ignore:Parquet writer option")  # PyIceberg has no row groups of our size
def test_what_pyiceberg_appends_to_main_is_read_synced_built_upon_and_named(
    lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    online = OnlineView(lake, fresh.table("gold").name)
    online.append([(1, 0, 1.0, 1)])
    online.register()
    online.sync()
    before = online.content()
    row = {"customer_id": 2, "event_timestamp": START, "created_at": START, "amount": 5.0, "visits": 7}
    appended = append_by_pyiceberg(lake, before, [row], tmp_path)
    operation = put_operation(("gold", online.table.name.name), appended, is_new=False)
    lake.nessie.commit(BranchName("main"), lake.nessie.head("main"), [operation], "by PyIceberg")
    assert set(online.published()) == {1, 2}
    online.sync()
    online.expect_equal()
    folder = ["--dir", str(lake.settings.project_dir)]
    capsys.readouterr()
    assert main(["lineage", str(online.table.name), *folder]) == 0
    assert "not made by a recorded run" in capsys.readouterr().out
    online.append([(3, 0, 3.0, 3)])
    online.sync()
    online.expect_equal()
    assert set(online.published()) == {1, 2, 3}


def test_duckdb_reads_the_live_files_of_a_table_with_filters_on_its_partitions(
    lake: Lakehouse, spark: "SparkSession", fresh: Fresh
) -> None:
    table = gold(fresh, partitioned_by=("month(event_timestamp)",))
    put(lake, table, [(customer, day, 1.0, 1) for customer in range(5) for day in (0, 14, 30, 31, 45, 70)])
    state = TableState.load(lake.content(table.name, "main").metadata_location, lake.settings)
    files = [urlsplit(task.file.file_path).path for task in state.table.scan().plan_files()]
    assert len(files) >= 3
    where = "event_timestamp >= '2024-01-15 00:00:00+00' AND event_timestamp < '2024-02-15 00:00:00+00'"
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    found = connection.execute("SELECT count(*) FROM read_parquet(?) WHERE " + where, [files]).fetchall()
    assert found == [(15,)]
    assert lake.frame(table.name, "main").where(where).count() == 15


def test_a_view_whose_table_somebody_dropped_is_said_to_have_none(
    lake: Lakehouse, spark: "SparkSession", fresh: Fresh, capsys: pytest.CaptureFixture[str]
) -> None:
    from asgard.local.online_status import online_status
    from asgard.serving.sync.status import status

    online = OnlineView(lake, fresh.table("gold").name)
    name, folder = online.view.name, ["--dir", str(lake.settings.project_dir)]
    online.append([(1, 0, 1.0, 1)])
    online.register()
    online.sync()

    def said(*command: str) -> str:
        capsys.readouterr()
        assert main([*command, *folder]) == 0
        return capsys.readouterr().out

    def listed() -> dict[str, Any]:
        return next(each for each in json.loads(said("features", "list", "--json"))["views"] if each["name"] == name)

    def row(text: str) -> str:
        return next(line for line in text.splitlines() if line.startswith(name))

    assert (listed()["standing"], listed()["behind"]) == ("newest", False)
    online.append([(2, 0, 1.0, 1)])
    assert (listed()["standing"], listed()["behind"]) == ("behind", True)
    assert "apply again" in row(said("features", "list"))
    assert "has a newer state" in said("features", "show", name)
    lake.spark.sql(f"DROP TABLE lake.gold.`{online.table.name.name}@main`")
    assert (listed()["standing"], listed()["behind"]) == ("table gone", True)
    assert "table gone from main" in row(said("features", "list"))
    assert "no longer has this table" in said("features", "show", name)
    assert json.loads(said("features", "show", name, "--json"))["standing"] == "table gone"
    assert status(lake, online.store, online.view).is_table_gone
    found = online_status(lake.settings)
    assert [each.is_table_gone for each in found.views if each.view == name] == [True]
    capsys.readouterr()
    main(["status", *folder])
    assert "table gone" in row(capsys.readouterr().out)
    at = resolve(lake, None)
    register.apply(lake, "tests", register.plan(lake, [], at, prune=[name]))
