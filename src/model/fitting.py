"""Train a declared model on its examples, and judge it by the test: no registry, no lakehouse, the same each time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.errors import AsgardError, AuditFailedError, RunError, UsageError
from asgard.common.failpoints import failpoint
from asgard.model.artifact import Artifact, ModelSpec
from asgard.model.declaration import Model, Script, TrainingData
from asgard.model.environment import library_versions
from asgard.model.examples import Examples
from asgard.model.formats import Format, dump, format_of
from asgard.model.metrics import Curves, Metric, Task, baseline, curves, evaluate, importance
from asgard.model.predictor import Predictor
from asgard.model.scripts import LOG, run_script
from asgard.model.splits import Split

if TYPE_CHECKING:
    import numpy as np

Say = Callable[[str], None]


@dataclass(frozen=True)
class Fitted:
    """A trained model, and how it did.

    Attributes:
        artifact: its files.
        split: which rows were for what.
        metrics: of the test.
        baseline: of a model that looks at no feature, on the same test.
        scores: of the test's rows, in order.
        importance: by feature: how much worse the test's loss gets without it.
        curves: of a binary model.
        log: what a training script wrote.
    """

    artifact: Artifact
    split: Split = field(hash=False)
    metrics: Mapping[Metric, float] = field(hash=False)
    baseline: Mapping[Metric, float] = field(hash=False)
    scores: "np.ndarray[Any, Any]" = field(hash=False)
    importance: Mapping[str, float] = field(hash=False)
    curves: Curves | None
    log: str = ""

    def misses(self, model: Model) -> list[str]:
        """Which of the declared bounds the test's metrics miss, in words."""
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
    """Train on what came first, judge by what came last.

    Args:
        model: as declared.
        examples: all of them.
        params: for the trainer.
        seed: for everything that is drawn.
        folder: for a script's files.
        say: called with one line about each step.

    Raises:
        UsageError: nothing to train on, or to judge by.
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
            hint="Move test_from or test_share, or bring more labels.",
        )
    say(f"training on {len(learned):,} labels before {split.test_from:%Y-%m-%d}, testing on {int(split.test.sum()):,}")
    if split.left_out:
        say(f"{split.left_out:,} labels are in neither: their outcome was not known yet when the test begins")
    content, kept_as = _trained(model, data, folder)
    failpoint("model-trained")
    spec = ModelSpec(
        name=model.name,
        format=kept_as,
        signature=examples.signature,
        trained_with=library_versions(),
        seed=seed,
        params=dict(params),
    )
    artifact = Artifact.of(spec, content, examples.features[split.train].head(5))
    predictor = Predictor(artifact)
    matrix, target = examples.matrix(split.test), examples.target[split.test]
    scores = predictor.score(matrix)
    if not np.isfinite(scores).all():
        raise RunError(
            f"Model {model.name} gives {int((~np.isfinite(scores)).sum()):,} scores that are no numbers on its test.",
            hint="Does it know what to do with missing values? They are NaN.",
        )
    classes = max(2, len(examples.signature.classes))
    worse = importance(predictor.score, target, matrix, model.task, seed)
    return Fitted(
        artifact=artifact,
        split=split,
        metrics=evaluate(model.task, target, scores, classes),
        baseline=baseline(model.task, examples.target[split.train], target, classes),
        scores=scores,
        importance=dict(sorted(zip(examples.features.columns, worse, strict=True), key=lambda pair: -pair[1])),
        curves=curves(target, scores) if model.task is Task.BINARY and len(np.unique(target)) > 1 else None,
        log=(folder / LOG).read_text(encoding="utf-8", errors="replace") if (folder / LOG).exists() else "",
    )


def require_good(model: Model, fitted: Fitted) -> None:
    """Refuse to register a model that misses its declared bounds.

    Raises:
        AuditFailedError: names each.
    """
    misses = fitted.misses(model)
    if misses:
        raise AuditFailedError(
            f"Model {model.name} is not good enough to be registered: {'; '.join(misses)}.",
            hint="The MLflow run has its metrics and plots; nothing was registered.",
        )


def _trained(model: Model, data: TrainingData, folder: Path) -> tuple[bytes, Format]:
    if isinstance(model.trainer, Script):
        return run_script(model.trainer, data, model.target, folder)
    try:
        fitted = model.trainer(data)
    except AsgardError:
        raise
    except Exception as error:
        raise RunError(
            f"The trainer of model {model.name} failed: {type(error).__name__}: {error}",
            hint="It is given a DataFrame of features, a Series of the target, params and a seed.",
        ) from error
    kept_as = Format(model.format) if model.format else format_of(fitted)
    return dump(fitted, kept_as), kept_as
