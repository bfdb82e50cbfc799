"""What the demo's report shows beyond that of any pipeline: households, churn, and a correction before and after.

These sections belong to `asgard demo`, so they use what is internal to Asgard; a pipeline needs public names alone.
"""

from pathlib import Path

from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.local.demo.lookups import OnlineFacts
from asgard.report.features import FeatureFacts
from asgard.report.model_facts import ModelFacts
from asgard.report.models import metric_rows
from asgard.report.sections import Section, drawn, rendered
from examples.retail.report.corrections import shown_corrections
from examples.retail.report.plots import gold_plots, score_plot
from examples.retail.report.training_set import TrainingFact, training_fact

SOURCE = "The data are the Complete Journey study by 84.51°, for research and education."
"""What the page's foot says of the data."""
_HERE = Path(__file__).parent


def sections(
    lake: Lakehouse, at: str, features: FeatureFacts, training_set: Path, models: ModelFacts, online: OnlineFacts
) -> tuple[Section, ...]:
    """The sections.

    Args:
        lake: where the gold tables are.
        at: the commit that they are read at, `name@hash`.
        features: registered views.
        training_set: its file; without one there is no section of it.
        models: what the demo trained.
        online: what lookups gave before and after the corrections.
    """
    training = training_fact(training_set, [fact.view for fact in features.views])
    plots = gold_plots(lake, at)
    return (
        *([training_section(training)] if training else []),
        scores_section(models),
        corrections_section(online),
        *([Section("gold", "What gold says", rendered("gold.html.j2", _HERE, plots=drawn(plots)))] if plots else []),
    )


def training_section(training: TrainingFact) -> Section:
    """The training set: what was known at each label's time."""
    body = rendered("training_set.html.j2", _HERE, training=training, plots=drawn(training.plots))
    return Section("training", "The training set", body)


def scores_section(models: ModelFacts) -> Section:
    """The two models side by side, and what the better one predicts."""
    predictions = models.predictions
    body = rendered(
        "scores.html.j2",
        _HERE,
        tested=models.tested,
        metrics=metric_rows(models.tested),
        plots=drawn([score_plot(predictions)]),
        version=models.chosen.version,
        predictions=predictions.to_json(),
        as_of=predictions.as_of,
        key_columns=predictions.keys,
    )
    return Section("scores", "Who is at risk", body)


def corrections_section(online: OnlineFacts) -> Section:
    """Two households before and after a correction and a deletion."""
    body = rendered("corrections.html.j2", _HERE, online=shown_corrections(online))
    return Section("corrections", "A correction and a deletion", body)
