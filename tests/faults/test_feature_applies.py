"""Applies of feature views that are killed between any two steps, or happen at once: afterwards everything is whole."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import Fresh
from tests.support.features import ViewShop, expect_held, expect_whole
from tests.support.processes import end_of, environment
from tests.support.waiting import wait_until

from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.registrations import Registrations

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CONFLICT = "Another process registered view"


@pytest.fixture
def shop(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> ViewShop:
    """Two views of one published table; nothing is registered."""
    made = ViewShop(lake, tmp_path, fresh.table().name)
    made.publish([(1, 0, 10.0, 1)])
    return made


def start_apply(shop: ViewShop, root: Path, *arguments: str, failpoint: str = "") -> "subprocess.Popen[str]":
    """`asgard features apply` of both views, in a process of its own."""
    project = str(shop.lake.settings.project_dir)
    command = [sys.executable, "-m", "asgard.cli", "features", "apply", *(arguments or ("-p", shop.pipeline()))]
    return subprocess.Popen(
        [*command, "--dir", project],
        env=environment(root, ASGARD_FAILPOINT=failpoint),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def wait_for(worker: "subprocess.Popen[str]", go: Path) -> None:
    """Until it came to its failpoint."""
    reached = go.with_name(f"{go.name}.reached")
    wait_until(lambda: reached.exists() or worker.poll() is not None, "the apply is at its failpoint")
    assert worker.poll() is None


@pytest.mark.parametrize("failpoint", ["after-hold", "after-registration", "before-feast"])
@pytest.mark.parametrize("is_first", [True, False])
def test_after_a_kill_the_next_apply_makes_everything_whole(
    shop: ViewShop, repository_root: Path, failpoint: str, is_first: bool
) -> None:
    if not is_first:
        assert shop.run("features", "apply", "-p", shop.pipeline()) == 0
        expect_whole(shop, "ab")
        shop.publish([(2, 1, 20.0, 2)])
    code, _ = end_of(start_apply(shop, repository_root, failpoint=f"{failpoint}:kill"))
    assert code == -signal.SIGKILL
    expect_held(shop, "ab")
    moved = {"after-hold": 0, "after-registration": 1, "before-feast": 2}[failpoint]
    current = Registrations(shop.lake.storage).current("view")
    at_newest = [name for name in map(shop.view, "ab") if name in current and at(shop, name) == shop.snapshot()]
    assert len(at_newest) == moved
    assert shop.run("features", "apply", "-p", shop.pipeline()) == 0
    expect_whole(shop, "ab")


def at(shop: ViewShop, name: str) -> int:
    """The snapshot that a view is registered at."""
    return Registrations(shop.lake.storage).current("view")[name].snapshot_id


def test_after_a_kill_while_a_view_is_taken_out_the_next_apply_lets_go_of_it(
    shop: ViewShop, repository_root: Path
) -> None:
    assert shop.run("features", "apply", "-p", shop.pipeline()) == 0
    prune = ("-p", shop.pipeline("a"), "--prune")
    code, _ = end_of(start_apply(shop, repository_root, *prune, failpoint="after-registration:kill"))
    assert code == -signal.SIGKILL
    assert shop.holds("b")
    assert shop.run("features", "apply", *prune) == 0
    expect_whole(shop, "a", gone="b")


def test_a_backfill_that_finds_nothing_to_do_brings_feast_up_to_date(
    shop: ViewShop, repository_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = end_of(start_apply(shop, repository_root, failpoint="before-feast:kill"))
    assert code == -signal.SIGKILL
    again = ("backfill", "-p", shop.pipeline(), "--apply-features")
    assert shop.run(*again) == 0
    assert "Feast: " in capsys.readouterr().err
    expect_whole(shop, "ab")
    assert shop.run(*again) == 0
    assert "Feast: " not in capsys.readouterr().err


def test_two_applies_of_one_state_at_once(shop: ViewShop, repository_root: Path, tmp_path: Path) -> None:
    gates = (tmp_path / "go-1", tmp_path / "go-2")
    workers = [start_apply(shop, repository_root, failpoint=f"after-hold:wait:{go}") for go in gates]
    for worker, go in zip(workers, gates, strict=True):
        wait_for(worker, go)
    for go in gates:
        go.touch()
    ends = sorted(map(end_of, workers))
    assert [code for code, _ in ends] == [0, 1]
    assert CONFLICT in ends[1][1]
    assert "hint: " in ends[1][1]
    expect_whole(shop, "ab")


@pytest.mark.parametrize("is_first", [True, False])
def test_an_apply_of_an_older_state_loses_and_leaves_nothing(
    shop: ViewShop, repository_root: Path, tmp_path: Path, is_first: bool
) -> None:
    if not is_first:
        assert shop.run("features", "apply", "-p", shop.pipeline()) == 0
        shop.publish([(3, 1, 30.0, 3)])
    go = tmp_path / "go"
    late = start_apply(shop, repository_root, failpoint=f"after-hold:wait:{go}")
    wait_for(late, go)
    shop.publish([(2, 1, 20.0, 2)])
    assert shop.run("features", "apply", "-p", shop.pipeline()) == 0
    go.touch()
    code, said = end_of(late)
    assert (code, CONFLICT in said) == (1, True)
    expect_whole(shop, "ab")


def test_an_apply_that_is_overtaken_half_way(shop: ViewShop, repository_root: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    slow = start_apply(shop, repository_root, failpoint=f"after-registration:wait:{go}")
    wait_for(slow, go)
    shop.publish([(2, 1, 20.0, 2)])
    assert shop.run("features", "apply", "-p", shop.pipeline()) == 0
    go.touch()
    code, said = end_of(slow)
    assert (code, CONFLICT in said) == (1, True)
    expect_whole(shop, "ab")


def test_feast_gets_the_newest_state_whoever_comes_last(shop: ViewShop, repository_root: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    slow = start_apply(shop, repository_root, failpoint=f"before-feast:wait:{go}")
    wait_for(slow, go)
    shop.publish([(2, 1, 20.0, 2)])
    assert shop.run("features", "apply", "-p", shop.pipeline()) == 0
    go.touch()
    code, _ = end_of(slow)
    assert code == 0
    expect_whole(shop, "ab")


def test_a_hold_that_somebody_dropped_is_made_again(shop: ViewShop) -> None:
    assert shop.run("features", "apply", "-p", shop.pipeline()) == 0
    dropped = next(shop.lake.nessie.references(f"hold_view_{shop.view('a')}_"))
    shop.lake.nessie.delete(dropped)
    assert shop.run("features", "apply", "-p", shop.pipeline()) == 0
    expect_whole(shop, "ab")
