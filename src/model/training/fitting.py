"""Train a declared model on its examples and test it: deterministic, without registry or lakehouse."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.aliases import Say
from asgard.common.errors import AsgardError, AuditFailedError, RunError, UsageError
from asgard.common.failpoints import failpoint
from asgard.common.places import raised
from asgard.model.artifacts.artifact import Artifact, ModelSpec
from asgard.model.artifacts.dumping import dump
from asgard.model.artifacts.environment import imported_versions, installed_versions
from asgard.model.artifacts.formats import Format, format_of
from asgard.model.artifacts.pickled import require_portable
from asgard.model.artifacts.segments import Segments
from asgard.model.declaration import FitResult, Model, Script, TrainingData
from asgard.model.metrics import Curves, Metric, Task, baseline, curves, evaluate, importance
from asgard.model.scoring.predictor import Predictor
from asgard.model.splits import Split
from asgard.model.training.examples import Examples
from asgard.model.training.outcome import TrainerOutput, plain_details
from asgard.model.training.scripts import LOG, run_script
from asgard.model.training.segment_fitting import fit_segments, judged

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Fitted:
    """A trained model, and its test results.

    Attributes:
        artifact: the model's files.
        split: which rows were for training and which for the test.
        metrics: metrics of the test.
        baseline: metrics on the same test of a model that uses no feature.
        scores: scores of the test's rows that have a prediction, in order.
        importance: by feature: how much the test's loss grows without the feature.
        curves: curves of a binary model; None for other tasks.
        details: the trainer's details of its training.
        segments: the segments, with the metrics of each; None for a model without segments.
        log: output of a training script.
    """

    artifact: Artifact
    split: Split = field(hash=False)
    metrics: Mapping[Metric, float] = field(hash=False)
    baseline: Mapping[Metric, float] = field(hash=False)
    scores: "np.ndarray[Any, Any]" = field(hash=False)
    importance: Mapping[str, float] = field(hash=False)
    curves: Curves | None
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)
    segments: Segments | None = None
    log: str = ""

    def misses(self, model: Model) -> list[str]:
        """The declared bounds that the test's metrics miss, in words."""
        below = [
            f"{name} is {self.metrics[name]:.4f}, at least {bound:g} is declared"
            for name, bound in model.minimum.items()
            if not self.metrics[name] >= bound
        ]
        above = [
            f"{name} is {self.metrics[name]:.4f}, at most {bound:g} is declared"
            for name, bound in model.maximum.items()
            if not self.metrics[name] <= bound
        ]
        return below + above


def fit(model: Model, examples: Examples, params: Mapping[str, Any], seed: int, folder: Path, say: Say) -> Fitted:
    """Train on the earlier examples, test on the latest ones.

    Args:
        model: the declared model.
        examples: all examples.
        params: parameters for the trainer.
        seed: seed of all random draws.
        folder: folder for a script's files.
        say: called with one line about each step.

    Raises:
        UsageError: there are no rows to train on, or to test on.
        RunError: the trainer failed.
    """
    import numpy as np
    import pandas as pd

    split = model.split.split(examples.times)
    learned = pd.Series(examples.target[split.train], name=model.target)
    data = TrainingData(examples.features[split.train].reset_index(drop=True), learned, dict(params), seed)
    if model.task is not Task.REGRESSION and len(np.unique(learned)) < len(examples.signature.classes):
        raise UsageError(
            f"Of the {len(examples.signature.classes)} classes of {model.target}, the labels before "
            f"{split.test_from:%Y-%m-%d} have {len(np.unique(learned))}: model {model.name} can't learn the others.",
            hint="Change test_from or test_share, or add more labels.",
        )
    say(f"training on {len(learned):,} labels before {split.test_from:%Y-%m-%d}, testing on {int(split.test.sum()):,}")
    if split.left_out:
        say(f"{split.left_out:,} labels are in neither: their outcome was not yet known when the test begins")
    segments: Segments | None = None
    files: dict[str, bytes] = {}
    if model.segment is None:
        outcome = _trained(model, data, folder)
    else:
        train = partial(_trained, model)
        segments, files, outcome = fit_segments(model, examples, split, params, seed, train, folder, say)
    failpoint("model-trained")
    if not outcome.libraries:
        say("the script ended Python early (os._exit): the libraries that it imported are unknown")
    spec = ModelSpec(
        name=model.name,
        format=outcome.format,
        signature=examples.signature,
        trained_with={**outcome.libraries, **installed_versions(outcome.needs)},
        seed=seed,
        params=dict(params),
    )
    artifact = Artifact.of(spec, outcome.content, examples.head(split.train), files)
    predictor = Predictor(artifact)
    tested = split.test if segments is None else _with_prediction(model, segments, examples, split, say)
    matrix, target = examples.matrix(tested), examples.target[tested]
    score = partial(predictor.score, segments=examples.segments(tested))
    scores = score(matrix)
    if not np.isfinite(scores).all():
        raise RunError(
            f"Model {model.name} gives {int((~np.isfinite(scores)).sum()):,} scores that are NaN or infinite on its "
            "test.",
            hint="Can the model handle missing values? They are NaN.",
        )
    classes = max(2, len(examples.signature.classes))
    worse = importance(score, target, matrix, model.task, seed)
    if segments is not None:
        segments = judged(segments, model.task, examples, split, tested, scores)
        artifact = Artifact.of(spec, segments.content, examples.head(split.train), files)
    return Fitted(
        artifact=artifact,
        split=split,
        metrics=evaluate(model.task, target, scores, classes),
        baseline=baseline(model.task, examples.target[split.train], target, classes),
        scores=scores,
        importance=dict(sorted(zip(examples.features.columns, worse, strict=True), key=lambda pair: -pair[1])),
        curves=curves(target, scores) if model.task is Task.BINARY and len(np.unique(target)) > 1 else None,
        details=outcome.details,
        segments=segments,
        log=(folder / LOG).read_text(encoding="utf-8", errors="replace") if (folder / LOG).exists() else "",
    )


def require_good(model: Model, fitted: Fitted) -> None:
    """Refuse to register a model that misses its declared bounds.

    Raises:
        AuditFailedError: the metrics miss a bound; the message names each.
    """
    misses = fitted.misses(model)
    if misses:
        raise AuditFailedError(
            f"Model {model.name} is not good enough to be registered: {'; '.join(misses)}.",
            hint="Nothing was registered; the MLflow run has the metrics and plots.",
        )


def _with_prediction(
    model: Model, segments: Segments, examples: Examples, split: Split, say: Say
) -> "np.ndarray[Any, Any]":
    """The test's rows that a model predicts; the number of the others is reported."""
    import pyarrow as pa

    values = examples.segment if examples.segment is not None else pa.nulls(len(split.test))
    tested = split.test & segments.predicts(values)
    without = int(split.test.sum() - tested.sum())
    if not tested.any():
        raise UsageError(f"No label of the test has a prediction of model {model.name}.", hint="Add more labels.")
    if without:
        say(f"{without:,} labels of the test have no prediction, and are left out of the metrics")
    return tested  # type: ignore[no-any-return, unused-ignore]


def _trained(model: Model, data: TrainingData, folder: Path) -> TrainerOutput:
    if isinstance(model.trainer, Script):
        outcome = run_script(model.trainer, data, model.target, folder)
        require_portable(outcome.content, outcome.format, model.name)
        return outcome
    try:
        given = model.trainer(data)
    except AsgardError:
        raise
    except Exception as error:
        raise RunError(
            f"The trainer of model {model.name} failed: {raised(error)}.",
            hint="See that line. A trainer gets a DataFrame of features, a Series (target), params and a seed.",
        ) from error
    result = given if isinstance(given, FitResult) else FitResult(given)
    details = plain_details(result.details, f"the trainer of model {model.name}")
    kept_as = Format(model.format) if model.format else format_of(result.model)
    content = dump(result.model, kept_as)
    require_portable(content, kept_as, model.name)
    return TrainerOutput(content, kept_as, details, imported_versions())
