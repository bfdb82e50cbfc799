"""Finding the pipeline that a user names."""

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark import SparkContext

from asgard.common.errors import DeclarationError, UsageError
from asgard.lakehouse.declaring.loading import load_pipeline

ONE = "from asgard import Pipeline\n{name} = Pipeline('{name}')\n"


@pytest.fixture(autouse=True)
def as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in an empty folder; what a test imported is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith("asgard"):
            del sys.modules[name]
    sys.path_importer_cache.clear()


def write(path: str, text: str) -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def package(path: str, name: str) -> None:
    """A package `path` whose __init__ imports its pipeline from a module of its own."""
    write(f"{path}/__init__.py", f"from {path.replace('/', '.')}.tables import {name}\n")
    write(f"{path}/tables.py", ONE.format(name=name))


@pytest.mark.parametrize(
    "reference",
    ["loaded_shop", "loaded_shop.py", "./loaded_shop.py", "loaded_shop:loaded_shop", "loaded_shop.py:loaded_shop"],
)
def test_a_module_in_the_working_folder(reference: str) -> None:
    write("loaded_shop.py", ONE.format(name="loaded_shop"))
    assert load_pipeline(reference).name == "loaded_shop"


def test_a_file_elsewhere(tmp_path: Path) -> None:
    write("elsewhere/deep/far_shop.py", ONE.format(name="far"))
    assert load_pipeline("elsewhere/deep/far_shop.py").name == "far"
    assert load_pipeline(str(tmp_path / "elsewhere/deep/far_shop.py")).name == "far"


@pytest.mark.parametrize(
    "reference", ["team/shop", "team/shop/", "team.shop", "team/shop/tables.py", "team.shop.tables"]
)
def test_a_package_inside_a_package(reference: str) -> None:
    write("team/__init__.py", "")
    package("team/shop", "shop")
    assert load_pipeline(reference).name == "shop"


def test_the_working_folder_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    package("here_shop", "here")
    monkeypatch.chdir("here_shop")
    assert load_pipeline(".").name == "here"


def test_a_folder_with_a_pipeline_file() -> None:
    write("plain/pipeline.py", ONE.format(name="plain"))
    assert load_pipeline("./plain").name == "plain"


@pytest.mark.parametrize(
    ("reference", "name"),
    [("jobs.zip:zipped", "zipped"), ("jobs.zip:zipped.other", "other"), ("jobs.zip:zipped.other:other", "other")],
)
def test_inside_a_zip(reference: str, name: str) -> None:
    with zipfile.ZipFile("jobs.zip", "w") as archive:
        archive.writestr("zipped/__init__.py", ONE.format(name="zipped"))
        archive.writestr("zipped/other.py", ONE.format(name="other"))
    assert load_pipeline(reference).name == name


@pytest.mark.parametrize(
    "reference",
    [
        "nowhere",
        "nowhere.at_all",
        "nowhere/shop.py",
        "nowhere.py",
        "none.zip:shop",
        "full.zip:nowhere",
        "full.zip",
        ".x",
    ],
)
def test_nothing_there(reference: str) -> None:
    with zipfile.ZipFile("full.zip", "w") as archive:
        archive.writestr("shop.py", ONE.format(name="shop"))
    with pytest.raises(UsageError, match="There is no") as refused:
        load_pipeline(reference)
    assert refused.value.hint


def test_none_or_several_pipelines() -> None:
    write("no_shop.py", "x = 1\n")
    write("two_shops.py", ONE.format(name="one") + ONE.format(name="two"))
    for reference in ("no_shop.py", "no_shop:x"):
        with pytest.raises(UsageError, match="contains none") as refused:
            load_pipeline(reference)
        assert refused.value.hint == "Assign a Pipeline to a name at the module's top level."
    with pytest.raises(UsageError, match="contains one, two") as refused:
        load_pipeline("two_shops.py")
    assert refused.value.hint == "Name one: two_shops.py:one, two_shops.py:two."
    assert load_pipeline("two_shops.py:two").name == "two"
    with pytest.raises(UsageError, match="is not a Pipeline") as refused:
        load_pipeline("two_shops.py:three")
    assert refused.value.hint == "Pipelines there: one, two."


@pytest.mark.parametrize("reference", ["rows.csv", "./rows.csv"])
def test_a_file_that_is_no_python(reference: str) -> None:
    write("rows.csv", "id\n1\n")
    with pytest.raises(UsageError, match=r"rows\.csv is not a Python file"):
        load_pipeline(reference)


def test_one_pipeline_by_two_names_is_one() -> None:
    write("alias_shop.py", ONE.format(name="alias") + "again = alias\n")
    assert load_pipeline("alias_shop.py").name == "alias"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0\n", "ZeroDivisionError"),
        ("import no_such_library\n", "no_such_library"),
        ("from json import no_such_name\n", "ImportError"),
        ("def broken(:\n", "SyntaxError"),
    ],
)
@pytest.mark.parametrize("where", ["shop_{}.py", "package_{}/__init__.py"])
def test_a_module_that_does_not_import(text: str, message: str, where: str) -> None:
    path = where.format(abs(hash(text)))
    write(path, text)
    write(str(Path(path).with_name("inner.py")), ONE.format(name="inner"))
    with pytest.raises(DeclarationError, match=message):
        load_pipeline(path.removesuffix("/__init__.py") if "/" in path else path)
    if "/" in path:
        with pytest.raises(DeclarationError, match=message):
            load_pipeline(f"{path.removesuffix('/__init__.py')}/inner.py")


def test_a_wrong_declaration_keeps_its_own_words() -> None:
    write("wrong_shop.py", ONE.format(name="wrong") + "wrong.source('bronze.a', mode='merge')\n")
    with pytest.raises(DeclarationError, match=r"^Table bronze\.a \(source\): mode merge needs keys"):
        load_pipeline("wrong_shop.py")
    write("misnamed_shop.py", ONE.format(name="misnamed") + "misnamed.source('Bronze')\n")
    with pytest.raises(UsageError, match=r"^Table Bronze: name: 'Bronze' is not a table name"):
        load_pipeline("misnamed_shop.py")


def test_a_file_named_like_another_module_is_refused() -> None:
    write("json.py", ONE.format(name="shop"))
    with pytest.raises(UsageError, match="Python knows 'json' as") as refused:
        load_pipeline("./json.py")
    assert "Rename" in refused.value.hint


def test_two_files_of_the_same_name() -> None:
    write("first/same_shop.py", ONE.format(name="first"))
    write("second/same_shop.py", ONE.format(name="second"))
    assert load_pipeline("first/same_shop.py").name == "first"
    with pytest.raises(UsageError, match="Python knows 'same_shop' as"):
        load_pipeline("second/same_shop.py")


@pytest.mark.parametrize("reference", ["shop_folder", "shop_folder/", "shop_folder:one", "shop_folder/pipeline.py"])
@pytest.mark.parametrize("init", ["", "VERSION = 1\n"])
def test_a_package_whose_pipeline_stands_in_its_module_of_that_name(reference: str, init: str) -> None:
    write("shop_folder/__init__.py", init)
    write("shop_folder/pipeline.py", ONE.format(name="one"))
    assert load_pipeline(reference).name == "one"


def test_what_a_package_holds_itself_comes_first() -> None:
    write("own_folder/__init__.py", ONE.format(name="mine"))
    write("own_folder/pipeline.py", ONE.format(name="other"))
    assert load_pipeline("own_folder").name == "mine"


def test_a_package_with_neither() -> None:
    write("bare_folder/__init__.py", "")
    write("bare_folder/pipeline.py", "")
    with pytest.raises(UsageError, match="should contain one Pipeline; it contains none"):
        load_pipeline("bare_folder")


def test_a_module_that_starts_a_session_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SparkContext, "_active_spark_context", None)
    start = "from pyspark import SparkContext\nSparkContext._active_spark_context = object()\n"
    write("sparkling_shop.py", start + ONE.format(name="sparkling"))
    with pytest.raises(DeclarationError, match="starts a SparkSession of its own while it is imported"):
        load_pipeline("sparkling_shop.py")
    sys.modules.pop("sparkling_shop")
    assert load_pipeline("sparkling_shop.py").name == "sparkling"  # the session is there: it may be asked for
