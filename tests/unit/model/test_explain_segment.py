"""Which of a segmented model's models gave a prediction, or why none did."""

from datetime import date
from typing import Any

import pytest

from asgard.model.artifacts.formats import Format
from asgard.model.artifacts.segments import ModelFile, Segment, Segments, UnknownSegment
from asgard.model.provenance.explain_parts import Chosen, chosen

FILE = ModelFile("segments/0/model.txt", Format.LIGHTGBM, "ab")


def segments(unknown: UnknownSegment) -> Segments:
    each = (Segment("food", 900, FILE), Segment("toys", 9, None, "9 labels for training, fewer than 100"))
    return Segments("department", "string", unknown, each, Segment(None, 909, FILE))


@pytest.mark.parametrize(
    ("value", "unknown", "said"),
    [
        ("food", UnknownSegment.NULL, "predicted by the model of department 'food'"),
        (
            "toys",
            UnknownSegment.WHOLE,
            "predicted by the model of all rows: department 'toys' has no model of its own (9 labels",
        ),
        ("toys", UnknownSegment.NULL, "no prediction: department 'toys' has no model of its own (9 labels"),
        (
            "cars",
            UnknownSegment.NULL,
            "no prediction: department 'cars' has no model of its own (no training label",
        ),
        (None, UnknownSegment.NULL, "no prediction: department null has no model of its own (it is null)"),
    ],
)
def test_in_words(value: Any, unknown: UnknownSegment, said: str) -> None:
    assert str(chosen(segments(unknown), {"department": value, "price": 3.0})).startswith(said)


def test_a_segment_that_is_not_among_the_values() -> None:
    assert chosen(segments(UnknownSegment.NULL), {"price": 3.0}) is None


def test_as_json() -> None:
    assert Chosen("day", date(2024, 1, 2), "own").to_json() == {
        "column": "day",
        "value": "2024-01-02",
        "by": "own",
        "why": "",
    }
