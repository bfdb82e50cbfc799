"""Compare two versions: metrics, and differences in features, signature, parameters, data and code."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgard.model.versions import ModelVersion, finite

if TYPE_CHECKING:
    from asgard.model.artifacts.artifact import ModelSpec
    from asgard.model.artifacts.segments import Segments


@dataclass(frozen=True)
class VersionComparison:
    """The differences between two versions.

    Attributes:
        metrics: metrics of both, by name; None where one was not measured.
        breaks: incompatible changes that would break callers of the first version.
        differences: what differs, its value before and its value after, in words.
    """

    before: ModelVersion
    after: ModelVersion
    metrics: Mapping[str, tuple[float | None, float | None]]
    breaks: tuple[str, ...]
    differences: tuple[tuple[str, str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "before": str(self.before),
            "after": str(self.after),
            "metrics": {
                name: {"before": finite(old), "after": finite(new)} for name, (old, new) in self.metrics.items()
            },
            "signature_breaks": list(self.breaks),
            "differences": [{"what": what, "before": old, "after": new} for what, old, new in self.differences],
        }


def compare(
    before: ModelVersion,
    after: ModelVersion,
    old: "ModelSpec",
    new: "ModelSpec",
    segments: "tuple[Segments | None, Segments | None]" = (None, None),
) -> VersionComparison:
    """Compare two versions.

    Args:
        before: the first version.
        after: the second version.
        old: properties of the first, from its artifact.
        new: properties of the second, from its artifact.
        segments: segments of both.
    """
    from asgard.model.artifacts.signature import breaks

    names = sorted({*before.metrics, *after.metrics})
    sides = (*_sides(before, after, old, new), *_both("segment", *map(_segments, segments)))
    return VersionComparison(
        before,
        after,
        {name: (before.metrics.get(name), after.metrics.get(name)) for name in names},
        tuple(breaks(old.signature, new.signature)) if before.name == after.name else (),
        tuple((what, then, now) for what, then, now in sides if then != now),
    )


def _sides(
    before: ModelVersion, after: ModelVersion, old: "ModelSpec", new: "ModelSpec"
) -> Iterator[tuple[str, str, str]]:
    yield "format", str(old.format), str(new.format)
    yield "task", str(old.signature.task), str(new.signature.task)
    yield "classes", ", ".join(old.signature.classes), ", ".join(new.signature.classes)
    inputs = [{column.name: column.type for column in spec.signature.inputs} for spec in (old, new)]
    yield from _both("feature", *inputs)
    if set(inputs[0]) == set(inputs[1]):
        yield "order of features", ", ".join(inputs[0]), ", ".join(inputs[1])
    yield "segment", old.signature.segment or "none", new.signature.segment or "none"
    views = [{each.view: f"version {each.version}" for each in one.binding.views} for one in (before, after)]
    yield from _both("view", *views)
    tables = [{str(name): f"snapshot {at}" for name, at in one.binding.tables.items()} for one in (before, after)]
    yield from _both("table", *tables)
    yield from _both("parameter", dict(old.params), dict(new.params))
    yield "seed", str(old.seed), str(new.seed)
    yield from _both("library", dict(old.trained_with), dict(new.trained_with))
    codes = [f"{each.binding.code_version}{' (dirty)' if each.binding.dirty else ''}" for each in (before, after)]
    yield "code", codes[0], codes[1]
    yield "files", before.sha256, after.sha256


def _segments(segments: "Segments | None") -> dict[str, str]:
    """The model and the metrics of each segment."""
    return {
        each.text: ", ".join(
            (
                f"{each.model.format} of {each.train_rows:,} labels" if each.model else each.why,
                *(f"{name} {value:.4g}" for name, value in each.metrics.items()),
            )
        )
        for each in (segments.everyone if segments else ())
    }


def _both(what: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[tuple[str, str, str]]:
    for name in dict.fromkeys([*old, *new]):
        yield f"{what} {name}", str(old.get(name, "none")), str(new.get(name, "none"))
