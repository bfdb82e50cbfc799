"""Feature views on real tables: pinned, never copied, right at every point in time."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import pytest
from tests.conftest import Fresh
from tests.support.customer_views import START, frame, gold, labels_file, plain, put, registered, view_of

from asgard.common.errors import ContractError, UsageError
from asgard.common.names import TableName
from asgard.features import register
from asgard.features.joins.engines import Engine
from asgard.features.joins.labels import Labels
from asgard.features.training_sets.build import SetRequest, build, build_table
from asgard.features.views import Feature, on_demand
from asgard.lakehouse.catalog.holds import hold, hold_name
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.registrations import Registrations
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.declaring.declaration import Table, declare_table
from asgard.lakehouse.runs.run import RunRequest, execute

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def read(path: Path) -> list[tuple[Any, ...]]:
    """A set's rows, by customer and time."""
    source = f"{path}/*.parquet" if path.is_dir() else path
    return duckdb.sql(
        f"SELECT customer_id, round(epoch(event_timestamp) / 86400 - {START.timestamp() / 86400}, 3), amount, visits "
        f"FROM read_parquet('{source}') ORDER BY ALL"
    ).fetchall()


@pytest.mark.parametrize("engine", [Engine.DUCKDB, Engine.SPARK])
def test_a_set_has_what_was_known_at_each_label(
    lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path, engine: Engine
) -> None:
    table = gold(fresh)
    put(lake, table, [(1, 0, 10.0, 1), (1, 5, 20.0, 2), (2, 3, 5.0, 9)])
    pinned = registered(lake, view_of(table, ttl="4d"))
    labels = labels_file(tmp_path, [(1, 0), (1, 4), (1, 4.5), (1, 5), (2, 2.9), (2, 3.1), (3, 1), (1, 0)])
    built = build(
        lake, SetRequest(pinned, Labels(labels), engine=engine), tmp_path / "set.parquet", say=lambda _line: None
    )
    assert read(built.path) == [
        (1, 0, 10.0, 1),
        (1, 0, 10.0, 1),
        (1, 4, 10.0, 1),
        (1, 4.5, None, None),
        (1, 5, 20.0, 2),
        (2, 2.9, None, None),
        (2, 3.1, 5.0, 9),
        (3, 1, None, None),
    ]
    assert built.manifest["rows"] == 8
    assert built.manifest["without_features"] == {pinned[0].name: 3}
    assert built.manifest["views"][0]["snapshot_id"] == pinned[0].table.snapshot_id
    assert {reference.name for reference in lake.nessie.references("hold_set_")} >= set(built.manifest["holds"])


def test_both_engines_give_one_digest(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> None:
    tables = [gold(fresh), gold(fresh)]
    for number, table in enumerate(tables):
        put(
            lake,
            table,
            [(customer, day, customer / 7 + day, number) for customer in range(9) for day in range(0, 20, 3)],
        )
    pinned = registered(lake, *(view_of(table) for table in tables))
    labels = labels_file(tmp_path, [(customer, day / 3) for customer in range(10) for day in range(60)])

    @on_demand(
        inputs={"one": f"{pinned[0].name}:amount", "two": f"{pinned[1].name}:amount"}, request={"label": "bigint"}
    )
    def together(one: "pd.Series[Any]", two: "pd.Series[Any]", label: "pd.Series[Any]") -> "pd.Series[Any]":
        return one + two * label

    digests = set()
    for engine in (Engine.DUCKDB, Engine.SPARK):
        request = SetRequest(pinned, Labels(labels), (together,), full_names=True, engine=engine)
        built = build(lake, request, tmp_path / f"{engine}.parquet", say=lambda _line: None)
        assert built.manifest["rows"] == 600
        digests.add(built.manifest["digest"])
    assert len(digests) == 1


def test_only_the_snapshots_own_files_are_read_and_none_is_copied(
    lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path
) -> None:
    table = gold(fresh, mode="merge", keys=("customer_id", "event_timestamp"))
    put(lake, table, [(1, 0, 1.0, 1), (2, 0, 2.0, 2)])
    first = registered(lake, view_of(table))[0]
    before = parquet_files(lake, table.name)
    put(lake, table, [(1, 0, 100.0, 1)])  # a restatement replaces the file
    with pytest.raises(RuntimeError):
        execute(lake, RunRequest("test"), lambda attempt: leave(attempt, table, frame(lake, [(1, 1, 666.0, 6)])))
    lake.spark.sql(f"DELETE FROM lake.gold.`{table.name.name}@main` WHERE customer_id = 2")
    newest = registered(lake, view_of(table))[0]
    labels = labels_file(tmp_path, [(1, 9), (2, 9)])
    old = build(lake, SetRequest((first,), Labels(labels)), tmp_path / "old.parquet", say=lambda _line: None)
    new = build(lake, SetRequest((newest,), Labels(labels)), tmp_path / "new.parquet", say=lambda _line: None)
    assert read(old.path) == [(1, 9, 1.0, 1), (2, 9, 2.0, 2)]
    assert read(new.path) == [(1, 9, 100.0, 1), (2, 9, None, None)]
    written = parquet_files(lake, table.name)
    assert len(written) > len(before) + len(newest.table.files)  # unpublished and replaced files lie beside them
    assert set(map(plain, newest.table.files)) <= written


def leave(attempt: Any, table: Table, rows: Any) -> None:
    """Write, and die."""
    attempt.write(table, rows)
    raise RuntimeError("left on its branch")


def parquet_files(lake: Lakehouse, table: TableName) -> set[str]:
    """Every Parquet file in the table's folders."""
    root = Path(lake.settings.warehouse.removeprefix("file://"))
    return {str(path) for path in root.rglob("*.parquet") if table.name in str(path)}


def test_a_renamed_column_keeps_its_old_rows(
    lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path
) -> None:
    table = gold(fresh)
    put(lake, table, [(1, 0, 10.0, 1)])
    renamed = declare_table(str(table.name), mode="append", renames={"visits": "calls"})
    rows = frame(lake, [(1, 5, 20.0, 2)]).withColumnRenamed("visits", "calls")
    execute(lake, RunRequest("test"), lambda attempt: attempt.write(renamed, rows), lambda _line: None)
    features = [Feature("amount", "double"), Feature("calls", "int")]
    pinned = registered(lake, view_of(table, features=features))
    built = build(
        lake,
        SetRequest(pinned, Labels(labels_file(tmp_path, [(1, 1), (1, 6)]))),
        tmp_path / "s.parquet",
        say=lambda _l: None,
    )
    assert duckdb.sql(f"SELECT calls FROM '{built.path}' ORDER BY event_timestamp").fetchall() == [(1,), (2,)]


def test_a_pinned_set_stays_what_it_was(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> None:
    table = gold(fresh, mode="merge", keys=("customer_id", "event_timestamp"))
    put(lake, table, [(1, 0, 1.0, 1)])
    labels = Labels(labels_file(tmp_path, [(1, 1)]))
    yesterday = registered(lake, view_of(table))
    first = build(lake, SetRequest(yesterday, labels), tmp_path / "1.parquet", say=lambda _line: None)
    put(lake, table, [(1, 0, 2.0, 1)])
    again = build(lake, SetRequest(yesterday, labels), tmp_path / "2.parquet", say=lambda _line: None)
    today = build(
        lake, SetRequest(registered(lake, view_of(table)), labels), tmp_path / "3.parquet", say=lambda _line: None
    )
    assert first.manifest["digest"] == again.manifest["digest"] != today.manifest["digest"]


def test_an_apply_moves_the_hold(lake: Lakehouse, spark: "SparkSession", fresh: Fresh) -> None:
    table = gold(fresh)
    view = view_of(table)
    put(lake, table, [(1, 0, 1.0, 1)])
    changes = register.plan(lake, [view], resolve(lake, None))
    assert [change.action for change in changes] == ["add"]
    register.apply(lake, "tests", changes)
    assert [change.action for change in register.plan(lake, [view], resolve(lake, None))] == ["keep"]
    put(lake, table, [(2, 0, 1.0, 1)])
    moved = register.plan(lake, [view], resolve(lake, None))
    assert [change.action for change in moved] == ["re-point"]
    register.apply(lake, "tests", moved)
    holds = list(lake.nessie.references(f"hold_view_{view.name}_"))
    assert [reference.name for reference in holds] == [f"hold_view_{view.name}_2-{moved[0].after.table.at.commit[:16]}"]
    assert (
        lake.content(table.name, holds[0].name).snapshot_id
        == register.registered_views(lake, [view.name])[0].table.snapshot_id
    )
    changed = register.plan(lake, [view_of(table, ttl="1d")], resolve(lake, None))
    assert [(change.action, change.differences) for change in changed] == [
        ("change", ("a row counts for ever -> 1 day",))
    ]
    register.apply(lake, "tests", register.plan(lake, [], resolve(lake, None), prune=[view.name]))
    assert view.name not in Registrations(lake.storage).current("view")
    assert not list(lake.nessie.references(f"hold_view_{view.name}_"))


def test_a_hold_that_a_dead_apply_left_is_in_nobodys_way(lake: Lakehouse, spark: "SparkSession", fresh: Fresh) -> None:
    table = gold(fresh)
    view = view_of(table)
    put(lake, table, [(1, 0, 1.0, 1)])
    registered(lake, view)
    dead = hold_name("view", view.name, f"2-{lake.nessie.head(lake.target)[:16]}")
    hold(lake, dead, lake.nessie.head(lake.target))
    later = hold_name("view", view.name, "9-0123456789abcdef")
    hold(lake, later, lake.nessie.head(lake.target))  # of an apply that is just under way
    put(lake, table, [(2, 0, 1.0, 1)])
    registered(lake, view)
    commit = register.registered_views(lake, [view.name])[0].table.at.commit
    names = {reference.name for reference in lake.nessie.references(f"hold_view_{view.name}_")}
    assert names == {hold_name("view", view.name, f"2-{commit[:16]}"), later}


def test_a_set_can_be_a_table(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> None:
    table, target = gold(fresh), fresh.table("gold")
    put(lake, table, [(1, 0, 1.0, 1)])
    request = SetRequest(registered(lake, view_of(table)), Labels(labels_file(tmp_path, [(1, 1), (2, 1)])))
    manifest = build_table(lake, request, target, say=lambda _line: None)
    rows = spark.table(f"lake.gold.`{target.name}`").orderBy("customer_id").collect()
    assert [(row.customer_id, row.amount) for row in rows] == [(1, 1.0), (2, None)]
    assert manifest["run_id"]
    labels = Labels(str(target))
    again = build(
        lake, SetRequest(request.views, labels, full_names=True), tmp_path / "t.parquet", say=lambda _line: None
    )
    assert again.manifest["labels"]["snapshot_id"] == lake.content(target, lake.target).snapshot_id


class TestWords:
    """What can't be is said, and nothing is left behind."""

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"features": [Feature("amount", "bigint")]}, "amount is declared bigint, the column is double"),
            ({"features": [Feature("amuont", "double")]}, "column amuont is missing"),
            (
                {"event_timestamp": "visits", "features": [Feature("amount", "double")]},
                "visits is int, not a timestamp",
            ),
        ],
    )
    def test_a_view_that_does_not_fit_its_table(
        self, lake: Lakehouse, spark: "SparkSession", fresh: Fresh, change: dict[str, Any], message: str
    ) -> None:
        table = gold(fresh)
        put(lake, table, [(1, 0, 1.0, 1)])
        with pytest.raises(ContractError, match=message):
            register.plan(lake, [view_of(table, **change)], resolve(lake, None))

    def test_an_unknown_view(self, lake: Lakehouse) -> None:
        with pytest.raises(UsageError, match="no registered feature view 'nowhere'"):
            register.registered_views(lake, ["nowhere"])

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"client": [1], "event_timestamp": ["2024-01-01"]}, "no entity column 'customer_id'"),
            ({"customer_id": [1], "at": ["2024-01-01"]}, "no time column 'event_timestamp'"),
            ({"customer_id": [1, 2], "event_timestamp": ["2024-01-01T00:00:00Z", "2024-01-01"]}, "mixes time zones"),
            (
                {"customer_id": [1, 2], "event_timestamp": ["2024-01-01T00:00+01:00", "2024-01-01T00:00+02:00"]},
                "mixes time zones",
            ),
            ({"customer_id": [1, 2], "event_timestamp": ["2024-01-01", "soon"]}, "1 labels of .* no readable time"),
            (
                {"customer_id": [1, 2], "event_timestamp": ["2024-01-01", "2024-01-01 00:00:00 Europe/Berlin"]},
                "1 labels of .* no readable time",
            ),
            ({"customer_id": [1], "event_timestamp": ["2024-01-01"], "AMOUNT": [1]}, "more than one column amount"),
            ({"customer_id": [1], "event_timestamp": ["2024-01-01"], "__Event_0": [1]}, "that the join uses itself"),
            ({"customer_id": ["x"], "event_timestamp": ["2024-01-01"]}, "is VARCHAR, but in the views it is BIGINT"),
            ({"customer_id": [1.5], "event_timestamp": ["2024-01-01"]}, "is DOUBLE, but in the views it is BIGINT"),
            ({"customer_id": [1], "event_timestamp": [5]}, "is BIGINT, not a time"),
            ({"customer_id": [1], "event_timestamp": ["2024-01-01"], "amount": [1]}, "more than one column amount"),
        ],
    )
    def test_labels_that_do_not_fit(
        self, lake: Lakehouse, one_view: Any, tmp_path: Path, columns: dict[str, Any], message: str
    ) -> None:
        path = tmp_path / "labels.parquet"
        pd.DataFrame(columns).to_parquet(path)
        with pytest.raises(UsageError, match=message):
            build(lake, SetRequest(one_view, Labels(str(path))), tmp_path / "out.parquet", say=lambda _line: None)
        assert [each.name for each in tmp_path.iterdir()] == ["labels.parquet"]

    def test_a_file_that_is_not_there(self, lake: Lakehouse, one_view: Any, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="There is no file"):
            build(
                lake,
                SetRequest(one_view, Labels(str(tmp_path / "no.csv"))),
                tmp_path / "o.parquet",
                say=lambda _l: None,
            )

    def test_a_folder_that_is_no_set_is_never_replaced(self, lake: Lakehouse, one_view: Any, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        request = SetRequest(one_view, Labels("x.csv"))
        with pytest.raises(UsageError, match="not a training set"):
            build(lake, request, tmp_path / "mine", overwrite=True, say=lambda _line: None)

    def test_nothing_is_replaced_unasked(self, lake: Lakehouse, one_view: Any, tmp_path: Path) -> None:
        (tmp_path / "set.parquet").write_text("mine")
        with pytest.raises(UsageError, match="exists already"):
            build(lake, SetRequest(one_view, Labels("x.csv")), tmp_path / "set.parquet", say=lambda _line: None)
        assert (tmp_path / "set.parquet").read_text() == "mine"


@pytest.fixture(scope="module")
def one_view(lake: Lakehouse, spark: "SparkSession") -> Any:
    """A registered view."""
    table = gold(Fresh())
    put(lake, table, [(1, 0, 1.0, 1)])
    return registered(lake, view_of(table))


def test_a_path_is_no_pattern_and_says_nothing_of_the_rows(lake: Lakehouse, one_view: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run=3"
    folder.mkdir()
    for name, day in (("labels[1].csv", "02"), ("labels1.csv", "03")):
        (folder / name).write_text(f"customer_id,event_timestamp\n1,2024-01-{day}\n")
    digests = set()
    for out in (folder / "a[1].parquet", tmp_path / "b.parquet"):
        request = SetRequest(one_view, Labels(str(folder / "labels[1].csv")))
        built = build(lake, request, out, say=lambda _line: None)
        digests.add(built.manifest["digest"])
        assert "run" not in built.manifest["columns"]
    assert len(digests) == 1
    assert pd.read_parquet(tmp_path / "b.parquet")["event_timestamp"].tolist() == [pd.Timestamp("2024-01-02", tz="UTC")]


def test_csv_labels_and_float_keys_are_read_as_meant(lake: Lakehouse, one_view: Any, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("customer_id,event_timestamp\n1,2024-01-01T02:00:00+02:00\n1,2023-12-31T23:59:59+02:00\n")
    built = build(lake, SetRequest(one_view, Labels(str(path))), tmp_path / "a.parquet", say=lambda _line: None)
    assert duckdb.sql(f"SELECT amount FROM '{built.path}' ORDER BY ALL").fetchall() == [(1.0,), (None,)]
    pd.DataFrame({"customer_id": [1.0, None], "event_timestamp": pd.to_datetime(["2024-01-02"] * 2)}).to_parquet(
        tmp_path / "l.parquet"
    )
    built = build(
        lake, SetRequest(one_view, Labels(str(tmp_path / "l.parquet"))), tmp_path / "b.parquet", say=lambda _l: None
    )
    assert duckdb.sql(f"SELECT amount FROM '{built.path}' ORDER BY ALL").fetchall() == [(1.0,), (None,)]
