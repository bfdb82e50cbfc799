"""Files that Asgard writes are readable by whom the umask says, and a failed write leaves nothing behind."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from asgard.common.errors import EnvironmentSetupError
from asgard.common.settings import load_settings
from asgard.common.storage import Storage, new_file

UMASKS = {0o022: 0o644, 0o027: 0o640, 0o002: 0o664, 0o077: 0o600}


@pytest.fixture(params=UMASKS, ids=oct)
def mode(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield UMASKS[request.param]
    os.umask(before)


def storage_in(folder: Path) -> Storage:
    return Storage.of(load_settings({"project_dir": str(folder)}, environment={}))


def test_records_events_and_signs_of_life(mode: int, tmp_path: Path) -> None:
    storage = storage_in(tmp_path)
    storage.write("live/x", b"{}")
    assert storage.create("runs/x/1.json", b"{}")
    storage.write("live/x", b"{ }")
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"x": mode, "1.json": mode}


def test_a_new_file_has_a_name_of_its_own(tmp_path: Path) -> None:
    made = [new_file(tmp_path, ".html") for _ in range(100)]
    for handle, _ in made:
        os.close(handle)
    assert len({name for _, name in made}) == 100
    assert all(Path(name).name.startswith(".") for _, name in made)


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    storage = storage_in(tmp_path)
    monkeypatch.setattr("asgard.common.storage.os.fsync", full)
    with pytest.raises(EnvironmentSetupError, match="The disk is full: can't write live/x"):
        storage.write("live/x", b"{}")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
