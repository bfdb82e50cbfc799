"""Models of a shop trained, promoted and predicted by the commands that anyone calls; and a collection to fear."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.learning import LearningShop

from asgard.common.names import TableName
from asgard.common.settings import load_settings
from asgard.features.pinned import local_path
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.model.registry import Registry


def answer(shop: LearningShop, capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    """What a command answers with --json."""
    capsys.readouterr()
    code = shop.run(*arguments, "--json")
    said = capsys.readouterr()
    assert code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def refusal(shop: LearningShop, capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """What a command says that is refused as wrong usage."""
    capsys.readouterr()
    code = shop.run(*arguments)
    said = capsys.readouterr().err
    assert code == 2, said
    assert "hint: " in said
    return said


def train(shop: LearningShop, *more: str, name: str = "plain") -> None:
    """One more version."""
    assert shop.run("train", "-p", shop.pipeline(), "-m", shop.model(name), *more) == 0


def promote(shop: LearningShop, version: str = "1.0.0", name: str = "plain") -> None:
    """Into Production."""
    for stage in ("staging", "production"):
        assert shop.run("model", "promote", f"{shop.model(name)}@{version}", "--to", stage) == 0


def published(shop: LearningShop, name: str = "plain") -> list[Mapping[str, Any]]:
    """All predictions, in order."""
    frame = shop.lake.frame(TableName("gold", f"{shop.model(name)}_predictions"), "main")
    return [row.asDict() for row in frame.orderBy("predicted_at", "customer_id", "model_version").collect()]


def registry_of(shop: LearningShop) -> Registry:
    """Where the shop's versions are."""
    return Registry.of(load_settings({"mlflow_tracking_uri": shop.mlflow, "user": "ann"}))


def prediction_holds(shop: LearningShop, name: str = "plain") -> dict[str, str]:
    """Commit by tag of what the shop's predictions hold."""
    prefix = f"hold_prediction_{shop.model(name)}_"
    return {each.name.removeprefix(prefix): each.hash for each in shop.lake.nessie.references(prefix)}


def collect(lake: Lakehouse, table: TableName) -> int:
    """Delete the data files of a table that no branch or tag has at its head; gives how many went."""
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
