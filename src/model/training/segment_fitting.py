"""Train a declared model once per segment, and test each on its own part of the test."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.aliases import Say
from asgard.common.errors import AsgardError, UsageError
from asgard.model.artifacts.artifact import hash_of
from asgard.model.artifacts.formats import Format
from asgard.model.artifacts.segments import MOST, ModelFile, Segment, Segments, UnknownSegment, Value, file_of, grouped
from asgard.model.declaration import Model, TrainingData
from asgard.model.metrics import Metric, Task, baseline, evaluate
from asgard.model.splits import Split
from asgard.model.training.examples import Examples
from asgard.model.training.outcome import TrainerOutput, fitting_together
from asgard.model.training.scripts import LOG

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Train = Callable[[TrainingData, Path], TrainerOutput]
"""Runs the declared trainer on the given rows, in its own folder."""
_SHOWN = 5
WHOLE_DETAILS = "all rows"
"""The name for the details of the model of all rows; a segment of the same name is written in quotes."""


def fit_segments(
    model: Model,
    examples: Examples,
    split: Split,
    params: Mapping[str, Any],
    seed: int,
    train: Train,
    folder: Path,
    say: Say,
) -> tuple[Segments, dict[str, bytes], TrainerOutput]:
    """Train a model for each segment that has enough rows, and one on all rows if that was declared.

    Args:
        model: the declared model.
        examples: all examples, with their segments.
        split: which of them are for training.
        params: parameters for the trainer.
        seed: seed of all random draws.
        train: runs the trainer.
        folder: folder of this training.
        say: called with one line about each step.

    Returns:
        The segments, without metrics; the files of their models by path; and the combined output of all of them, with
        details by segment.

    Raises:
        UsageError: there are too many segments, some can't have a model although all must, or none can.
        RunError: the trainer failed; the details name the segment.
    """
    column, kind = _column_of(examples)
    every = dict(grouped(_values(examples)))
    without = every.pop(None, ())
    groups = {value: rows[split.train[rows]] for value, rows in every.items()}
    if len(groups) > MOST:
        raise UsageError(
            f"{column} has {len(groups):,} different values; model {model.name} may have at most {MOST:,} segments.",
            hint="Name a column with fewer values.",
        )
    reasons = {value: _why_none(model, examples, rows) for value, rows in groups.items()}
    lacking = {value: why for value, why in reasons.items() if why}
    if len(lacking) == len(groups) and model.unknown_segment is not UnknownSegment.WHOLE:
        raise UsageError(f"No segment of model {model.name} has enough labels to train on.", hint=_hint(model))
    if len(without):
        lacking |= {None: f"{len(without):,} labels have no {column}"}
    if lacking:
        _tell(model, lacking, len(groups), say)
    files: dict[str, bytes] = {}
    outcomes: dict[str, TrainerOutput] = {}

    def kept(place: int | None, value: Value | None, rows: "Array") -> ModelFile:
        where = folder / "segments" / ("whole" if place is None else str(place))
        where.mkdir(parents=True)
        try:
            outcome = train(_data(model, examples, rows, params, seed, value), where)
        except AsgardError as error:
            what = f"of {column} {value!r}" if value is not None else "of all rows"
            raise type(error)(
                error.message, hint=error.hint, details=(f"it was the model {what}", *error.details)
            ) from error
        finally:
            _keep_log(where / LOG, folder / LOG, f"== {column}: {value if value is not None else 'all rows'}")
            shutil.rmtree(where)
        path = file_of(place, outcome.format)
        files[path], outcomes[_details_name(value)] = outcome.content, outcome
        return ModelFile(path, outcome.format, hash_of(outcome.content))

    whole = None
    if model.unknown_segment is UnknownSegment.WHOLE:
        rows = split.train.nonzero()[0]
        whole = Segment(None, len(rows), kept(None, None, rows))
    segments = tuple(
        Segment(value, len(rows), None if reasons[value] else kept(place, value, rows), reasons[value])
        for place, (value, rows) in enumerate(groups.items())
    )
    say(f"trained {len(files)} models of {len(segments)} segments of {column}")
    segmented = Segments(column, kind, model.unknown_segment, segments, whole)
    return segmented, files, _together(segmented, outcomes, say)


def _details_name(value: Value | None) -> str:
    if value is None:
        return WHOLE_DETAILS
    return repr(value) if value == WHOLE_DETAILS else str(value)


def _together(segments: Segments, outcomes: Mapping[str, TrainerOutput], say: Say) -> TrainerOutput:
    details, left_out = fitting_together({name: each.details for name, each in outcomes.items()})
    if left_out:
        more = f", and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
        say(
            f"details of {', '.join(left_out[:_SHOWN])}{more} are left out: the details of all segments together are "
            "too long"
        )
    known = all(each.libraries for each in outcomes.values())
    libraries = {name: version for each in outcomes.values() for name, version in each.libraries.items()}
    return TrainerOutput(
        content=segments.content,
        format=Format.SEGMENTS,
        details=details,
        libraries=libraries if known else {},
        parts=tuple(sorted({each.format for each in outcomes.values()})),
    )


def judged(
    segments: Segments, task: Task, examples: Examples, split: Split, tested: "Array", scores: "Array"
) -> Segments:
    """Add to segments the metrics on their own rows, and those of a baseline that uses no feature.

    Args:
        segments: the trained segments.
        task: task of the model.
        examples: all of them.
        split: which of them were for training.
        tested: flags of the examples that were scored.
        scores: scores of those examples.
    """
    import numpy as np

    classes = max(2, len(examples.signature.classes))
    places = np.cumsum(tested) - 1

    def judge(segment: Segment, rows: "Array", learned: "Array") -> Segment:
        test = rows[tested[rows]]
        if not len(test):
            return segment
        target = examples.target[test]
        return replace(
            segment,
            test_rows=len(test),
            metrics=_plain(evaluate(task, target, scores[places[test]], classes)),
            baseline=_plain(baseline(task, examples.target[learned], target, classes)),
        )

    everything = split.train.nonzero()[0]
    rows_of = dict(grouped(_values(examples)))
    ordered, rest = [], [rows_of[value] for value in rows_of if value is None]
    for segment in segments.segments:
        rows = rows_of[segment.value]
        if segment.model is None:
            rest.append(rows)
        ordered.append(judge(segment, rows, rows[split.train[rows]] if segment.model else everything))
    whole = segments.whole
    if whole is not None and rest:
        whole = judge(whole, np.concatenate(rest), everything)
    return replace(segments, segments=tuple(ordered), whole=whole)


def _column_of(examples: Examples) -> tuple[str, str]:
    name = examples.signature.segment or ""
    return name, next(each.type for each in examples.signature.inputs if each.name == name)


def _values(examples: Examples) -> Any:
    if examples.segment is None:
        raise UsageError("These examples have no segments.", hint="Declare a segment.")
    return examples.segment


def _data(
    model: Model, examples: Examples, rows: "Array", params: Mapping[str, Any], seed: int, value: Value | None
) -> TrainingData:
    import pandas as pd

    features = examples.features.iloc[rows].reset_index(drop=True)
    return TrainingData(features, pd.Series(examples.target[rows], name=model.target), dict(params), seed, value)


def _why_none(model: Model, examples: Examples, rows: "Array") -> str:
    """Why the rows are not enough for a model, in words; "" if they are enough."""
    import numpy as np

    if len(rows) < model.min_segment_rows:
        return f"{len(rows):,} labels for training, fewer than {model.min_segment_rows:,}"
    classes, classes_found = len(examples.signature.classes), len(np.unique(examples.target[rows]))
    if model.task is not Task.REGRESSION and classes_found < classes:
        return f"{classes_found} of {classes} classes in its {len(rows):,} labels for training"
    return ""


def _tell(model: Model, lacking: Mapping[Value | None, str], count: int, say: Say) -> None:
    """Report which segments have no model of their own, or raise if every segment must have one."""
    named = [f"{value!r} ({why})" if value is not None else why for value, why in lacking.items()]
    more = f", and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    what = f"of {count:,} segments of {model.segment}, these can't have a model of their own: "
    if model.unknown_segment is UnknownSegment.REFUSE:
        raise UsageError(
            f"Model {model.name} predicts each segment with its own model, but "
            f"{what}{', '.join(named[:_SHOWN])}{more}.",
            hint=_hint(model),
        )
    becomes = (
        "the model of all rows predicts them" if model.unknown_segment is UnknownSegment.WHOLE else "no prediction"
    )
    say(f"{what}{', '.join(named[:_SHOWN])}{more}: {becomes}")


def _hint(model: Model) -> str:
    return (
        f"Add more labels, lower min_segment_rows ({model.min_segment_rows}), or declare "
        "unknown_segment='whole' (a model of all rows predicts them) or 'null' (they get no prediction)."
    )


def _keep_log(part: Path, whole: Path, heading: str) -> None:
    """Append a training script's log for one segment to the log of all segments."""
    if part.exists():
        with whole.open("ab") as log, part.open("rb") as lines:
            log.write(f"{heading}\n".encode())
            shutil.copyfileobj(lines, log)


def _plain(metrics: Mapping[Metric, float]) -> dict[str, float]:
    return {str(name): value for name, value in metrics.items()}
