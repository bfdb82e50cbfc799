"""What a user declares about a model: its data, how it is trained, and how good it must be."""

import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common import arguments
from asgard.common.arguments import Shape, constructor, declares, optional
from asgard.common.errors import DeclarationError
from asgard.common.names import check_identifier
from asgard.features.aggregates import duration
from asgard.lakehouse.declaring.intervals import parse_moment
from asgard.model.artifacts.formats import Format
from asgard.model.artifacts.segments import UnknownSegment, Value
from asgard.model.metrics import Metric, Task
from asgard.model.splits import TimeSplit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TrainingData:
    """The input of a trainer.

    Attributes:
        features: one row per label, columns in the model's order; nulls are NaN.
        target: the value to learn, one per row.
        params: the declared parameters, overridden by those of the command line.
        seed: seed of all random draws.
        segment: the segment that the rows belong to; None for all rows.
    """

    features: "pd.DataFrame"
    target: "pd.Series[Any]"
    params: Mapping[str, Any]
    seed: int
    segment: Value | None = None


@dataclass(frozen=True)
class FitResult:
    """A trainer's result with details beside the model.

    Attributes:
        model: the fitted model.
        details: the trainer's own values by name, as JSON values, such as a drift or the best iteration: gates read
            them, and MLflow shows them.
    """

    model: Any
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)


Trainer = Callable[[TrainingData], Any]
"""Trains on data and returns the fitted model, or a `FitResult` with it.

The model is a scikit-learn, LightGBM, ONNX or TorchScript model, or an MLflow PythonModel.
"""


@constructor(
    "Script",
    path=Shape("a path", "Path('train.py')", Path),
    timeout=arguments.instance(timedelta, "a timedelta", "timedelta(hours=1)"),
    memory_mb=arguments.WHOLE,
)
@dataclass(frozen=True)
class Script:
    """A user's training script, run as a separate process.

    It is called as `python SCRIPT --data FILE --out FOLDER --params FILE --seed N`: the data are a Parquet file of the
    training rows (features in order, then the target), the parameters a JSON file. The script writes one model file to
    the folder: `model.txt` (LightGBM), `.skops`, `.pkl`, `.onnx` or `.pt`. It can also write `details.json`: its own
    values by name, like those of `FitResult`. The process is not a sandbox: it may do whatever its user may.

    Attributes:
        path: path of the script.
        timeout: time after which the script is killed.
        memory_mb: memory limit in MB; allocations beyond it fail.
    """

    path: Path
    timeout: timedelta = timedelta(hours=1)
    memory_mb: int = 4096


@dataclass(frozen=True)
class Model:
    """One model of a pipeline; `model(...)` makes it.

    Attributes:
        name: unique in its pipeline, and in the registry.
        labels: table or file with the entity, the time of each label and the target.
        target: column of the labels to learn.
        views: feature views, in the order of their columns.
        trainer: function or script that trains.
        split: rule that divides the labels into training and test.
        task: what kind of target it is.
        features: columns to learn from, in order; empty: all numeric and boolean columns of the views and the on-demand
            features over them.
        time: column with the labels' times.
        params: parameters for the trainer.
        seed: seed of all random draws.
        minimum, maximum: bounds of the test's metrics; a version outside them is not registered.
        format: file format of the model; None: chosen by the model's type.
        segment: column of the training set (a label column, an entity key or a feature); one model is trained for each
            of its values; None: one model for all rows.
        min_segment_rows: training labels that a segment needs to get its own model.
        unknown_segment: how rows of a segment without its own model are handled.
        owner, description, tags: information for people.
    """

    name: str
    labels: str
    target: str
    views: tuple[str, ...]
    trainer: "Trainer | Script" = field(hash=False)
    split: TimeSplit
    task: Task = Task.BINARY
    features: tuple[str, ...] = ()
    time: str = "event_timestamp"
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)
    seed: int = 7
    minimum: Mapping[Metric, float] = field(default_factory=dict, hash=False)
    maximum: Mapping[Metric, float] = field(default_factory=dict, hash=False)
    format: str | None = None
    segment: str | None = None
    min_segment_rows: int = 100
    unknown_segment: UnknownSegment = UnknownSegment.REFUSE
    owner: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()

    @property
    def table(self) -> None:
        """None: a model reads views, not a table."""
        return


def _trainer(value: Any) -> Any:
    return value if isinstance(value, Script | str | Path) else _TRAINS.take(value)


_TRAINS = arguments.function("a function, a Script, or a script's path", "a function of TrainingData")
_BOUNDS = arguments.values_by_name("{'auc': 0.7}", numbers.Real, "a mapping from metric to number")


@declares(
    "Model {name}",
    name=arguments.text("'churn'"),
    labels=arguments.text("'gold.churn_labels'", blank=False),
    target=arguments.text("'churned'", blank=False),
    views=arguments.names("('customer_metrics',)"),
    trainer=Shape(_TRAINS.words, _TRAINS.example, _trainer),
    test_from=optional(arguments.text("'2024-06-01'", blank=False)),
    test_share=optional(arguments.NUMBER),
    outcome_after=optional(arguments.text("'28d'", blank=False)),
    task=arguments.one_of(Task, "'binary'"),
    features=arguments.names("('total',)"),
    time=arguments.text("'event_timestamp'", blank=False),
    params=optional(arguments.values_by_name("{'depth': 4}")),
    seed=arguments.WHOLE,
    minimum=optional(_BOUNDS),
    maximum=optional(_BOUNDS),
    format=optional(arguments.text("'pickle'")),
    segment=optional(arguments.text("'department'", blank=False)),
    min_segment_rows=optional(arguments.WHOLE),
    unknown_segment=optional(arguments.one_of(UnknownSegment, "'refuse'")),
    owner=arguments.text("'data-team'"),
    description=arguments.text("'Who will not come back.'"),
    tags=arguments.names("('pii',)"),
)
def model(
    name: str,
    *,
    labels: str,
    target: str,
    views: Sequence[str],
    trainer: "Trainer | Script | str | Path",
    test_from: str | None = None,
    test_share: float | None = None,
    outcome_after: str | None = None,
    task: str = Task.BINARY,
    features: Sequence[str] = (),
    time: str = "event_timestamp",
    params: Mapping[str, Any] | None = None,
    seed: int = 7,
    minimum: Mapping[str, float] | None = None,
    maximum: Mapping[str, float] | None = None,
    format: str | None = None,
    segment: str | None = None,
    min_segment_rows: int | None = None,
    unknown_segment: str | None = None,
    owner: str = "",
    description: str = "",
    tags: Sequence[str] = (),
) -> Model:
    """Check a declaration and return the `Model`; arguments not explained here are explained there.

    Args:
        trainer: a function, a `Script`, or a script's path.
        test_from: labels from this moment on are the test; excludes test_share.
        test_share: about this share of the labels, the latest ones, is the test (default 0.25).
        outcome_after: how long after its time a label's outcome becomes known, such as `28d`. Training labels whose
            outcome was not yet known when the test begins are left out: a model trained then could not have used them.
        min_segment_rows: default 100.
        unknown_segment: `refuse` (default): every segment must have a model, and a row without a segment fails a
            prediction; `null`: such rows get no prediction; `whole`: one more model, trained on all rows, predicts
            them.

    Raises:
        DeclarationError: the declaration can't work; the message names the model and what to change.
    """

    def refuse(what: str, hint: str) -> DeclarationError:
        return DeclarationError(f"Model {name}: {what}", hint=hint)

    check_identifier(name, "name of a model")
    formats = tuple(each for each in Format if each is not Format.SEGMENTS)
    if format is not None and format not in formats:
        raise refuse(f"format is {format!r}.", f"Use one of {', '.join(formats)}.")
    if not views:
        raise refuse("it has no feature views.", "views=('customer_metrics',)")
    if test_from is not None and test_share is not None:
        raise refuse("it has both test_from and test_share.", "Keep one.")
    share = None if test_from is not None else (0.25 if test_share is None else test_share)
    if share is not None and not 0 < share < 1:
        raise refuse(f"test_share is {share}.", "It must be greater than 0 and less than 1.")
    if segment is None and (min_segment_rows is not None or unknown_segment is not None):
        raise refuse("it has no segment, but sets min_segment_rows or unknown_segment.", "segment='department'")
    least = 100 if min_segment_rows is None else min_segment_rows
    if least < 1:
        raise refuse(f"min_segment_rows is {least}.", "It must be 1 or more.")
    made = isinstance(trainer, str | Path)
    fitted = Model(
        name=name,
        labels=labels,
        target=target,
        views=tuple(views),
        trainer=Script(Path(trainer)) if made else trainer,  # type: ignore[arg-type]
        split=TimeSplit(
            parse_moment(test_from) if test_from else None,
            share,
            duration(outcome_after) if outcome_after else timedelta(),
        ),
        task=Task(task),
        features=tuple(features),
        time=time,
        params=dict(params or {}),
        seed=seed,
        minimum=_bounds(name, Task(task), minimum),
        maximum=_bounds(name, Task(task), maximum),
        format=format,
        segment=segment,
        min_segment_rows=least,
        unknown_segment=UnknownSegment(unknown_segment or UnknownSegment.REFUSE),
        owner=owner,
        description=description,
        tags=tuple(tags),
    )
    if target in fitted.features:
        raise refuse(f"its target {target} is one of its features.", "Take it out of features.")
    if segment in (target, time):
        raise refuse(f"its segment {segment} is its target, or the labels' time.", "Name a column that groups rows.")
    if segment in fitted.features:
        raise refuse(
            f"its segment {segment} is one of its features, but is constant within a segment.",
            "Take it out of features.",
        )
    return fitted


def _bounds(name: str, task: Task, bounds: Mapping[str, float] | None) -> dict[Metric, float]:
    allowed = Metric.of(task)
    unknown = [each for each in bounds or {} if each not in allowed]
    if unknown:
        raise DeclarationError(
            f"Model {name}: {', '.join(map(repr, unknown))} is not a metric of a {task} model.",
            hint=f"Use {', '.join(allowed)}.",
        )
    return {Metric(each): float(bound) for each, bound in (bounds or {}).items()}
