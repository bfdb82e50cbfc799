"""The report's section about models, and what makes a training of the demo one that was done before."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from tests.support.pages import NASTY, NOTHING, Page
from tests.support.tested_models import SHA, an_evaluated, binding

from asgard.common.errors import ServiceUnreachableError
from asgard.common.git_utils import CodeVersion
from asgard.common.names import SnapshotId, TableName
from asgard.common.settings import load_settings
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.local.demo.models import Origin
from asgard.model.declaration import Model, model
from asgard.model.lifecycle import Stage
from asgard.model.mlflow_access.pages import run_page, version_page
from asgard.model.versions import Binding
from asgard.report import model_facts
from asgard.report.model_facts import Evaluated, RegisteredModelFact, RegistryFacts, gather_models
from asgard.report.model_plots import model_plots
from asgard.report.models import metric_rows
from asgard.report.page import Report, render
from asgard.report.plots import Plot

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
MLFLOW = "http://mlflow.example:5000"


def declared(name: str) -> Model:
    return model(
        name,
        labels="gold.labels",
        target="churned",
        views=("money",),
        trainer=lambda data: data,
        test_from="2024-02-01",
        outcome_after="28d",
        description=f"Who leaves {NASTY}",
    )


@pytest.fixture(scope="module")
def tested() -> Evaluated:
    return an_evaluated("churn", Stage.PRODUCTION, 1)


@pytest.fixture(scope="module")
def facts(tested: Evaluated) -> RegistryFacts:
    other = an_evaluated("linear", Stage.NONE, 2)
    found = [
        RegisteredModelFact(
            declared(each.version.name),
            TableName("gold", f"{each.version.name}_predictions"),
            (each.version,),
            each,
            pages={str(each.version): version_page(MLFLOW, each.version.name, "4")},
            run_page=run_page(MLFLOW, "17", "run123"),
        )
        for each in (tested, other)
    ]
    return RegistryFacts((*found, RegisteredModelFact(declared("untrained"), TableName("gold", "u_predictions"))))


@pytest.fixture(scope="module")
def plots(tested: Evaluated) -> list[Plot]:
    return model_plots(tested)


@pytest.fixture(scope="module")
def page_text(facts: RegistryFacts) -> str:
    return page_of(facts)


def page_of(models: RegistryFacts) -> str:
    return render(Report(NOTHING, NOW, models=models))


def test_it_says_what_the_facts_say(page_text: str, tested: Evaluated) -> None:
    text = " ".join(Page(page_text).text.split())
    for expected in (
        "churn@1.2.3 Production 2024-04-30 10:00 Accuracy",
        "Learns churned of gold.labels from money; predicts into gold.churn_predictions",
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
        f"ROC AUC {tested.metrics['roc_auc']:.3f} 0.500",
        "untrained",
        "No version yet: asgard train registers one.",
    ):
        assert expected in text, expected


def test_the_section_needs_no_other_file_and_its_anchors_are_there_once(page_text: str) -> None:
    text = page_text
    page = Page(text)
    outside = {link for link in page.links if not link.startswith("#")}
    assert outside == {
        f"{MLFLOW}/#/models/churn/versions/4",
        f"{MLFLOW}/#/models/linear/versions/4",
        f"{MLFLOW}/#/experiments/17/runs/run123",
    }
    assert not re.search(r"url\((?!#)|@import|src=", text)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link not in outside} <= set(page.ids)
    assert "<script>alert" not in text
    assert f"Who leaves {NASTY}" in page.text
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_addresses_of_pages_have_no_login_and_no_file() -> None:
    assert version_page("https://ada:secret@mlflow.example/base/", "a/b", "1") == (
        "https://mlflow.example/base/#/models/a%2Fb/versions/1"
    )
    assert version_page("sqlite:///mlflow.db", "churn", "1") == ""


def test_without_models_it_says_so() -> None:
    assert "This pipeline declares no models." in Page(page_of(RegistryFacts())).text


def test_an_mlflow_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_settings: object) -> None:
        raise ServiceUnreachableError(f"MLflow is away {NASTY}", hint="")

    monkeypatch.setattr(model_facts.Registry, "of", refuse)
    shop = Pipeline("shop")
    assert gather_models(load_settings(), shop) == RegistryFacts()  # nothing is asked where nothing is declared
    shop.add(declared("churn"))
    found = gather_models(load_settings(), shop)
    text = " ".join(Page(page_of(found)).text.split())
    assert f"MLflow not read MLflow is away {NASTY}" in text
    assert "predicts into gold.churn_predictions" in text


def test_a_model_without_curves_has_its_importance(facts: RegistryFacts, tested: Evaluated) -> None:
    blind = replace(tested, curves=None)
    assert [plot.title for plot in model_plots(blind)] == ["Feature importance"]
    assert model_plots(replace(blind, importance={})) == []
    assert "Feature importance" in Page(page_of(RegistryFacts((replace(facts.models[0], tested=blind),)))).text


def test_a_version_that_was_registered_without_a_test_is_shown(facts: RegistryFacts, tested: Evaluated) -> None:
    bare = replace(tested.version, binding=Binding(code_version="c0de"))
    found = replace(facts.models[0], versions=(bare,), tested=Evaluated(bare, {"r2": 0.5, "rmse": 2.0}, {}, {}, None))
    text = " ".join(Page(page_of(RegistryFacts((found,)))).text.split())
    assert "RMSE less is better 2.000" in text
    assert "Without features" not in text
    assert "Trained on" not in text


def test_pictures_take_their_colours_from_the_page(plots: list[Plot]) -> None:
    assert len(plots) == 5
    for plot in plots:
        root = ElementTree.fromstring(plot.svg)  # noqa: S314 - our own
        assert root.get("aria-label")
        assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", plot.svg)) <= {
            "none",
            *(f"var(--{name})" for name in ("ink", "muted", "line", "first", "second")),
        }


def test_the_best_value_of_each_metric_is_marked(tested: Evaluated) -> None:
    good = replace(tested, metrics={"roc_auc": 0.9, "brier": 0.1, "f1": float("nan")})
    bad = replace(tested, metrics={"roc_auc": 0.8, "brier": 0.2, "f1": 0.3})
    marked = {row["title"]: [each["is_best"] for each in row["values"]] for row in metric_rows((bad, good))}
    assert marked["ROC AUC"] == marked["Brier score"] == [False, True]
    assert marked["F1"] == [True, False]
    assert marked["Accuracy"] == [False, False]
    assert "RMSE" not in marked


def test_the_summaries_count_as_the_matrix_does(plots: list[Plot], tested: Evaluated) -> None:
    assert tested.curves is not None
    (_, false_yes), (false_no, yes) = tested.curves.confusion
    told = {plot.title: plot.summary for plot in plots}
    assert f"{yes:,} of {yes + false_yes:,} predicted yes" in told["Confusion matrix at 0.5"]
    assert f"{yes:,} of {yes + false_no:,} that are yes" in told["Confusion matrix at 0.5"]
    assert "1 of 3 do not increase it" in told["Feature importance"]


def test_json_has_plain_values(tested: Evaluated) -> None:
    found = json.loads(json.dumps(tested.to_json(), allow_nan=False))
    assert (found["name"], found["stage"], found["left_out"]) == ("churn", "Production", 738)


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
