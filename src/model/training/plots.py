"""Plots of a model's test: ROC and precision-recall curve, calibration, confusion matrix, importance.

Each function draws into the given axes: the training job makes PNG files of them for MLflow, the report makes
pictures in its own colours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asgard.model.metrics import Curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES = (4.9, 3.6)
_FEATURES = 12


@dataclass(frozen=True)
class Colours:
    """The colours of the plots."""

    first: str = "#1b6ca8"
    second: str = "#c8553d"
    muted: str = "#8a8f98"


@dataclass(frozen=True)
class Picture:
    """One plot: its file name, its title, and the function that draws it."""

    name: str
    title: str
    draw: "Callable[[Axes, Colours], None]"


def pictures(curves: Curves | None, importance: Mapping[str, float]) -> list[Picture]:
    """The plots of a test; only a binary model has curves."""
    pictures_of_test = [
        Picture("importance", "Feature importance", lambda axes, colours: _importance(axes, colours, importance))
    ]
    if curves is None:
        return pictures_of_test
    return [
        Picture("roc", "ROC curve", lambda axes, colours: _roc(axes, colours, curves)),
        Picture("pr", "Precision and recall", lambda axes, colours: _pr(axes, colours, curves)),
        Picture("calibration", "Calibration", lambda axes, colours: _calibration(axes, colours, curves)),
        Picture("confusion", "Confusion matrix at 0.5", lambda axes, colours: _confusion(axes, colours, curves)),
        *pictures_of_test,
    ]


def draw(curves: Curves | None, importance: Mapping[str, float], folder: Path) -> list[Path]:
    """Write the plots as PNG files and return their paths."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for picture in pictures(curves, importance):
        figure = Figure(figsize=_INCHES, dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        picture.draw(axes, Colours())
        axes.set_title(picture.title, loc="left", fontsize=10)
        paths.append(folder / f"{picture.name}.png")
        figure.savefig(paths[-1])
    return paths


def _roc(axes: "Axes", colours: Colours, curves: Curves) -> None:
    axes.plot([0, 1], [0, 1], color=colours.muted, linestyle=":", linewidth=1)
    axes.plot(*curves.roc, color=colours.first, linewidth=1.8)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.02))


def _pr(axes: "Axes", colours: Colours, curves: Curves) -> None:
    (no, false_yes), (false_no, yes) = curves.confusion
    share = (false_no + yes) / max(1, no + false_yes + false_no + yes)
    axes.axhline(share, color=colours.muted, linestyle=":", linewidth=1)
    axes.plot(*curves.pr, color=colours.first, linewidth=1.8)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))


def _calibration(axes: "Axes", colours: Colours, curves: Curves) -> None:
    given, true, rows = curves.calibration
    most = max(rows, default=1)
    axes.plot([0, 1], [0, 1], color=colours.muted, linestyle=":", linewidth=1)
    axes.plot(given, true, color=colours.first, linewidth=1.4)
    axes.scatter(given, true, s=[12 + 90 * count / most for count in rows], color=colours.first, zorder=3)
    axes.set(xlabel="predicted probability", ylabel="share that was true", xlim=(0, 1), ylim=(0, 1.02))


def _confusion(axes: "Axes", colours: Colours, curves: Curves) -> None:
    most = max(1, max(max(row) for row in curves.confusion))
    for row, counts in enumerate(curves.confusion):
        for column, count in enumerate(counts):
            colour = colours.first if row == column else colours.second
            axes.barh(1 - row, 0.96, left=column - 0.48, height=0.94, color=colour, alpha=0.12 + 0.6 * count / most)
            axes.text(column, 1 - row, f"{count:,}", ha="center", va="center")
    axes.set(xticks=[0, 1], yticks=[1, 0], xlabel="predicted class", ylabel="true class", xlim=(-0.5, 1.5))
    axes.set_xticklabels(["no", "yes"])
    axes.set_yticklabels(["no", "yes"])
    axes.grid(visible=False)


def _importance(axes: "Axes", colours: Colours, importance: Mapping[str, float]) -> None:
    chosen = sorted(importance.items(), key=lambda pair: pair[1])[-_FEATURES:]
    names, values = [name for name, _ in chosen], [value for _, value in chosen]
    axes.barh(names, values, color=[colours.first if value >= 0 else colours.second for value in values], height=0.7)
    axes.set(xlabel="growth of the test's loss when the feature is shuffled")
    axes.locator_params(axis="x", nbins=4)
    axes.grid(visible=False, axis="y")
