"""The report's plots of a model: its test, and the scores that it published."""

from typing import TYPE_CHECKING

from asgard.model.batch.table import SCORE
from asgard.model.metrics import THRESHOLD, Metric
from asgard.model.training.plots import Colours, Picture, pictures
from asgard.report.model_facts import Evaluated, ModelFacts, Predictions
from asgard.report.plots import FIRST, MUTED, SECOND, Plot, svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = Colours(FIRST, SECOND, MUTED)


def model_plots(facts: ModelFacts) -> list[Plot]:
    """Of the chosen version's test, and last of its predictions."""
    chosen, told = facts.chosen, _summaries(facts.chosen)
    drawn = [_plot(picture, told[picture.name]) for picture in pictures(chosen.curves, chosen.importance)]
    return [*drawn, _scores(facts.predictions)]


def _plot(picture: Picture, summary: str) -> Plot:
    return Plot(
        picture.title, svg_of(lambda axes: picture.draw(axes, _COLOURS), f"{picture.title} of the model"), summary
    )


def _summaries(tested: Evaluated) -> dict[str, str]:
    """What there is to see, by the picture's name."""
    first = next(iter(tested.importance.items()), None)
    useless = sum(value <= 0 for value in tested.importance.values())
    told = {
        "importance": f"How much the Brier score of the test grows when one feature's values are shuffled. {first[0]} "
        f"matters most; {useless} of {len(tested.importance)} make it no worse."
        if first
        else "It has no feature."
    }
    if tested.curves is None:
        return told
    (no, false_yes), (false_no, yes) = tested.curves.confusion
    share = (false_no + yes) / (no + false_yes + false_no + yes)
    metrics = tested.metrics
    return told | {
        "roc": f"Of a household that churned and one that did not, the first has the higher score in "
        f"{metrics[Metric.ROC_AUC]:.1%} of all pairs. The dotted line is a guess.",
        "pr": f"Average precision {metrics[Metric.PR_AUC]:.3f}; the dotted line is the share that churned, "
        f"{share:.1%}, which a list drawn by lot gets.",
        "calibration": f"On the dotted line a probability means what it says; the larger a point, the more labels. "
        f"Brier score {metrics[Metric.BRIER]:.3f}, and {tested.baseline[Metric.BRIER]:.3f} without features.",
        "confusion": f"Labels of the test. {_of(yes, yes + false_yes)} that it says will churn do; it finds "
        f"{_of(yes, yes + false_no)} that churn. Another threshold trades one for the other.",
    }


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"


def _scores(predictions: Predictions) -> Plot:
    scores = predictions.rows[SCORE]
    middle, above = float(scores.median()), int((scores >= THRESHOLD).sum())

    def draw(axes: "Axes") -> None:
        axes.hist(scores, bins=40, range=(0, 1), color=FIRST)
        axes.axvline(THRESHOLD, color=MUTED, linewidth=1, linestyle=":")
        axes.axvline(predictions.mean, color=SECOND, linewidth=1.5)
        axes.annotate(
            f"mean {predictions.mean:.2f}",
            (predictions.mean, axes.get_ylim()[1]),
            (5, -9),
            textcoords="offset points",
            color=SECOND,
        )
        axes.set(xlabel="probability to churn", ylabel="households", xlim=(0, 1))

    return Plot(
        "How the scores are spread",
        svg_of(draw, "Histogram of the scores"),
        f"{len(scores):,} households as of {predictions.as_of:%-d %B %Y}: half of them below {middle:.2f}, "
        f"{above:,} at {THRESHOLD:g} or above.",
    )
