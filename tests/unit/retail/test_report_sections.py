"""The demo's own sections of the report: its training set, its gold tables, and the scores of its model."""

import json
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from tests.support.pages import NASTY, Page, page_of_sections
from tests.support.tested_models import an_evaluated

from asgard.common.names import SnapshotId, TableName
from asgard.features.views import Feature, FeatureView, feature_view
from asgard.model.lifecycle import Stage
from asgard.report.model_facts import ModelFacts, Predictions
from asgard.report.plots import Plot
from examples.retail.report import scores_section, training_section
from examples.retail.report.plots import customer_plots, department_plots, score_plot, training_plots
from examples.retail.report.training_set import TrainingFact, sample_of


@pytest.fixture(scope="module")
def plots() -> list[Plot]:
    weeks = pd.date_range("2024-01-01", periods=8, freq="7D", tz="UTC")
    rows = pd.DataFrame(
        [
            {
                "event_timestamp": week,
                "customer_lifetime_value": float(10 * customer * (place + 1)),
                "purchase_frequency": customer / 3,
                "churned": customer % 4 == 0,
            }
            for place, week in enumerate(weeks)
            for customer in range(1, 40)
        ]
    )
    sales = pd.DataFrame({"department": ["GROCERY", "DELI", None], "revenue": [300.0, 100.0, 5.0]})
    return [*customer_plots(rows), *department_plots(sales.dropna())]


def view_of(name: str, *features: str, **properties: Any) -> FeatureView:
    declared = [Feature(each, "double") for each in features]
    return feature_view(name, table=f"gold.{name}", keys=("customer_id",), features=declared, **properties)


@pytest.fixture(scope="module")
def training_rows() -> pd.DataFrame:
    """Customer 7's labels are all alike, customer 1,234's are not; most_missing is missing for half of them."""
    months = pd.date_range("2024-01-01", periods=4, freq="MS", tz="UTC")
    return pd.DataFrame(
        [
            {
                "customer_id": customer,
                "event_timestamp": month,
                "churned": customer == 1234 and place % 2 == 0,
                "spent": 1000.5 * place,
                "visits": float(place),
                "rest": 1.0,
                "most_missing": None if place % 2 else 0.25,
            }
            for customer in (7, 1234)
            for place, month in enumerate(months)
        ]
    )


@pytest.fixture(scope="module")
def training(training_rows: pd.DataFrame) -> TrainingFact:
    views = (view_of("money", "spent", "visits", "rest"),)
    names = ["spent", "visits", "rest", "most_missing"]
    columns, rows = sample_of(training_rows, ["customer_id"], "event_timestamp", views, names)
    manifest = {
        "rows": 20738,
        "labels": {"source": "gold.labels", "snapshot_id": 4561278, "time_column": "event_timestamp"},
        "without_features": {"money": 30},
        "on_demand": ["most_missing"],
        "engine": {"used": "duckdb", "why": f"few rows {NASTY}"},
        "seconds": 8.288,
        "digest": "38504f0fe825",
        "holds": ["hold_set_1_0"],
    }
    plots = training_plots(training_rows, "event_timestamp", names)
    return TrainingFact("set.parquet", manifest, tuple(columns), tuple(rows), tuple(plots))


@pytest.fixture(scope="module")
def models() -> ModelFacts:
    rows = pd.DataFrame(
        {
            "customer_id": range(1, 1001),
            "prediction": np.linspace(0.9, 0.1, 1000),
            "features_as_of": pd.Timestamp("2024-04-29", tz="UTC"),
            "coverage": "all",
            "challenger": None,
            "run_id": "run-of-predictions",
        }
    )
    published = Predictions(TableName("gold", "churn_predictions"), SnapshotId(31337), ("customer_id",), rows)
    return ModelFacts((an_evaluated("churn", Stage.PRODUCTION, 1), an_evaluated("linear", Stage.NONE, 2)), published)


def text_of(section: Any) -> str:
    page = Page(page_of_sections(section))
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    return " ".join(page.text.split())


def test_the_training_set_is_what_its_manifest_says(training: TrainingFact) -> None:
    text = text_of(training_section(training))
    for expected in (
        "20,738 of gold.labels at snapshot 4561278",
        "0 of 20,738 rows",
        "30 for money",
        "duckdb in 8.29 s: few rows",
        "38504f0fe825",
        "hold_set_1_0",
        "customer_id event_timestamp churned spent visits most_missing 1234 2024-01-01 True 0 0 0.25",
        "1234 2024-02-01 False 1,000.5 1 null",
        "25.0 % of 8 labels churned; 0.0 % to 50.0 % by month.",
        "most_missing is null for 50.0 % of labels",
        f"few rows {NASTY}",
    ):
        assert expected in text, expected


def test_a_training_set_without_labels_has_no_pictures(training_rows: pd.DataFrame) -> None:
    empty = training_rows.head(0)
    assert training_plots(empty, "event_timestamp", ["spent"]) == []
    assert sample_of(empty, ["customer_id"], "event_timestamp", [], ["spent"])[1] == []


def test_scores_stand_beside_the_test_of_both_models(models: ModelFacts) -> None:
    text = text_of(scores_section(models))
    for expected in (
        f"ROC AUC {models.tested[0].metrics['roc_auc']:.3f} {models.tested[1].metrics['roc_auc']:.3f} 0.500",
        "1,000 by churn@1.2.3",
        "Mean 0.5000",
        "29 April 2024",
        "run-of-predictions",
        "1 0.9000 2 0.8992 3 0.8984 4 0.8976 5 0.8968",
        "500 at 0.5 or above",
    ):
        assert expected in text, expected


def test_pictures_have_a_name_and_take_their_colours_from_the_page(
    plots: list[Plot], training: TrainingFact, models: ModelFacts
) -> None:
    for plot in (*plots, *training.plots, score_plot(models.predictions)):
        root = ElementTree.fromstring(plot.svg)  # noqa: S314 - our own
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", plot.svg)) <= {
            "none",
            *(f"var(--{name})" for name in ("ink", "muted", "line", "first", "second")),
        }
        assert "<style" not in plot.svg


def test_no_rows_no_plots() -> None:
    columns = ["event_timestamp", "customer_lifetime_value", "purchase_frequency", "churned"]
    assert customer_plots(pd.DataFrame(columns=columns)) == []
    assert department_plots(pd.DataFrame(columns=["department", "revenue"])) == []


def test_json_of_the_models_has_plain_values(models: ModelFacts) -> None:
    found = json.loads(json.dumps(models.to_json(), allow_nan=False))
    assert found["production"] == "churn@1.2.3"
    assert [each["left_out"] for each in found["versions"]] == [738, 738]
    assert found["predictions"]["top"][0] == {"customer_id": 1, "prediction": 0.9}
