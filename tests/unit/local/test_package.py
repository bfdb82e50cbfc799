"""The zip that executors import."""

import zipfile
from pathlib import Path

import pytest

from asgard.local.package import main


def test_it_is_written_where_the_caller_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "dist" / "asgard.zip"
    assert main([str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    with zipfile.ZipFile(target) as archive:
        assert {"asgard/__init__.py", "asgard/_stamp.json"} <= set(archive.namelist())


def test_help_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    assert list(tmp_path.iterdir()) == []
