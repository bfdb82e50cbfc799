"""Sections that only the demo's report has: households, churn, and a correction before and after.

These sections belong to `asgard demo`, so they use internal parts of Asgard; a pipeline needs only public names.
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
"""Note about the data in the page's footer."""
_HERE = Path(__file__).parent


def sections(
    lake: Lakehouse, at: str, features: FeatureFacts, training_set: Path, models: ModelFacts, online: OnlineFacts
) -> tuple[Section, ...]:
    """Make the sections.

    Args:
        lake: the lakehouse with the gold tables.
        at: the commit at which they are read, `name@hash`.
        features: facts of the registered views.
        training_set: file of the training set; if it does not exist, its section is left out.
        models: facts of the models that the demo trained.
        online: results of lookups before and after the corrections.
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
    """Make the section of the training set: the features known at each label's time."""
    body = rendered("training_set.html.j2", _HERE, training=training, plots=drawn(training.plots))
    return Section("training", "The training set", body)


def scores_section(models: ModelFacts) -> Section:
    """Make the section that compares the two models, and shows the better one's predictions."""
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
    """Make the section of two households, before and after a correction and a deletion."""
    body = rendered("corrections.html.j2", _HERE, online=shown_corrections(online))
    return Section("corrections", "A correction and a deletion", body)
