"""The report's plots of a model's test: the plots of its training in the page's colours, with a sentence each."""

from asgard.model.metrics import Metric
from asgard.model.training.plots import Colours, Picture, pictures
from asgard.report.model_facts import Evaluated
from asgard.report.plots import FIRST, MUTED, SECOND, Plot, svg_of

_COLOURS = Colours(FIRST, SECOND, MUTED)


def model_plots(tested: Evaluated) -> list[Plot]:
    """The available plots of a version's test; feature importance comes first."""
    summaries = _summaries(tested)
    drawn = [each for each in pictures(tested.curves, tested.importance) if each.name in summaries]
    drawn.sort(key=lambda picture: picture.name != "importance")
    return [_plot(picture, summaries[picture.name], tested.version.name) for picture in drawn]


def _plot(picture: Picture, summary: str, model: str) -> Plot:
    svg = svg_of(lambda axes: picture.draw(axes, _COLOURS), f"{picture.title} of the model {model}")
    return Plot(picture.title, svg, summary)


def _summaries(tested: Evaluated) -> dict[str, str]:
    """A sentence about each plot, by the plot's name."""
    summaries = {}
    if tested.importance:
        first = next(iter(tested.importance))
        useless = sum(value <= 0 for value in tested.importance.values())
        summaries["importance"] = (
            f"How much the loss on the test grows when one feature's values are shuffled. {first} matters most; "
            f"{useless} of {len(tested.importance)} do not increase it."
        )
    if tested.curves is None:
        return summaries
    (no, false_yes), (false_no, yes) = tested.curves.confusion
    share = (false_no + yes) / max(1, no + false_yes + false_no + yes)
    metrics, nothing = tested.metrics, float("nan")
    return summaries | {
        "roc": f"Comparing a label that is yes with one that is no, the first has the higher score in "
        f"{metrics.get(Metric.ROC_AUC, nothing):.1%} of all pairs. The dotted line is guessing.",
        "pr": f"Average precision {metrics.get(Metric.PR_AUC, nothing):.3f}; the dotted line is the share of labels "
        f"that are yes, {share:.1%}, which a random list would get.",
        "calibration": f"On the dotted line, the predicted probability equals the true share; larger points are more "
        f"labels. Brier score {metrics.get(Metric.BRIER, nothing):.3f}, and "
        f"{tested.baseline.get(Metric.BRIER, nothing):.3f} without features.",
        "confusion": f"Labels of the test. {_of(yes, yes + false_yes)} predicted yes are yes; the model finds "
        f"{_of(yes, yes + false_no)} that are yes. Another threshold trades one for the other.",
    }


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"
