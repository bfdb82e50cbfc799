"""Artifacts with a small fitted model for each segment."""

from collections.abc import Mapping
from typing import Any

from tests.support.models import fitted, rows, signature, target

from asgard.model.artifacts.artifact import Artifact, ModelSpec, hash_of
from asgard.model.artifacts.dumping import dump
from asgard.model.artifacts.formats import Format
from asgard.model.artifacts.segments import ModelFile, Segment, Segments, UnknownSegment, Value, file_of
from asgard.model.artifacts.signature import Column, Signature

Given = Mapping[Value, tuple[Format, Any]]


def different(task: str = "binary") -> dict[str, tuple[Format, Any]]:
    """Fit models in three formats that give different predictions for the same rows."""
    return {
        "books": (Format.SKOPS, fitted(Format.SKOPS, task)),
        "food": (Format.LIGHTGBM, fitted(Format.LIGHTGBM, task)),
        "toys": (Format.PICKLE, _same_for_all(task)),
    }


def _same_for_all(task: str) -> Any:
    from sklearn.dummy import DummyClassifier, DummyRegressor

    matrix = rows(600, seed=5)
    made = DummyRegressor() if task == "regression" else DummyClassifier()
    return made.fit(matrix, target(matrix, task))


def segmented(
    models: Given,
    unknown: UnknownSegment = UnknownSegment.REFUSE,
    whole: tuple[Format, Any] | None = None,
    *,
    kind: str = "string",
    task: str = "binary",
    name: str = "demand",
) -> Artifact:
    """Make an artifact whose segments are the values of column `shop`."""
    files: dict[str, bytes] = {}

    def kept(place: int | None, format: Format, model: Any) -> ModelFile:
        path = file_of(place, format)
        files[path] = dump(model, format)
        return ModelFile(path, format, hash_of(files[path]))

    segments = Segments(
        "shop",
        kind,
        unknown,
        tuple(Segment(value, 600, kept(place, *given)) for place, (value, given) in enumerate(models.items())),
        Segment(None, 600, kept(None, *whole)) if whole else None,
    )
    plain = signature(task)
    inputs = (*plain.inputs, Column("shop", kind))
    signed = Signature(inputs, task, plain.classes, "shop", nullable=unknown is UnknownSegment.NULL)
    return Artifact.of(ModelSpec(name, Format.SEGMENTS, signed), segments.content, segments=files)
