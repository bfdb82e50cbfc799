"""What a user declares of a model: what it learns from, how it is trained, and how good it must be."""

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
    """What a trainer is given.

    Attributes:
        features: one row per label, columns in the model's order; nulls are NaN.
        target: what is to be learned, by row.
        params: the declared ones, and what the command line says beside them.
        seed: for everything that is drawn.
        segment: the one whose rows these are; None for all rows.
    """

    features: "pd.DataFrame"
    target: "pd.Series[Any]"
    params: Mapping[str, Any]
    seed: int
    segment: Value | None = None


@dataclass(frozen=True)
class FitResult:
    """What a trainer gives that has more to tell than its model.

    Attributes:
        model: the fitted model.
        details: values of its own by name, as JSON can say them, such as a drift or the best iteration: gates read
            them, and MLflow shows them.
    """

    model: Any
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)


Trainer = Callable[[TrainingData], Any]
"""Trains on data and gives the fitted model, or a `FitResult` with it.

The model is one of scikit-learn, LightGBM, ONNX or TorchScript, or an MLflow PythonModel.
"""


@constructor(
    "Script",
    path=Shape("a path", "Path('train.py')", Path),
    timeout=arguments.instance(timedelta, "a timedelta", "timedelta(hours=1)"),
    memory_mb=arguments.WHOLE,
)
@dataclass(frozen=True)
class Script:
    """A training script of the user's, run as a process of its own.

    It is called as `python SCRIPT --data FILE --out FOLDER --params FILE --seed N`: the data are a Parquet file of the
    training rows (features in order, then the target), the parameters a JSON file, and it leaves one model file in
    the folder: `model.txt` (LightGBM), `.skops`, `.pkl`, `.onnx` or `.pt`. Beside it may lie `details.json`: values of
    its own by name, as those of `FitResult`. It is no sandbox: it may do whatever its user may.

    Attributes:
        path: of the script.
        timeout: after which it is killed.
        memory_mb: that it may have; beyond it allocations fail.
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
        target: column of the labels that is learned.
        views: feature views, in the order of their columns.
        trainer: function or script that trains.
        split: which labels are for training and which for the test.
        task: what kind of target it is.
        features: columns to learn from, in order; empty: all numeric and boolean ones of the views and the on-demand
            features over them.
        time: column with the labels' times.
        params: for the trainer.
        seed: for everything that is drawn.
        minimum, maximum: of the test's metrics, without which no version is registered.
        format: how the model is kept; None: as its type suggests.
        segment: column of the training set (of the labels, an entity key or a feature) for each of whose values a model
            of its own is trained; None: one model.
        min_segment_rows: labels for training that a segment's own model takes.
        unknown_segment: what becomes of rows of a segment without a model of its own.
        owner, description, tags: for people.
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
        """None: it reads views, no table."""
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
    """Check a declaration and make the `Model` of it; see there for what is not explained here.

    Args:
        trainer: a function, a `Script`, or a script's path.
        test_from: labels from this moment on are the test; or
        test_share: the latest labels are the test, about this share of them (default 0.25).
        outcome_after: how long after its time a label's outcome becomes known, such as `28d`. Training labels whose
            outcome was not known yet when the test begins are left out: a model trained then could not have had them.
        min_segment_rows: default 100.
        unknown_segment: `refuse` (default): every segment has to have a model, and a row of no segment ends a
            prediction; `null`: such rows have no prediction; `whole`: one more model, of all rows, predicts them.

    Raises:
        DeclarationError: it can't work; the message names the model and what to change.
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
        raise refuse(f"test_share is {share}.", "It lies between 0 and 1.")
    if segment is None and (min_segment_rows is not None or unknown_segment is not None):
        raise refuse("it has no segment, but says what holds for segments.", "segment='department'")
    least = 100 if min_segment_rows is None else min_segment_rows
    if least < 1:
        raise refuse(f"min_segment_rows is {least}.", "It is 1 or more.")
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
            f"its segment {segment} is one of its features, and is always the same in a segment.",
            "Take it out of features.",
        )
    return fitted


def _bounds(name: str, task: Task, bounds: Mapping[str, float] | None) -> dict[Metric, float]:
    allowed = Metric.of(task)
    unknown = [each for each in bounds or {} if each not in allowed]
    if unknown:
        raise DeclarationError(
            f"Model {name}: {', '.join(map(repr, unknown))} is no metric of a {task} model.",
            hint=f"Use {', '.join(allowed)}.",
        )
    return {Metric(each): float(bound) for each, bound in (bounds or {}).items()}
