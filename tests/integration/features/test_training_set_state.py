"""What a training set holds and reads, and what is left where it fails."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import Fresh
from tests.support.customer_views import gold, labels_file, plain, put, registered, view_of

from asgard.cli.app import main
from asgard.common.errors import RunError, UsageError
from asgard.features import register
from asgard.features.feast import registry as feast_registry
from asgard.features.joins.engines import Engine
from asgard.features.joins.labels import Labels
from asgard.features.training_sets import build as training_set
from asgard.features.training_sets.build import SetRequest, build, build_table
from asgard.features.training_sets.files import manifest_of
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.registrations import Registrations
from asgard.lakehouse.catalog.snapshots import resolve

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def holds(lake: Lakehouse) -> set[str]:
    """The holds of training sets."""
    return {reference.name for reference in lake.nessie.references("hold_set_")}


@pytest.fixture
def request_of_one(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> SetRequest:
    """A view and two labels."""
    table = gold(fresh)
    put(lake, table, [(1, 0, 1.0, 1)])
    return SetRequest(registered(lake, view_of(table)), Labels(labels_file(tmp_path, [(1, 1), (2, 1)])))


class TestHolds:
    """Exactly what a set needs is held, and nothing for longer."""

    def test_a_labels_table_is_held_too(
        self, lake: Lakehouse, request_of_one: SetRequest, fresh: Fresh, tmp_path: Path
    ) -> None:
        labels = gold(fresh)
        put(lake, labels, [(1, 1, 5.0, 5)])
        content = lake.content(labels.name, lake.target)
        request = SetRequest(request_of_one.views, Labels(str(labels.name)), full_names=True)
        built = build(lake, request, tmp_path / "set.parquet", say=lambda _line: None)
        held = [lake.nessie.reference(name) for name in built.manifest["holds"]]
        assert built.manifest["labels"]["commit"] in {reference.hash for reference in held}
        assert content.snapshot_id in {
            lake.content(labels.name, reference.name).snapshot_id
            for reference in held
            if reference.hash == built.manifest["labels"]["commit"]
        }

    def test_a_replaced_set_lets_go(self, lake: Lakehouse, request_of_one: SetRequest, tmp_path: Path) -> None:
        out = tmp_path / "set.parquet"
        first = build(lake, request_of_one, out, say=lambda _line: None).manifest["holds"]
        second = build(lake, request_of_one, out, overwrite=True, say=lambda _line: None).manifest["holds"]
        assert holds(lake) & {*first, *second} == set(second)
        assert (manifest_of(out) or {})["holds"] == second

    @pytest.mark.parametrize("engine", [Engine.DUCKDB, Engine.SPARK])
    def test_a_set_that_fails_holds_nothing(
        self,
        lake: Lakehouse,
        request_of_one: SetRequest,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        engine: Engine,
    ) -> None:
        before = holds(lake)
        monkeypatch.setattr(training_set, "digest", fail)
        request = SetRequest(request_of_one.views, request_of_one.labels, engine=engine)
        with pytest.raises(RunError):
            build(lake, request, tmp_path / "set.parquet", say=lambda _line: None)
        assert holds(lake) == before
        assert [each.name for each in tmp_path.iterdir()] == ["labels.parquet"]

    def test_a_table_that_fails_holds_nothing(
        self, lake: Lakehouse, request_of_one: SetRequest, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = holds(lake)
        monkeypatch.setattr(training_set, "execute", fail)
        with pytest.raises(RunError):
            build_table(lake, request_of_one, fresh.table("gold"), say=lambda _line: None)
        assert holds(lake) == before


def fail(*_given: Any) -> None:
    """What anything may do."""
    raise RunError("of the test", hint="none")


@contextmanager
def gone(location: str) -> Iterator[None]:
    """A file that is not there for a while."""
    path = Path(plain(location))
    path.rename(path.with_suffix(".away"))
    try:
        yield
    finally:
        path.with_suffix(".away").rename(path)


class TestCollected:
    """A snapshot that is not whole any more is said, and no half of it is read."""

    @pytest.mark.parametrize("what", ["metadata", "manifest list", "data"])
    @pytest.mark.parametrize("engine", ["duckdb", "spark"])
    def test_by_the_command_line(
        self,
        lake: Lakehouse,
        request_of_one: SetRequest,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        what: str,
        engine: str,
    ) -> None:
        table = request_of_one.views[0].table
        snapshot = table.state.table.current_snapshot()
        assert snapshot is not None
        location = {
            "metadata": table.metadata_location,
            "manifest list": snapshot.manifest_list,
            "data": table.files[0],
        }[what]
        out = tmp_path / "set.parquet"
        arguments = ["--labels", request_of_one.labels.source, "--out", str(out), "--engine", engine]
        arguments += ["-v", request_of_one.views[0].name, "--dir", str(lake.settings.project_dir)]
        with gone(location):
            assert main(["features", "training-set", *arguments]) == 2
            said = capsys.readouterr().err
            assert f"Snapshot {table.snapshot_id} of {table.name} is missing or incomplete" in said
            assert "hint: " in said
            assert not out.exists()
        assert main(["features", "training-set", *arguments]) == 0

    def test_arrays_which_come_through_pyiceberg(
        self, lake: Lakehouse, request_of_one: SetRequest, fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from asgard.features.pinned import PinnedTable
        from asgard.features.views import Feature
        from asgard.lakehouse.declaring.declaration import declare_table
        from asgard.lakehouse.runs.run import RunRequest, execute

        table = declare_table(str(fresh.table("gold")), mode="append")
        rows = lake.spark.sql("SELECT 1L AS customer_id, timestamp'2024-01-01' AS event_timestamp, array(1L) AS many")
        execute(lake, RunRequest("test"), lambda attempt: attempt.write(table, rows), lambda _line: None)
        view = view_of(table, features=[Feature("many", "array<bigint>")], created_timestamp=None)
        pinned = registered(lake, view)
        monkeypatch.setattr(PinnedTable, "require_files", lambda _self: None)  # as for files on another machine
        request = SetRequest(pinned, request_of_one.labels)
        with gone(pinned[0].table.files[0]), pytest.raises(UsageError, match="is missing or incomplete"):
            build(lake, request, tmp_path / "set.parquet", say=lambda _line: None)


def test_no_byte_is_copied(lake: Lakehouse, spark: "SparkSession", fresh: Fresh) -> None:
    """Registering writes its registrations, and what Feast keeps of views; no rows."""
    table = gold(fresh)
    put(lake, table, [(customer, 0, 1.0, 1) for customer in range(100)])
    before = files(lake)
    view = view_of(table)
    register.apply(lake, "tests", register.plan(lake, [view], resolve(lake, None)))
    feast_registry.synchronise(lake, [])
    after = files(lake)
    warehouse = lake.settings.warehouse.removeprefix("file://")
    assert {path: after.get(path) for path in before if "/_asgard/" not in path and path.startswith(warehouse)} == {
        path: digest for path, digest in before.items() if "/_asgard/" not in path and path.startswith(warehouse)
    }
    written = {path for path, digest in after.items() if before.get(path) != digest}
    assert any(view.name in path and "/_asgard/registered/" in path for path in written)
    assert any(path.startswith(str(feast_registry.repository(lake.settings))) for path in written)
    for path in written:
        content = Path(path).read_bytes()
        assert b"PAR1" not in content[:4] + content[-4:]
        assert Path(path).suffix not in (".parquet", ".arrow", ".orc", ".csv", ".avro")
    assert view.name in Registrations(lake.storage).current("view")


def files(lake: Lakehouse) -> dict[str, str]:
    """Every file of the project and of its warehouse, with its hash; but for Nessie's own."""
    folders = (lake.settings.project_dir, Path(lake.settings.warehouse.removeprefix("file://")))
    found = {path for folder in folders for path in folder.rglob("*") if path.is_file() and "nessie" not in path.parts}
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(found)}
