"""Fault 55: no name that comes from outside leads out of the folder, archive or warehouse that it belongs to."""

import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem

from asgard import Pipeline
from asgard.common.errors import AsgardError, ServiceError, UsageError
from asgard.common.storage import Storage
from asgard.jobs.ingest_job import bronze_table
from asgard.lakehouse.declaring.declaration import declare_table
from asgard.lakehouse.declaring.loading import load_pipeline
from asgard.lakehouse.declaring.sql_files import read_sql_file

ESCAPES = ("../outside", "a/../../outside", "a/..", "..", "/outside", "//outside")
TABLE_ESCAPES = (
    "bronze.../outside",
    "bronze./outside",
    "../bronze.outside",
    "bronze.a/b",
    "bronze.a.b",
    "bronze..",
    "/bronze.a",
    "bronze.a\\b",
    "bronze.a%2fb",
    "bronze.a\0b",
)
OPERATIONS: dict[str, Callable[[Storage, str], object]] = {
    "read": lambda storage, path: storage.read(path),
    "write": lambda storage, path: storage.write(path, b"x"),
    "create": lambda storage, path: storage.create(path, b"x"),
    "list": lambda storage, path: list(storage.list(path)),
    "delete": lambda storage, path: storage.delete(path),
}


@pytest.mark.parametrize("path", ESCAPES)
@pytest.mark.parametrize("local", [True, False], ids=["local", "like-s3"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_storage_stays_in_its_folder(tmp_path: Path, operation: str, local: bool, path: str) -> None:
    outside = tmp_path / "outside"
    outside.write_text("kept")
    storage = Storage(LocalFileSystem(), f"{tmp_path}/_asgard", local=local)
    with pytest.raises(ServiceError, match="is outside the folder of Asgard's own files"):
        OPERATIONS[operation](storage, path)
    assert outside.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [outside]


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b", "...", "a..", "..a", "~"]), min_size=1, max_size=5))
def test_whatever_storage_takes_lies_below_its_root(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    root = tmp_path_factory.getbasetemp() / "root" / "_asgard"
    storage = Storage(LocalFileSystem(), str(root), local=True)
    try:
        full = storage._full("/".join(parts))
    except ServiceError:
        return
    assert (Path(full).resolve() == root.resolve()) or root.resolve() in Path(full).resolve().parents


@pytest.mark.parametrize("name", TABLE_ESCAPES)
def test_no_door_takes_a_table_name_that_is_a_path(tmp_path: Path, name: str) -> None:
    sql = tmp_path / "table.sql"
    sql.write_text(f"-- table: {name}\n-- input a: bronze.a\nSELECT * FROM a\n")
    pipeline = Pipeline("shop")
    doors: dict[str, Callable[[], object]] = {
        "declare_table": lambda: declare_table(name),
        "input": lambda: declare_table("silver.good", lambda raw: raw, inputs={"raw": name}),
        "source": lambda: pipeline.source(name),
        "sql file": lambda: pipeline._add(read_sql_file(sql).name, None, {}, "sql"),
        "ingest": lambda: bronze_table(name),
    }
    for go in doors.values():
        with pytest.raises(AsgardError) as refused:
            go()
        assert refused.value.hint
    assert not pipeline.tables


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An archive with a good pipeline, and members whose names lead out of it; the same files lie out there."""
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    trap = "from pathlib import Path\nPath({!r}).touch()\nfrom asgard import Pipeline\nshop = Pipeline('shop')\n"
    with zipfile.ZipFile("jobs.zip", "w") as file:
        file.writestr("good.py", "from asgard import Pipeline\ngood = Pipeline('good')\n")
        for member in ("../outside.py", f"{tmp_path}/absolute.py", "good/../../outside.py", "..\\outside.py"):
            file.writestr(member, trap.format(str(tmp_path / "trapped")))
    (tmp_path / "outside.py").write_text(trap.format(str(tmp_path / "trapped")))
    yield inside / "jobs.zip"
    for name in set(sys.modules) - before:
        if not name.startswith("asgard"):
            del sys.modules[name]
    sys.path_importer_cache.clear()


def test_an_archive_with_members_that_lead_out_of_it_is_never_unpacked(archive: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert load_pipeline("jobs.zip:good").name == "good"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "member", ["../outside", "..outside", "good/../../outside", "{}/outside", "..\\outside", "../outside.py"]
)
def test_a_member_that_leads_out_of_its_archive_is_no_pipeline(archive: Path, tmp_path: Path, member: str) -> None:
    with pytest.raises(UsageError, match="There is no pipeline") as refused:
        load_pipeline(f"{archive}:{member.format(tmp_path)}")
    assert refused.value.hint
    assert not (tmp_path / "trapped").exists()
