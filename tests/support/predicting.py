"""Training, promotion and prediction of a shop's models by commands; and deletion of data files that nothing holds."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.learning import LearningShop

from asgard.common.names import TableName
from asgard.common.settings import load_settings
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.locations import local_path
from asgard.model.registry import Registry


def answer(shop: LearningShop, capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    """Run a command with --json, and return its answer."""
    capsys.readouterr()
    code = shop.run(*arguments, "--json")
    said = capsys.readouterr()
    assert code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def refusal(shop: LearningShop, capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """Run a command that must be refused as wrong usage, and return its error text."""
    capsys.readouterr()
    code = shop.run(*arguments)
    said = capsys.readouterr().err
    assert code == 2, said
    assert "hint: " in said
    return said


def train(shop: LearningShop, *more: str, name: str = "plain") -> None:
    """Train one more version."""
    assert shop.run("train", "-p", shop.pipeline(), "-m", shop.model(name), *more) == 0


def promote(shop: LearningShop, version: str = "1.0.0", name: str = "plain") -> None:
    """Promote a version to Production."""
    for stage in ("staging", "production"):
        assert shop.run("model", "promote", f"{shop.model(name)}@{version}", "--to", stage) == 0


def published(shop: LearningShop, name: str = "plain") -> list[Mapping[str, Any]]:
    """Return all published predictions, in order."""
    frame = shop.lake.frame(TableName("gold", f"{shop.model(name)}_predictions"), "main")
    return [row.asDict() for row in frame.orderBy("predicted_at", "customer_id", "model_version").collect()]


def registry_of(shop: LearningShop) -> Registry:
    """Open the registry with the shop's versions."""
    return Registry.of(load_settings({"mlflow_tracking_uri": shop.mlflow, "user": "ann"}))


def prediction_holds(shop: LearningShop, name: str = "plain") -> dict[str, str]:
    """The holds of the shop's predictions: tag -> commit."""
    prefix = f"hold_prediction_{shop.model(name)}_"
    return {each.name.removeprefix(prefix): each.hash for each in shop.lake.nessie.references(prefix)}


def collect(lake: Lakehouse, table: TableName) -> int:
    """Delete a table's data files that are live at no head of a branch or tag; returns their number."""
    kept: set[Path] = set()
    folder = None
    for reference in list(lake.nessie.references()):
        content = lake.nessie.content(f"{reference.name}@{reference.hash}", table)
        if content is None:
            continue
        state = TableState.load(content.metadata_location, lake.settings)
        folder = Path(local_path(state.location)) / "data"
        kept |= {Path(local_path(file.path)) for file in state.live_files()}
    assert folder is not None
    gone = [path for path in folder.glob("**/*.parquet") if path not in kept]
    for path in gone:
        path.unlink()
    return len(gone)
