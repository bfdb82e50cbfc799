"""A version predicts from the views that it learned from: those whose features still mean what they meant."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import Fresh
from tests.support.learning import CUSTOMERS, LearningShop
from tests.support.predicting import answer, promote, published, refusal, registry_of, train

from asgard.lakehouse.catalog.lake import Lakehouse

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def shop(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> LearningShop:
    """1.0.0 is in Production; it learned from version 1 of its view, whose version 2 is registered now."""
    made = LearningShop.begin(lake, tmp_path, fresh.table().name)
    made.publish()
    train(made)
    promote(made)
    made.backfill("amount / 100", version=2)
    return made


def test_a_view_that_means_something_else_is_not_read(shop: LearningShop, capsys: pytest.CaptureFixture[str]) -> None:
    name = shop.model("plain")
    command = ["batch-predict", "-m", name]
    bound = registry_of(shop).find(f"{name}@1.0.0").binding.views[0]
    refused = f"{name}@1.0.0 was trained on version 1 of view view_{shop.suffix}; registered now is version 2"
    said = refusal(shop, capsys, *command)
    assert refused in said
    assert f"--as-of {bound.commit[:16]}" in said
    assert "--accept-view-change" in said
    assert shop.run("model", "promote", f"{name}@1.0.0", "--to", "production") == 0
    warned = capsys.readouterr().err
    assert f"warning: batch-predict will refuse {name}@1.0.0: {refused}" in warned
    assert "Train it again" in warned
    now = shop.lake.content(shop.table, "main").snapshot_id
    assert refused in refusal(shop, capsys, *command, "--snapshot", now)
    assert refused in refusal(shop, capsys, *command, "--as-of", "main")

    then = answer(shop, capsys, *command, "--as-of", bound.commit[:16])
    assert (then["rows"], then["feature_snapshot"]) == (CUSTOMERS, str(bound.snapshot_id))
    table = f"gold.{name}_predictions"
    used = answer(shop, capsys, "lineage", table, "--key", "customer_id=5")["features"][0]
    assert used["version"] == 1
    assert used["values"]["amount"] > 1
    assert answer(shop, capsys, *command, "--snapshot", bound.snapshot_id)["rows"] == 0

    other = answer(shop, capsys, *command, "--accept-view-change", "--max-mean-shift", "99")
    assert (other["rows"], other["feature_snapshot"]) == (CUSTOMERS, str(now))
    used = answer(shop, capsys, "lineage", table, "--key", "customer_id=5")["features"][0]
    assert (used["version"], used["values"]["amount"] <= 1) == (2, True)
    assert len(published(shop)) == 2 * CUSTOMERS
