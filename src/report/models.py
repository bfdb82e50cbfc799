"""The report's section of models."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from asgard.features.views import lasting
from asgard.model.metrics import Metric
from asgard.report.model_facts import Evaluated, ModelFacts
from asgard.report.model_plots import model_plots

SHOWN: Mapping[Metric, str] = {
    Metric.ACCURACY: "Accuracy",
    Metric.F1: "F1",
    Metric.ROC_AUC: "ROC AUC",
    Metric.PR_AUC: "PR AUC",
    Metric.BRIER: "Brier score",
}
"""The metrics that are shown, of a binary model."""
LOWER_IS_BETTER = frozenset({Metric.BRIER})


def metric_rows(tested: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """The metrics as lines of a table: of each version, and of the first one's baseline."""
    lines = []
    for metric, title in SHOWN.items():
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


def shown_models(facts: ModelFacts) -> Mapping[str, Any]:
    """The section of the page."""
    version, binding = facts.chosen.version, facts.chosen.version.binding
    details, predictions = binding.details, facts.predictions
    plots = model_plots(facts)
    return {
        "version": version,
        "binding": binding,
        "registered": datetime.fromisoformat(version.created),
        "details": details,
        "outcome_after": lasting(facts.chosen.outcome_after),
        "test_from": facts.chosen.test_from,
        "left_out": facts.chosen.left_out,
        "params": {**details["params"], "seed": details["seed"]},
        "bounds": [
            *(f"{name} at least {bound:g}" for name, bound in binding.minimum.items()),
            *(f"{name} at most {bound:g}" for name, bound in binding.maximum.items()),
        ],
        "tested": facts.tested,
        "metrics": metric_rows(facts.tested),
        "plots": plots[:-1],
        "scores": plots[-1],
        "predictions": predictions.to_json(),
        "as_of": predictions.as_of,
        "keys": predictions.keys,
    }
