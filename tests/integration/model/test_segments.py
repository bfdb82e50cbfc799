"""A model for each department, as docs/training.md declares it: from labels to published predictions, and back."""

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from tests.conftest import Fresh
from tests.support.documents import block, section
from tests.support.git import git
from tests.support.registries import empty_registry
from tests.support.runs import declared, write_rows

from asgard.cli.app import main
from asgard.common.names import TableName
from asgard.common.settings import load_settings
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.model.mlflow_access.client import connect
from asgard.model.registry import Registry
from asgard.model.scoring.predictor import Predictor

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 8
PRODUCTS: Mapping[str | None, int] = {"DELI": 4, "GROCERY": 40, "MEAT": 30, None: 3}
SLOPES = {"GROCERY": 3.0, "MEAT": -2.0}
COUNT = sum(PRODUCTS.values())


@dataclass(frozen=True)
class Shop:
    """The documented pipeline with names of its own, its tables published and its view registered."""

    lake: Lakehouse
    folder: Path
    suffix: str

    @property
    def model(self) -> str:
        return f"demand_{self.suffix}"

    @property
    def mlflow(self) -> str:
        return empty_registry(self.folder)

    def pipeline(self, document: Path, **changes: str) -> Path:
        """The document's blocks as a file; `changes` are other values of a declaration's arguments."""
        code = block(section(document, "Declaring a model"), "python")
        code += block(section(document, "A model for each segment"), "python")
        for name in ("customers", "products", "demand", "churn", "shop"):
            code = re.sub(rf'(["._]){name}(?=["_])', rf"\1{name}_{self.suffix}", code)
        for name, value in changes.items():
            code, count = re.subn(rf"\b{name}=[^,\n]+,", f"{name}={int(value) if value.isdigit() else value!r},", code)
            assert count == 1
        path = self.folder / f"{'_'.join(['shop', self.suffix, *changes.values()])}.py"
        path.write_text(code, encoding="utf-8")
        return path

    def publish(self, pipeline: Path) -> None:
        """What each product was on each day, and how much of it was sold then."""
        drawn, rows, labels = random.Random(1), [], []
        names = [name for name, count in PRODUCTS.items() for _ in range(count)]
        for product, department in enumerate(names):
            for day in range(DAYS):
                price, sold = drawn.uniform(1, 10), drawn.randrange(50)
                rows.append((product, START + timedelta(days=day), department, price, sold))
                sales = SLOPES.get(str(department), 0.5) * price
                labels.append((product, START + timedelta(days=day, hours=6), sales, ("even", "odd")[day % 2]))
        product = "product_id bigint, event_timestamp timestamp, "
        customer = "customer_id bigint, event_timestamp timestamp, visits int, spent decimal(10,2)"
        for name, ddl, values in (
            (f"customers_{self.suffix}", customer, [(1, START, 1, None)]),
            (f"products_{self.suffix}", f"{product} department string, price double, sold_28d int", rows),
            (f"demand_{self.suffix}_labels", f"{product} sold double, kind_of_day string", labels),
        ):
            frame = self.lake.spark.createDataFrame(values, ddl)
            write_rows(self.lake, declared(TableName("gold", name), mode="append"), frame)
        assert self.run("features", "apply", "-p", pipeline) == 0

    def run(self, *arguments: Any) -> int:
        """One command, in this process."""
        where = ("--dir", str(self.lake.settings.project_dir), "--set", f"mlflow_tracking_uri={self.mlflow}")
        return main([*map(str, arguments), *where])

    def asked(self, capsys: pytest.CaptureFixture[str], *arguments: Any) -> Any:
        """What a command answers with --json."""
        capsys.readouterr()
        code = self.run(*arguments, "--json")
        said = capsys.readouterr()
        assert code == 0, said.err
        return json.loads(said.out)

    def registry(self) -> Registry:
        return Registry.of(load_settings({"mlflow_tracking_uri": self.mlflow, "user": "ann"}))

    def expected(self, version: str) -> dict[int, float | None]:
        """What a version says in this process of each product's last row."""
        registry = self.registry()
        predictor = Predictor(registry.artifact(registry.find(f"{self.model}@{version}")))
        rows = self.lake.frame(TableName("gold", f"products_{self.suffix}"), "main").collect()
        last = [row.asDict() for row in rows if row["event_timestamp"].day == DAYS]
        assert len(last) == COUNT
        found = predictor.predict_arrow(pa.Table.from_pylist(last).drop_columns("event_timestamp"))
        return dict(zip((row["product_id"] for row in last), found.to_pylist(), strict=True))

    def predicted(self, version: str) -> dict[int, float | None]:
        """What was published of a version."""
        frame = self.lake.frame(TableName("gold", f"{self.model}_predictions"), "main")
        return {row["product_id"]: row["prediction"] for row in frame.where(f"model_version = '{version}'").collect()}


@pytest.fixture
def document(repository_root: Path) -> Path:
    return repository_root / "docs" / "training.md"


@pytest.fixture
def shop(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path, document: Path) -> Shop:
    """Published, registered and committed; nothing is trained."""
    made = Shop(lake, tmp_path, fresh.table().name)
    made.publish(made.pipeline(document))
    (tmp_path / ".gitignore").write_text("*\n!*.py\n!.gitignore\n__pycache__\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return made


def test_one_declaration_one_training_one_version_one_job(
    shop: Shop, document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = shop.asked(capsys, "train", "-p", shop.pipeline(document), "-m", shop.model)
    assert made["version"] == "1.0.0"
    by_value = {each["value"]: each for each in made["segments"]}
    assert {value: bool(each["model"]) for value, each in by_value.items()} == {
        "DELI": False,
        "GROCERY": True,
        "MEAT": True,
        None: True,
    }
    assert by_value["GROCERY"]["metrics"]["rmse"] < by_value["GROCERY"]["baseline"]["rmse"]
    assert by_value[None]["test_rows"] == sum(count * 2 for name, count in PRODUCTS.items() if name in ("DELI", None))
    client = connect(load_settings({"mlflow_tracking_uri": shop.mlflow}))
    run = client.get_run(made["mlflow_run"])
    assert run.data.metrics["segment/MEAT/rmse"] == by_value["MEAT"]["metrics"]["rmse"]
    assert run.data.metrics["rmse"] == made["metrics"]["rmse"]
    assert {"segments.csv", "evaluation.json"} <= {each.path for each in client.list_artifacts(made["mlflow_run"])}

    version = f"{shop.model}@1.0.0"
    for stage in ("staging", "production"):
        assert shop.run("model", "promote", version, "--to", stage) == 0
    assert shop.asked(capsys, "model", "show", version)["segments"] == made["segments"]
    assert shop.run("model", "show", version) == 0
    assert "segments/whole/model.skops" in capsys.readouterr().out
    said = shop.asked(capsys, "batch-predict", "-m", shop.model)
    assert said["rows"] == COUNT
    found = shop.predicted("1.0.0")
    assert found == shop.expected("1.0.0")
    assert None not in found.values()
    why = shop.asked(capsys, "lineage", f"gold.{shop.model}_predictions", "--key", "product_id=10")
    assert why["features"][0]["values"]["department"] == "GROCERY"
    assert "department" in why["features"][0]["inputs"]
    assert why["segment"] == {"column": "department", "value": "GROCERY", "by": "own", "why": ""}
    why = shop.asked(capsys, "lineage", f"gold.{shop.model}_predictions", "--key", "product_id=0")
    assert (why["segment"]["value"], why["segment"]["by"]) == ("DELI", "whole")
    assert why["segment"]["why"].endswith("fewer than 100")
    assert shop.run("lineage", f"gold.{shop.model}_predictions", "--key", f"product_id={COUNT - 1}") == 0
    assert "predicted by the model of all rows: department null has no model of its own" in capsys.readouterr().out

    assert shop.asked(capsys, "model", "reproduce", version)["verdict"] == "reproduced"


def test_what_changes_of_segments_is_in_the_version(
    shop: Shop, document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    versions = []
    for changes in ({}, {"min_segment_rows": "10"}, {"unknown_segment": "null"}):
        path = shop.pipeline(document, **changes)
        versions.append(shop.asked(capsys, "train", "-p", path, "-m", shop.model)["version"])
    assert versions == ["1.0.0", "1.0.1", "2.0.0"]
    compared = shop.asked(capsys, "model", "compare", f"{shop.model}@1.0.0", f"{shop.model}@1.0.1")
    differs = {each["what"]: (each["before"], each["after"]) for each in compared["differences"]}
    assert differs["segment DELI"][0].startswith("24 labels for training, fewer than 100")
    assert differs["segment DELI"][1].startswith("skops of 24 labels")
    assert shop.run("model", "promote", f"{shop.model}@2.0.0", "--to", "staging") == 0
    said = shop.asked(capsys, "batch-predict", "-m", shop.model, "--stage", "staging")
    found = shop.predicted("2.0.0")
    assert found == shop.expected("2.0.0")
    known = [value for value in found.values() if value is not None]
    assert (len(known), said["rows"]) == (PRODUCTS["GROCERY"] + PRODUCTS["MEAT"], COUNT)
    assert said["mean"] == pytest.approx(sum(known) / len(known))
    assert said["null"] == said["sides"]["champion"]["null"] == COUNT - len(known)
    refusing = shop.pipeline(document, unknown_segment="refuse")
    assert shop.run("train", "-p", refusing, "-m", shop.model) == 2
    assert "'DELI' (24 labels for training, fewer than 100)" in capsys.readouterr().err


def test_a_segment_that_only_the_labels_have_is_no_use_to_the_job(
    shop: Shop, document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.run("train", "-p", shop.pipeline(document, segment="kind_of_day"), "-m", shop.model) == 0
    assert "kind_of_day is a column of the labels only" in capsys.readouterr().err
    assert shop.run("model", "promote", f"{shop.model}@1.0.0", "--to", "staging") == 0
    assert shop.run("batch-predict", "-m", shop.model, "--stage", "staging") == 2
    assert "kind_of_day missing" in capsys.readouterr().err
