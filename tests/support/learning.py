"""A test's pipeline with a feature view, and models that learn from it, on data with a learnable pattern."""

import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from tests.support.customer_views import START, frame
from tests.support.registries import empty_registry
from tests.support.runs import declared, write_rows

from asgard.cli.app import main
from asgard.common.names import TableName
from asgard.lakehouse.catalog.lake import Lakehouse

CUSTOMERS, DAYS = 120, 8
FEATURES: Mapping[str, str] = {"amount": "double", "visits": "int"}
_PIPELINE = """
from asgard import Pipeline
from asgard.features.views import Feature, feature_view, on_demand
from asgard.model.declaration import model

shop = Pipeline("shop_{suffix}")
shop.source("bronze.{suffix}")


@shop.table("gold.{suffix}", inputs={{"rows": "bronze.{suffix}"}})
def metrics(rows):
    return rows.selectExpr("customer_id", "event_timestamp", "created_at", "{amount} AS amount", "visits")


shop.add(
    feature_view(
        "view_{suffix}",
        table="gold.{suffix}",
        keys=("customer_id",),
        created_timestamp="created_at",
        version={version},
        features=[Feature(name, kind) for name, kind in {features!r}.items()],
    )
)


@on_demand(inputs={{"amount": "view_{suffix}:amount", "visits": "view_{suffix}:visits"}})
def each_visit_{suffix}(amount, visits):
    return amount / (visits + 1)


if len({features!r}) > 1:
    shop.add(each_visit_{suffix})


def boosted(data):
    import lightgbm

    params = {{"objective": "binary", "verbosity": -1, "num_threads": 1, "deterministic": True, "seed": data.seed}}
    return lightgbm.train({{**params, **data.params}}, lightgbm.Dataset(data.features, data.target), 12)


def dropping(data):
    import pandas
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    made = make_pipeline(FunctionTransformer(pandas.DataFrame.dropna), LogisticRegression())
    return made.fit(data.features, data.target)


def broken(data):
    raise ValueError("no idea")


given = dict(labels={labels!r}, target="left_us", views=("view_{suffix}",), test_share=0.25, outcome_after="1d")
shop.add(model("churn_{suffix}", trainer=boosted, params={{"num_leaves": 7}}, minimum={{"roc_auc": 0.6}}, **given))
shop.add(model("strict_{suffix}", trainer=boosted, minimum={{"roc_auc": 0.9999}}, **given))
shop.add(model("broken_{suffix}", trainer=broken, **given))
shop.add(model("plain_{suffix}", trainer=boosted, features=("amount", "visits"), **given))
shop.add(
    model("drops_{suffix}", trainer=dropping, format="pickle", features=("amount", "visits"), **given)
)
shop.add(model("script_{suffix}", trainer={script!r}, features=("amount", "visits"), **given))
"""
_SCRIPT = """
import argparse, pathlib, pickle
import pandas
from sklearn.linear_model import LogisticRegression

parser = argparse.ArgumentParser()
for name in ("data", "out", "params", "seed"):
    parser.add_argument("--" + name)
given = parser.parse_args()
rows = pandas.read_parquet(given.data)
target = rows.pop("left_us")
print("rows:", len(rows))
model = LogisticRegression(random_state=int(given.seed)).fit(rows.to_numpy(), target)
(pathlib.Path(given.out) / "model.pkl").write_bytes(pickle.dumps(model))
"""


@dataclass(frozen=True)
class LearningShop:
    """bronze.SUFFIX -> gold.SUFFIX -> view_SUFFIX -> churn_SUFFIX, as a file, with its own registry."""

    lake: Lakehouse
    folder: Path
    suffix: str
    held_before: frozenset[str] = frozenset()

    @classmethod
    def begin(cls, lake: Lakehouse, folder: Path, suffix: str) -> "LearningShop":
        """Make a shop that ignores holds of other tests."""
        return cls(lake, folder, suffix, frozenset(each.name for each in lake.nessie.references("hold_set_")))

    @property
    def set_holds(self) -> list[str]:
        """Holds of training sets that were added since the shop began."""
        names = [each.name for each in self.lake.nessie.references("hold_set_")]
        return [name for name in names if name not in self.held_before]

    @property
    def table(self) -> TableName:
        """The gold table."""
        return TableName("gold", self.suffix)

    def model(self, name: str = "churn") -> str:
        """Name of a model."""
        return f"{name}_{self.suffix}"

    @property
    def mlflow(self) -> str:
        """Address of the shop's own registry."""
        return empty_registry(self.folder)

    def pipeline(self, amount: str = "amount", features: Mapping[str, str] = FEATURES, version: int = 1) -> str:
        """Write the pipeline, and return its path; `amount` is the SQL of gold's column, `version` that of the view."""
        script = self.folder / "learn.py"
        script.write_text(_SCRIPT)
        variant = zlib.crc32(f"{amount} {sorted(features)} {version}".encode())  # a module of its own for each
        path = self.folder / f"learning_{self.suffix}_{variant}.py"
        labels = str(self.folder / "labels.parquet")
        path.write_text(
            _PIPELINE.format(
                suffix=self.suffix,
                amount=amount,
                features=dict(features),
                labels=labels,
                script=str(script),
                version=version,
            )
        )
        return str(path)

    def publish(self, seed: int = 1, customers: int = CUSTOMERS) -> None:
        """Publish rows of each customer and day, write labels that mostly depend on them, and register the view."""
        drawn = random.Random(seed)
        rows, labels = [], []
        for customer in range(customers):
            for day in range(DAYS):
                amount, visits = drawn.uniform(0, 100), drawn.randrange(5)
                rows.append((customer, day, amount, visits))
                left = amount / (visits + 1) + drawn.gauss(0, 6) < 18
                labels.append((customer, START + timedelta(days=day, hours=6), left))
        found = pd.DataFrame(labels, columns=["customer_id", "event_timestamp", "left_us"])
        found.to_parquet(self.folder / "labels.parquet")
        write_rows(self.lake, declared(TableName("bronze", self.suffix), mode="append"), frame(self.lake, rows))
        self.backfill()

    def backfill(self, amount: str = "amount", features: Mapping[str, str] = FEATURES, version: int = 1) -> None:
        """Compute gold, and register the view at it."""
        path = self.pipeline(amount, features, version)
        window = ("--start", "2024-01-01", "--end", "2024-02-01")
        folder = str(self.lake.settings.project_dir)
        done = main(["backfill", "-p", path, *window, "--apply-features", "--dir", folder])
        assert done == 0

    def run(self, *arguments: Any) -> int:
        """Run one command, in this process."""
        where = ("--dir", str(self.lake.settings.project_dir), "--set", f"mlflow_tracking_uri={self.mlflow}")
        return main([*map(str, arguments), *where])
