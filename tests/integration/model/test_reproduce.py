"""A version trained again from what it was made of, whatever was published or committed since."""

import json
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import Fresh
from tests.support.customer_views import frame
from tests.support.distributions import install
from tests.support.git import git
from tests.support.learning import CUSTOMERS, DAYS, LearningShop
from tests.support.runs import declared, write_rows

from asgard.common.names import TableName
from asgard.common.settings import load_settings, python_environment
from asgard.features.register import registered_views
from asgard.lakehouse.catalog.holds import hold, hold_name
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.locations import local_path
from asgard.model.artifacts import environment
from asgard.model.mlflow_access.client import connect
from asgard.model.registry import Registry

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def shop(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> LearningShop:
    """Published and registered; its code is committed."""
    made = LearningShop.begin(lake, tmp_path, fresh.table().name)
    made.publish()
    (tmp_path / ".gitignore").write_text("*\n!*.py\n!.gitignore\n__pycache__\n")
    git(tmp_path, "init", "--quiet")
    commit(made, "first")
    return made


def commit(shop: LearningShop, message: str) -> str:
    """Commit all code; gives the commit."""
    git(shop.folder, "add", "--all")
    git(shop.folder, "commit", "--quiet", "--message", message)
    return git(shop.folder, "rev-parse", "HEAD")


def train(shop: LearningShop, name: str = "churn", pipeline: str | None = None) -> None:
    assert shop.run("train", "-p", pipeline or shop.pipeline(), "-m", shop.model(name)) == 0


def restate(shop: LearningShop, amount: str) -> None:
    """Compute gold anew, with one more row, and register the view there."""
    more = frame(shop.lake, [(CUSTOMERS, 0, 1.0, 1)])
    write_rows(shop.lake, declared(TableName("bronze", shop.suffix), mode="append"), more)
    shop.backfill(amount)


def asked(
    shop: LearningShop, capsys: pytest.CaptureFixture[str], version: str, *more: str, code: int = 0
) -> Mapping[str, Any]:
    """The verdict."""
    capsys.readouterr()
    ended = shop.run("model", "reproduce", version, "--json", *more)
    said = capsys.readouterr()
    assert ended == code, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def refused(shop: LearningShop, capsys: pytest.CaptureFixture[str], version: str, *more: str) -> str:
    """What is said where it can't be done."""
    capsys.readouterr()
    assert shop.run("model", "reproduce", version, *more) == 1
    said = capsys.readouterr()
    assert f"error: {version} can't be reproduced: " in said.err
    assert "hint: " in said.err
    assert not said.out
    return said.err


def left_behind(shop: LearningShop) -> tuple[list[str], int]:
    """Holds of reproductions, and worktrees."""
    holds = [each.name for each in shop.lake.nessie.references("hold_reproduce_")]
    return holds + shop.set_holds, len(git(shop.folder, "worktree", "list").splitlines())


@pytest.mark.parametrize("name", ["churn", "script"])
def test_a_version_is_reproduced_bit_for_bit_whatever_came_after(
    shop: LearningShop, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    train(shop, name)
    first = git(shop.folder, "rev-parse", "HEAD")
    registry = Registry.of(load_settings({"mlflow_tracking_uri": shop.mlflow}))
    snapshot = registered_views(shop.lake, [f"view_{shop.suffix}"])[0].table.snapshot_id
    restate(shop, "amount * 2D")
    assert registered_views(shop.lake, [f"view_{shop.suffix}"])[0].table.snapshot_id != snapshot
    path = Path(shop.pipeline())
    path.write_text("raise RuntimeError('code of today')\n")
    (shop.folder / "learn.py").write_text("raise RuntimeError('script of today')\n")
    commit(shop, "broken")
    path.write_text("raise RuntimeError('not even committed')\n")
    version = f"{shop.model(name)}@1.0.0"
    killed = hold_name("reproduce", shop.model(name), "1.0.0-20240101t000000-0badcafe-0123456789abcdef")
    hold(shop.lake, killed, shop.lake.nessie.head(shop.lake.target))
    found = asked(shop, capsys, version)
    assert (found["verdict"], found["reasons"]) == ("reproduced", [])
    assert found["code_version"] == first
    assert list(found["snapshots"].values()) == [snapshot]
    by_name = {each["what"]: each for each in found["comparisons"]}
    assert {each["what"] for each in found["comparisons"] if not each["same"]} <= {"model file"}
    assert by_name["rows"]["now"] == CUSTOMERS * DAYS
    assert len(by_name["predictions of the sample"]["now"]) == 10
    assert by_name["roc_auc"]["now"] == registry.find(version).metrics["roc_auc"]
    assert by_name["data digest"]["now"] == registry.find(version).binding.details["digest"]
    assert [str(each.version) for each in registry.versions(shop.model(name))] == ["1.0.0"]
    client = connect(load_settings({"mlflow_tracking_uri": shop.mlflow}))
    experiment = client.get_experiment_by_name(f"asgard/{shop.model(name)}")
    assert len(client.search_runs([experiment.experiment_id])) == 1
    assert left_behind(shop) == ([], 1)
    assert path.read_text() == "raise RuntimeError('not even committed')\n"


def test_another_result_is_told_with_what_may_be_the_reason(
    shop: LearningShop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds, site, library = shop.folder / "rounds.txt", shop.folder / "site", f"tiny_{shop.suffix}"
    rounds.write_text("12")
    installed = install(site, library, "1.0", {f"{library}.py": ""})
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", f"{site}:{python_environment().get('PYTHONPATH', '')}")
    other = shop.folder / f"other_{shop.suffix}.py"
    text = Path(shop.pipeline()).read_text()
    assert "data.target), 12)" in text
    other.write_text(
        text.replace(
            "data.target), 12)", f"data.target), int(__import__('pathlib').Path({str(rounds)!r}).read_text()))"
        ).replace("    import lightgbm\n", f"    import lightgbm\n    import {library}\n")
    )
    commit(shop, "rounds from a file that nobody keeps")
    train(shop, pipeline=str(other))
    version = f"{shop.model()}@1.0.0"
    rounds.write_text("3")
    shutil.rmtree(installed)
    install(site, library, "2.0", {f"{library}.py": ""})
    monkeypatch.setattr(environment, "platform", SimpleNamespace(python_version=lambda: "3.99.0"))
    found = asked(shop, capsys, version, code=1)
    assert found["verdict"] == "differs"
    assert found["reasons"] == [
        f"version changed since: python {platform.python_version()} -> 3.99.0",
        f"version changed since: {library.replace('_', '-')} 1.0 -> 2.0",
    ]
    same = {each["what"]: each["same"] for each in found["comparisons"]}
    assert same["data digest"]
    assert not same["predictions of the sample"]
    assert not same["predictions of the test"]
    assert not same["brier"]
    assert shop.run("model", "reproduce", version) == 1
    said = capsys.readouterr().out
    assert f"{version}: differs" in said
    assert "differs by" in said
    rounds.write_text("12")
    assert asked(shop, capsys, version)["verdict"] == "reproduced"  # another library is a reason, not a verdict


def test_what_is_missing_is_said_in_words(shop: LearningShop, capsys: pytest.CaptureFixture[str]) -> None:
    empty = shop.folder / f"empty_{shop.suffix}.py"
    empty.write_text("from asgard import Pipeline\n\nnothing = Pipeline('nothing')\n")
    first = commit(shop, "a pipeline without models")
    train(shop)
    (shop.folder / "untracked.py").write_text("")
    train(shop)
    clean, dirty = f"{shop.model()}@1.0.0", f"{shop.model()}@1.0.1"
    assert f"differed from commit {first[:12]} (dirty)" in refused(shop, capsys, dirty)
    elsewhere = shop.folder / "elsewhere"
    elsewhere.mkdir()
    git(elsewhere, "init", "--quiet")
    assert f"does not have the commit {first}" in refused(shop, capsys, clean, "-p", str(elsewhere / "x.py"))
    assert "is not in a git repository" in refused(shop, capsys, clean, "-p", "/nowhere.py")
    assert f"declares no model '{shop.model()}'" in refused(shop, capsys, clean, "-p", str(empty))
    labels = shop.folder / "labels.parquet"
    kept = labels.read_bytes()
    labels.write_bytes(kept + b"x")
    assert f"its labels {labels} were changed" in refused(shop, capsys, clean)
    labels.unlink()
    assert f"its labels {labels} are gone" in refused(shop, capsys, clean)
    labels.write_bytes(kept)
    assert asked(shop, capsys, clean)["verdict"] == "reproduced"
    gone = Path(local_path(registered_views(shop.lake, [f"view_{shop.suffix}"])[0].table.files[0]))
    gone.unlink()
    said = refused(shop, capsys, clean)
    assert "is missing or incomplete" in said
    assert str(gone) in said
    assert left_behind(shop) == ([], 1)
