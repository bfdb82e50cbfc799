"""Which files a path, a folder or a glob names."""

import os
from pathlib import Path

import pytest

from asgard.common.errors import InputDataError, UsageError
from asgard.common.settings import Settings, load_settings
from asgard.ingest.files import _glob_matches, find_files, hash_files, printable
from asgard.ingest.formats import Format


@pytest.fixture
def settings() -> Settings:
    return load_settings({}, environment={})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        "data/a.csv",
        "data/b.csv.gz",
        "data/README",
        "data/_SUCCESS.csv",
        "data/.hidden.csv",
        "data/deep/er/c.csv",
        "data/_temporary/d.csv",
        "odd/[x]*.csv",
        "odd/x.csv",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def names(settings: Settings, *sources: str, kind: Format | None = None) -> tuple[list[str], list[str]]:
    said: list[str] = []
    return [file.name for file in find_files(sources, kind, settings, said.append)], said


def test_a_folder_stands_for_its_files(settings: Settings, folder: Path) -> None:
    assert names(settings, "data") == (
        ["data/a.csv", "data/b.csv.gz", "data/deep/er/c.csv"],
        ["left out data/README: its name does not say its format"],
    )
    assert names(settings, "data/", kind=Format.CSV)[0] == [
        "data/README", "data/a.csv", "data/b.csv.gz", "data/deep/er/c.csv"
    ]  # fmt: skip


def test_names_are_as_they_were_given(settings: Settings, folder: Path) -> None:
    assert names(settings, str(folder / "data" / "a.csv"))[0] == [str(folder / "data" / "a.csv")]
    assert names(settings, (folder / "data" / "a.csv").as_uri())[0] == [str(folder / "data" / "a.csv")]
    assert names(settings, "./data//a.csv")[0] == ["data/a.csv"]


def test_a_file_that_is_named_twice_is_one(settings: Settings, folder: Path) -> None:
    assert names(settings, "data/a.csv", "./data/a.csv", "data/a*.csv", str(folder / "data/a.csv"))[0] == ["data/a.csv"]


def test_globs(settings: Settings, folder: Path) -> None:
    assert names(settings, "data/*.csv")[0] == ["data/_SUCCESS.csv", "data/a.csv"]
    assert names(settings, "data/**/*.csv")[0] == [
        "data/_SUCCESS.csv", "data/_temporary/d.csv", "data/a.csv", "data/deep/er/c.csv"
    ]  # fmt: skip
    assert names(settings, "data/[ab].csv*")[0] == ["data/a.csv", "data/b.csv.gz"]


def test_an_existing_name_is_not_taken_for_a_glob(settings: Settings, folder: Path) -> None:
    assert names(settings, "odd/[x]*.csv")[0] == ["odd/[x]*.csv"]


def test_a_named_file_may_be_hidden(settings: Settings, folder: Path) -> None:
    assert names(settings, "data/.hidden.csv")[0] == ["data/.hidden.csv"]


@pytest.mark.parametrize("source", ["nowhere.csv", "data/*.parquet", "empty"])
def test_a_source_without_files_is_an_error(settings: Settings, folder: Path, source: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(InputDataError, match=r"matches no file"):
        names(settings, "data/a.csv", source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("data/README", "does not say its format"),
        ("https://user:canary-1@example.org/a.csv", "neither a local path nor on S3"),
        ("hdfs://x/a.csv", "neither a local path nor on S3"),
    ],
)
def test_sources_that_can_not_be_read(settings: Settings, folder: Path, source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        names(settings, source)
    assert "canary" not in str(caught.value)


def test_files_are_hashed_once(settings: Settings, folder: Path) -> None:
    found = find_files(["data/*.csv"], None, settings, lambda _line: None)
    assert [len(file.digest) for file in hash_files(found)] == [64, 64]


def test_a_name_that_is_not_utf_8(settings: Settings, folder: Path) -> None:
    (folder / "bad").mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/bad/\xff.csv")).touch()
    with pytest.raises(InputDataError, match="is not UTF-8, so it can't be stored in a table") as caught:
        names(settings, "bad")
    assert "\udcff" not in caught.value.message


def test_names_do_not_paint_on_the_terminal() -> None:
    assert printable("a\x1b[31m\nü.csv") == "a\\x1b[31m\\nü.csv"


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("b/x/*.csv", "b/x/a.csv", True),
        ("b/x/*.csv", "b/x/y/a.csv", False),
        ("b/**/*.csv", "b/a.csv", True),
        ("b/**/*.csv", "b/x/y/a.csv", True),
        ("b/x?.[ct]sv", "b/x1.tsv", True),
        ("b/x[!0-9].csv", "b/x1.csv", False),
        ("b/a+b(1).csv", "b/a+b(1).csv", True),
        ("b/a.csv", "b/aXcsv", False),
        ("b/a**", "b/a/b", True),
    ],
)
def test_globs_on_s3(pattern: str, path: str, matches: bool) -> None:
    assert _glob_matches(pattern, path) is matches
