"""The report's section about models, and what makes a training of the demo one that was done before."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from tests.support.pages import NASTY, Page

from asgard.common.git_utils import CodeVersion
from asgard.common.names import BranchName, CommitHash, SnapshotId, TableName
from asgard.lakehouse.catalog.snapshots import At
from asgard.local.demo.models import Origin
from asgard.model.lifecycle import Stage, Version
from asgard.model.metrics import Task, baseline, curves, evaluate
from asgard.model.versions import Binding, BoundView, ModelVersion
from asgard.report.facts import Facts
from asgard.report.model_facts import Evaluated, ModelFacts, Predictions
from asgard.report.model_plots import model_plots
from asgard.report.models import metric_rows
from asgard.report.page import render

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
SHA = "5f" * 32


def binding(**details: Any) -> Binding:
    view = BoundView(
        "money", 2, TableName("gold", "money"), SnapshotId(4561278), CommitHash("c0ffee"), "file:///m.json"
    )
    known = {
        "labels": {"source": "gold.labels", "snapshot_id": 998877},
        "params": {"leaves": 15},
        "seed": 7,
        "rows": 20_738,
        "train_rows": 15_000,
        "test_rows": 5_000,
        "test_from": "2024-02-01T00:00:00+00:00",
    }
    return Binding((view,), "c0de", True, {"roc_auc": 0.7}, {}, {**known, **details})


def an_evaluated(name: str, stage: Stage, seed: int) -> Evaluated:
    drawn = np.random.default_rng(seed)
    target = drawn.integers(0, 2, 400).astype(float)
    score = np.clip(target * 0.3 + drawn.random(400) * 0.7, 0, 1)
    version = ModelVersion(
        name, Version(1, 2, 3), "4", stage, "run123", "2024-04-30T10:00:00+00:00", NASTY, SHA, binding()
    )
    return Evaluated(
        version,
        {str(metric): value for metric, value in evaluate(Task.BINARY, target, score).items()},
        {str(metric): value for metric, value in baseline(Task.BINARY, target, target).items()},
        {"visits": 0.02, "spent": 0.01, "noise": -0.001},
        curves(target, score),
        timedelta(days=28),
    )


@pytest.fixture(scope="module")
def facts() -> ModelFacts:
    rows = pd.DataFrame(
        {
            "customer_id": range(1, 1001),
            "prediction": np.linspace(0.9, 0.1, 1000),
            "features_as_of": pd.Timestamp("2024-04-29", tz="UTC"),
            "scope": "all",
            "run_id": "run-of-predictions",
        }
    )
    published = Predictions(TableName("gold", "churn_predictions"), SnapshotId(31337), ("customer_id",), rows)
    return ModelFacts((an_evaluated("churn", Stage.PRODUCTION, 1), an_evaluated("linear", Stage.NONE, 2)), published)


def page_of(models: ModelFacts | None) -> str:
    nothing = Facts(At(BranchName("main"), CommitHash("abc")), (), (), (), True, {})
    return render(nothing, (), {}, NOW, None, models)


def test_it_says_what_the_facts_say(facts: ModelFacts) -> None:
    text = " ".join(Page(page_of(facts)).text.split())
    for expected in (
        "churn@1.2.3 Production",
        "30 April 2024, 10:00 UTC by",
        "15,000 labels whose outcome was known before 1 February 2024",
        "5,000 labels from that day on",
        "known 28 days after its day",
        "738 labels are in neither",
        "gold.labels at snapshot 998877",
        "money, version 2: gold.money at snapshot 4561278",
        "leaves 15, seed 7",
        "roc_auc at least 0.7",
        "c0de (with uncommitted changes)",
        SHA,
        "run123",
        f"ROC AUC {facts.tested[0].metrics['roc_auc']:.3f} {facts.tested[1].metrics['roc_auc']:.3f} 0.500",
        "1,000 by churn@1.2.3",
        "Mean 0.5000",
        "29 April 2024",
        "run-of-predictions",
        "1 0.9000 2 0.8992 3 0.8984 4 0.8976 5 0.8968",
    ):
        assert expected in text, expected


def test_the_section_needs_no_other_file_and_its_anchors_are_there_once(facts: ModelFacts) -> None:
    text = page_of(facts)
    page = Page(text)
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"url\((?!#)|@import|https?://", text)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert "<script>alert" not in text
    assert NASTY in page.text
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_without_models_there_is_no_section() -> None:
    assert 'id="model"' not in page_of(None)


def test_a_model_without_curves_has_its_importance_and_its_scores(facts: ModelFacts) -> None:
    blind = ModelFacts((replace(facts.chosen, curves=None),), facts.predictions)
    assert [plot.title for plot in model_plots(blind)] == ["Feature importance", "How the scores are spread"]
    assert "Feature importance" in Page(page_of(blind)).text


def test_pictures_take_their_colours_from_the_page(facts: ModelFacts) -> None:
    plots = model_plots(facts)
    assert len(plots) == 6
    for plot in plots:
        root = ElementTree.fromstring(plot.svg)  # noqa: S314 - our own
        assert root.get("aria-label")
        assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", plot.svg)) <= {
            "none",
            *(f"var(--{name})" for name in ("ink", "muted", "line", "first", "second")),
        }


def test_the_best_value_of_each_metric_is_marked(facts: ModelFacts) -> None:
    good = replace(facts.tested[0], metrics={"roc_auc": 0.9, "brier": 0.1, "f1": float("nan")})
    bad = replace(facts.tested[1], metrics={"roc_auc": 0.8, "brier": 0.2, "f1": 0.3})
    marked = {row["title"]: [each["is_best"] for each in row["values"]] for row in metric_rows((bad, good))}
    assert marked["ROC AUC"] == marked["Brier score"] == [False, True]
    assert marked["F1"] == [True, False]
    assert marked["Accuracy"] == [False, False]


def test_the_summaries_count_as_the_matrix_does(facts: ModelFacts) -> None:
    curves = facts.chosen.curves
    assert curves is not None
    (_, false_yes), (false_no, yes) = curves.confusion
    told = {plot.title: plot.summary for plot in model_plots(facts)}
    assert f"{yes:,} of {yes + false_yes:,} that it says" in told["Confusion matrix at 0.5"]
    assert f"{yes:,} of {yes + false_no:,} that churn" in told["Confusion matrix at 0.5"]
    assert "1 of 3 make it no worse" in told["Feature importance"]
    assert "500 at 0.5 or above" in told["How the scores are spread"]


def test_json_has_plain_values(facts: ModelFacts) -> None:
    found = json.loads(json.dumps(facts.to_json(), allow_nan=False))
    assert found["production"] == "churn@1.2.3"
    assert [each["left_out"] for each in found["versions"]] == [738, 738]
    assert found["predictions"]["top"][0] == {"customer_id": 1, "prediction": 0.9}


@pytest.mark.parametrize(
    "other",
    [
        binding(labels={"snapshot_id": 1}),
        binding(params={"leaves": 16}),
        binding(seed=8),
        binding(on_demand_code={"spend_ratio": "3.11:ff"}),
        replace(binding(), code_version="0ther"),
        replace(binding(), dirty=False),
        replace(binding(), views=(replace(binding().views[0], snapshot_id=SnapshotId(1)),)),
        replace(binding(), views=(replace(binding().views[0], version=3),)),
    ],
)
def test_a_training_is_another_one_if_anything_that_it_rests_on_differs(other: Binding) -> None:
    kept = Binding.from_json(json.loads(json.dumps(binding().to_json())))
    assert Origin.of(kept) == Origin.of(binding())
    assert Origin.of(binding()).code == CodeVersion("c0de", True)
    assert Origin.of(other) != Origin.of(binding())
