"""What published predictions read stays there, so that the newest of them can be explained at any time."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import Fresh
from tests.support.learning import LearningShop
from tests.support.predicting import answer, collect, prediction_holds, promote, refusal, train

from asgard.common.names import BranchName
from asgard.features.register import registered_views
from asgard.lakehouse.catalog.holds import hold, release
from asgard.lakehouse.catalog.lake import Lakehouse

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def shop(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> LearningShop:
    """1.0.0 is in Production, and what it learned from is not what is published now."""
    made = LearningShop.begin(lake, tmp_path, fresh.table().name)
    made.publish()
    train(made)
    promote(made)
    made.backfill("amount * 1.01D")
    return made


def commit_of(shop: LearningShop) -> str:
    """Where the view is registered now."""
    return registered_views(shop.lake, [f"view_{shop.suffix}"])[0].table.at.commit


def test_the_newest_predictions_can_be_explained_after_a_collection(
    shop: LearningShop, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["batch-predict", "-m", shop.model("plain"), "--max-mean-shift", "9"]
    lineage = ["lineage", f"gold.{shop.model('plain')}_predictions", "--key"]
    first = answer(shop, capsys, *command)
    commit = commit_of(shop)
    assert prediction_holds(shop) == {f"{first['run']['run_id']}-all-{commit[:16]}": commit}
    shop.backfill("amount * 1.02D")
    collect(shop.lake, shop.table)
    found = answer(shop, capsys, *lineage, "customer_id=5")
    assert found["missing"] == []
    assert str(found["features"][0]["snapshot_id"]) == first["feature_snapshot"]

    some = answer(shop, capsys, *command, "--where", "customer_id < 3")
    assert set(prediction_holds(shop).values()) == {commit, commit_of(shop)}  # the others' newest are the first ones
    shop.backfill("amount * 1.03D")
    collect(shop.lake, shop.table)
    assert answer(shop, capsys, *lineage, "customer_id=1")["missing"] == []
    assert answer(shop, capsys, *lineage, "customer_id=5")["missing"] == []

    other = answer(shop, capsys, *command, "--where", "customer_id < 3")
    held = {name.rpartition("-")[0].rpartition("-")[0]: where for name, where in prediction_holds(shop).items()}
    assert set(held) == {each["run"]["run_id"] for each in (first, some, other)}  # a condition may choose others
    assert (held[first["run"]["run_id"]], held[other["run"]["run_id"]]) == (commit, commit_of(shop))
    last = answer(shop, capsys, *command)
    assert {name[:22] for name in prediction_holds(shop)} == {last["run"]["run_id"]}
    assert answer(shop, capsys, *command)["run"]["status"] == "unchanged"
    assert {name[:22] for name in prediction_holds(shop)} == {last["run"]["run_id"]}

    assert collect(shop.lake, shop.table) > 0
    assert answer(shop, capsys, *lineage, "customer_id=5")["missing"] == []
    frame = shop.lake.frame(shop.table, "main")
    assert frame.count() > 0  # what is published is whole

    (rows,) = last["run"]["tables"].values()
    (undone,) = answer(shop, capsys, "revert", last["run"]["run_id"])["tables"].values()
    assert (undone["rows_added"], undone["rows_removed"]) == (rows["rows_removed"], rows["rows_added"])
    assert answer(shop, capsys, *command)["run"]["status"] == "published"  # so they are predicted again


def test_older_predictions_say_that_what_they_read_was_collected(
    shop: LearningShop, capsys: pytest.CaptureFixture[str]
) -> None:
    name = shop.model("plain")
    command = ["batch-predict", "-m", name, "--max-mean-shift", "9"]
    answer(shop, capsys, *command)
    train(shop)
    for amount in ("amount * 1.02D", "amount * 1.03D"):
        shop.backfill(amount)
    newer = answer(shop, capsys, *command, "--version", "1.0.1")
    assert {each[:22] for each in prediction_holds(shop)} == {newer["run"]["run_id"]}
    for tag in list(shop.lake.nessie.references(f"hold_model_{name}_")):  # a version's own hold would keep it, too
        shop.lake.nessie.delete(tag)
    assert collect(shop.lake, shop.table) > 0
    lineage = ["lineage", f"gold.{name}_predictions", "--key", "customer_id=5"]
    assert answer(shop, capsys, *lineage)["missing"] == []
    (missing,) = answer(shop, capsys, *lineage, "--model-version", "1.0.0")["missing"]
    assert "is missing or incomplete" in missing
    assert missing.endswith("only data read by the latest predictions are held.")


def test_a_run_that_publishes_nothing_holds_nothing(shop: LearningShop, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["batch-predict", "-m", shop.model("plain")]
    answer(shop, capsys, *command)
    held = prediction_holds(shop)
    shop.backfill("CASE WHEN amount > 50 THEN 95D ELSE 90D END")
    assert shop.run(*command) == 3
    assert prediction_holds(shop) == held
    assert "can't be read" in refusal(shop, capsys, *command, "--where", "nothing > 1")
    assert prediction_holds(shop) == held
    assert answer(shop, capsys, *command, "--where", "customer_id < 0")["rows"] == 0
    assert prediction_holds(shop) == held
    # another model's, whose name begins with this one's
    other = f"hold_prediction_{shop.model('plain')}_2_20200101t000000-abcdef-all-00ff"
    commit = shop.lake.nessie.head("main")
    hold(shop.lake, BranchName(other), commit)
    try:
        answer(shop, capsys, *command, "--max-mean-shift", "99")
        assert any(each.name == other for each in shop.lake.nessie.references("hold_prediction_"))
    finally:
        release(shop.lake, BranchName(other))
    assert set(prediction_holds(shop).values()) == {commit_of(shop)}
