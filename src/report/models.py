"""The report's section of models."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from asgard.features.views import lasting
from asgard.model.metrics import Metric
from asgard.report.model_facts import Evaluated, RegisteredModelFact, RegistryFacts
from asgard.report.model_plots import model_plots
from asgard.report.plots import can_draw
from asgard.report.sections import drawn

SHOWN: Mapping[Metric, str] = {
    Metric.ACCURACY: "Accuracy",
    Metric.F1: "F1",
    Metric.ROC_AUC: "ROC AUC",
    Metric.PR_AUC: "PR AUC",
    Metric.BRIER: "Brier score",
    Metric.RMSE: "RMSE",
    Metric.MAE: "Mean absolute error",
    Metric.R2: "R²",
}
"""The metrics that are shown if a model has them."""
LOWER_IS_BETTER = frozenset({Metric.BRIER, Metric.RMSE, Metric.MAE})
_DRAWN, _LISTED = 4, 10


def metric_rows(tested: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """The metrics as rows of a table: of each version, and of the first version's baseline."""
    lines = []
    for metric, title in SHOWN.items():
        if not any(metric in measured for each in tested for measured in (each.metrics, each.baseline)):
            continue
        values = [each.metrics.get(metric, float("nan")) for each in tested]
        known = [value for value in values if not math.isnan(value)]
        best = (min if metric in LOWER_IS_BETTER else max)(known, default=None)
        lines.append(
            {
                "title": title,
                "note": "less is better" if metric in LOWER_IS_BETTER else "",
                "values": [{"value": f"{value:.3f}", "is_best": value == best} for value in values],
                "baseline": f"{tested[0].baseline.get(metric, float('nan')):.3f}",
            }
        )
    return lines


def shown_models(facts: RegistryFacts) -> Mapping[str, Any]:
    """The section of the page, with plots of the first few models."""
    can = can_draw()
    with_pictures = [each.name for each in facts.models if each.tested is not None][: _DRAWN if can else 0]
    return {
        "remark": facts.remark,
        "models": [_model(each, is_drawn=each.name in with_pictures) for each in facts.models],
        "undrawn": "" if can else "Plots of the tests need matplotlib, which is not installed here.",
    }


def _model(fact: RegisteredModelFact, *, is_drawn: bool) -> Mapping[str, Any]:
    declared, tested = fact.declared, fact.tested
    return {
        "name": fact.name,
        "declared": declared,
        "predictions": fact.predictions,
        "remark": fact.remark,
        "versions": [_version(each, fact) for each in fact.versions[:_LISTED]],
        "older": max(0, len(fact.versions) - _LISTED),
        "tested": tested.version if tested else None,
        "run_page": fact.run_page,
        "facts": _facts(tested) if tested else {},
        "metrics": metric_rows([tested]) if tested else [],
        "has_baseline": bool(tested and tested.baseline),
        "plots": drawn(model_plots(tested)) if tested and is_drawn else [],
    }


def _version(version: Any, fact: RegisteredModelFact) -> Mapping[str, Any]:
    return {
        "version": version,
        "page": fact.pages.get(str(version), ""),
        "created": version.created,
        "metrics": ", ".join(
            f"{title} {version.metrics[metric]:.3f}" for metric, title in SHOWN.items() if metric in version.metrics
        ),
    }


def _facts(tested: Evaluated) -> Mapping[str, str]:
    """What a version was made from, in words, as far as its registration records it."""
    version, binding = tested.version, tested.version.binding
    details, outcome = binding.details, lasting(tested.outcome_after)
    labels = details.get("labels", {})
    snapshot = f" at snapshot {labels['snapshot_id']}" if labels.get("snapshot_id") else ""
    known: dict[str, str] = {
        "Registered": f"{datetime.fromisoformat(version.created):%-d %B %Y, %H:%M} UTC by {version.created_by}",
    }
    if "test_from" in details:
        day = f"{tested.test_from:%-d %B %Y}"
        left_out = f"{tested.left_out:,} labels are in neither." if tested.left_out else "No label was left out."
        known |= {
            "Trained on": f"{details['train_rows']:,} labels whose outcome was known before {day}",
            "Tested on": f"{details['test_rows']:,} labels from that day on",
            "Split by time": f"A label's outcome is known {outcome} after its day, and only labels whose outcome was "
            f"known when the test begins are for training. {left_out}",
        }
    params = {**details.get("params", {}), **({"seed": details["seed"]} if "seed" in details else {})}
    bounds = [
        *(f"{name} at least {bound:g}" for name, bound in binding.minimum.items()),
        *(f"{name} at most {bound:g}" for name, bound in binding.maximum.items()),
    ]
    return known | {
        name: text
        for name, text in {
            "Labels": f"{labels['source']}{snapshot}" if labels else "",
            "Feature views": "; ".join(
                f"{each.view}, version {each.version}: {each.table} at snapshot {each.snapshot_id}"
                for each in binding.views
            ),
            "Parameters": ", ".join(f"{name} {value}" for name, value in params.items()),
            "Registered only with": ", ".join(bounds),
            "Code": f"{binding.code_version}{' (with uncommitted changes)' if binding.dirty else ''}",
            "SHA-256": version.sha256,
        }.items()
        if text
    }
