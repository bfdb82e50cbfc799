"""A batch prediction that is killed or told to stop: what was published is held, and nothing else for long."""

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import Fresh
from tests.support.learning import CUSTOMERS, LearningShop
from tests.support.predicting import answer, prediction_holds, promote, published, train
from tests.support.processes import end_of, environment
from tests.support.waiting import wait_until

from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.model.batch import holds as holding

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def shop(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> LearningShop:
    """1.0.0 is in Production."""
    made = LearningShop.begin(lake, tmp_path, fresh.table().name)
    made.publish()
    train(made)
    promote(made)
    return made


def start(shop: LearningShop, root: Path, failpoint: str) -> "subprocess.Popen[str]":
    """`asgard batch-predict` in a process of its own."""
    command = [sys.executable, "-m", "asgard.cli", "batch-predict", "-m", shop.model("plain"), "--max-mean-shift", "9"]
    where = ["--dir", str(shop.lake.settings.project_dir), "--set", f"mlflow_tracking_uri={shop.mlflow}"]
    return subprocess.Popen(
        [*command, *where],
        env=environment(root, ASGARD_FAILPOINT=failpoint),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def runs_held(shop: LearningShop) -> set[str]:
    """The runs whose reads are held."""
    return {name[:22] for name in prediction_holds(shop)}


def test_whatever_kills_it_the_next_run_lets_go_of_the_rest(
    shop: LearningShop,
    repository_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["batch-predict", "-m", shop.model("plain"), "--max-mean-shift", "9"]
    first = answer(shop, capsys, *command)["run"]["run_id"]
    shop.backfill("amount * 1.01D")

    worker = start(shop, repository_root, "predictions-held:kill")
    assert end_of(worker)[0] == -signal.SIGKILL
    assert len(published(shop)) == CUSTOMERS
    (killed,) = runs_held(shop) - {first}

    go = tmp_path / "go"
    worker = start(shop, repository_root, f"before-cleanup:wait:{go}")
    reached = go.with_name("go.reached")
    wait_until(lambda: reached.exists() or worker.poll() is not None, "the run is published")
    worker.send_signal(signal.SIGTERM)
    code, errors = end_of(worker)
    assert code == 143, errors
    rows = published(shop)
    assert len(rows) == 2 * CUSTOMERS
    second = rows[-1]["run_id"]
    assert {first, second} <= runs_held(shop)

    shop.backfill("amount * 1.02D")
    worker = start(shop, repository_root, "predictions-published:kill")
    assert end_of(worker)[0] == -signal.SIGKILL
    third = published(shop)[-1]["run_id"]
    assert {second, third} <= runs_held(shop)
    assert answer(shop, capsys, *command)["rows"] == 0
    assert {second, third} <= runs_held(shop)

    shop.backfill("amount * 1.03D")
    last = answer(shop, capsys, *command)["run"]["run_id"]
    assert runs_held(shop) == {killed, last}  # within the hour it might still work
    monkeypatch.setattr(holding, "DEAD_AFTER", timedelta(0))
    shop.backfill("amount * 1.04D")
    last = answer(shop, capsys, *command)["run"]["run_id"]
    assert runs_held(shop) == {last}
