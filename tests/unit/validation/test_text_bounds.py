"""Bounds of `between` that are given as text: moments on date and timestamp columns, text on others."""

import pytest

from asgard.validation import checks
from asgard.validation.conditions import failing_condition
from asgard.validation.rules import Between
from asgard.validation.schema import Field, Schema, UnfitCheckError


def failing(kind: str, low: str | None, high: str | None = None) -> str | None:
    rule = checks.between("at", low, high).rule
    assert isinstance(rule, Between)
    return failing_condition(rule, Schema({"at": Field(("at",), kind)}))


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("timestamp", "2024-01-02", "TIMESTAMP_LTZ '2024-01-02T00:00:00Z'"),
        ("timestamp", "2024-01-02T03:00:00", "TIMESTAMP_LTZ '2024-01-02T03:00:00Z'"),
        ("timestamp", "2024-01-02T03:00:00+02:00", "TIMESTAMP_LTZ '2024-01-02T01:00:00Z'"),
        ("timestamp_ntz", "2024-01-02T03:00:00Z", "TIMESTAMP_NTZ '2024-01-02T03:00:00'"),
        ("date", "2024-01-02", "DATE '2024-01-02'"),
        ("string", "2024-01-02", "'2024-01-02'"),
    ],
)
def test_text_is_read_as_the_column_means_it(kind: str, text: str, expected: str) -> None:
    assert failing(kind, text) == f"`at` < {expected}"
    assert failing(kind, None, text) == f"`at` > {expected}"


@pytest.mark.parametrize(
    ("kind", "text"),
    [("timestamp", "yesterday"), ("timestamp_ntz", ""), ("date", "2024-01-02T03:00:00"), ("date", "02.01.2024")],
)
def test_other_text_is_refused_in_words(kind: str, text: str) -> None:
    with pytest.raises(UnfitCheckError, match="is not such a value in ISO 8601") as caught:
        failing(kind, text)
    assert kind in caught.value.message
    assert "2024-01-31" in caught.value.hint
