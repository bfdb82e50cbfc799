"""A set and its manifest appear together; whoever dies in between leaves nothing that passes for a set."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asgard.common.errors import UsageError
from asgard.features.training_sets.files import holds_of, manifest_of, manifest_path, put_in_place, require_free

KILLED = -9
MOVE = """
import sys
from pathlib import Path
from asgard.features.training_sets.files import put_in_place
put_in_place(Path(sys.argv[1]), Path(sys.argv[2]), {"rows": 2, "holds": ["hold_set_new"]})
"""

CASES = [
    (before, after, point)
    for before in ("nothing", "file", "folder")
    for after in ("file", "folder")
    for point in ("set-announced", "set-removed", "set-moved")
    if point != "set-removed" or before == "folder" or (before, after) == ("file", "folder")
]
"""Only a folder, or what a folder replaces, is taken away before the new rows move."""


def rows(path: Path, text: str, *, folder: bool) -> Path:
    """Something that stands for a set's rows."""
    if folder:
        path.mkdir()
    (path / "part.parquet" if folder else path).write_text(text)
    return path


def text_of(path: Path) -> str:
    """What `rows` wrote."""
    return (path / "part.parquet" if path.is_dir() else path).read_text()


@pytest.mark.parametrize(("before", "after", "point"), CASES)
def test_a_kill_leaves_no_set_and_what_may_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str, point: str
) -> None:
    out = tmp_path / "set"
    if before != "nothing":
        made = rows(tmp_path / "old", "old", folder=before == "folder")
        put_in_place(made, out, {"rows": 1, "holds": ["hold_set_old"]})
        assert manifest_of(out)
    made = rows(tmp_path / "new", "new", folder=after == "folder")
    monkeypatch.setenv("ASGARD_FAILPOINT", f"{point}:kill")
    done = subprocess.run([sys.executable, "-c", MOVE, str(made), str(out)], check=False)
    assert done.returncode == KILLED
    assert manifest_of(out) is None
    assert set(holds_of(out)) == {"hold_set_new"} | ({"hold_set_old"} if before != "nothing" else set())
    require_free(out, overwrite=True)
    put_in_place(rows(tmp_path / "newest", "newest", folder=after == "folder"), out, {"rows": 3, "holds": []})
    assert text_of(out) == "newest"
    found = manifest_of(out)
    assert found is not None
    assert (found["rows"], found["holds"]) == (3, [])


@pytest.mark.parametrize("folder", [False, True])
def test_nothing_else_is_left(tmp_path: Path, folder: bool) -> None:
    for text in ("one", "two"):
        put_in_place(rows(tmp_path / "made", text, folder=folder), tmp_path / "set", {"rows": 1, "holds": []})
    assert sorted(each.name for each in tmp_path.iterdir()) == ["set", "set.manifest.json"]
    assert text_of(tmp_path / "set") == "two"


def test_a_copy_has_no_holds_of_its_own(tmp_path: Path) -> None:
    put_in_place(rows(tmp_path / "made", "rows", folder=False), tmp_path / "set", {"rows": 1, "holds": ["hold_set_1"]})
    assert holds_of(tmp_path / "set") == ("hold_set_1",)
    (tmp_path / "set").rename(tmp_path / "copy")
    manifest_path(tmp_path / "set").rename(manifest_path(tmp_path / "copy"))
    assert manifest_of(tmp_path / "copy")
    assert holds_of(tmp_path / "copy") == ()


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_manifest_that_is_none(tmp_path: Path, content: Any) -> None:
    (tmp_path / "set").mkdir()
    manifest_path(tmp_path / "set").write_text(content)
    with pytest.raises(UsageError, match="is not a manifest"):
        require_free(tmp_path / "set", overwrite=True)


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    put_in_place(rows(tmp_path / "made", "rows", folder=False), tmp_path / "set", {"rows": 7, "holds": []})
    assert json.loads(manifest_path(tmp_path / "set").read_text())["rows"] == 7
