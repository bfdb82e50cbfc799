"""Which of a segmented model's models made a prediction, or why none did."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from asgard.model.artifacts.segments import Segments, UnknownSegment, Value


@dataclass(frozen=True)
class Chosen:
    """How the segment of an entity was predicted.

    Attributes:
        column, value: column and value of the segment.
        by: `own` (the segment's model), `whole` (the model of all rows), or None: no model predicts it.
        why: why the segment has no model of its own, in words; "" if it has one.
    """

    column: str
    value: Value | None
    by: str | None
    why: str = ""

    def __str__(self) -> str:
        whose = f"{self.column} {self.value!r}" if self.value is not None else f"{self.column} null"
        if self.by == "own":
            return f"predicted by the model of {whose}"
        what = "predicted by the model of all rows" if self.by else "no prediction"
        return f"{what}: {whose} has no model of its own ({self.why})"

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        value = self.value.isoformat() if isinstance(self.value, date) else self.value
        return {**asdict(self), "value": value}


def chosen(segments: Segments, values: Mapping[str, Any]) -> Chosen | None:
    """Find the model that predicts an entity.

    Args:
        segments: the version's segments.
        values: values of the entity's keys and features, by name.

    Returns:
        None if the segment's column is not among the values.
    """
    column = segments.column
    if column not in values:
        return None
    value = values[column]
    own = next((each for each in segments.segments if each.value == value), None)
    if own is not None and own.model is not None:
        return Chosen(column, value, "own")
    why = own.why if own is not None else "it is null" if value is None else "no training label had it"
    return Chosen(column, value, "whole" if segments.unknown is UnknownSegment.WHOLE else None, why)
