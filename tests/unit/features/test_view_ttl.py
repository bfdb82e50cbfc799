"""How long a row counts, as a declaration says it."""

from datetime import timedelta

import pytest

from asgard.common.errors import DeclarationError
from asgard.features.views import parse_ttl


@pytest.mark.parametrize(
    ("ttl", "expected"),
    [
        (None, None),
        ("90d", timedelta(days=90)),
        ("30m", timedelta(minutes=30)),
        ("3650000d", timedelta(days=3_650_000)),
    ],
)
def test_durations(ttl: str | None, expected: timedelta | None) -> None:
    assert parse_ttl(ttl, "points") == expected


@pytest.mark.parametrize("ttl", ["3650001d", "99999999999999999999w", timedelta.max])
def test_what_no_engine_could_reckon_with(ttl: str | timedelta) -> None:
    with pytest.raises(DeclarationError, match=r"(?s)ttl is longer than 10,000 years.*hint: Leave it out"):
        parse_ttl(ttl, "points")


@pytest.mark.parametrize("ttl", ["0d", timedelta(days=-1), "soon"])
def test_what_is_no_duration(ttl: str | timedelta) -> None:
    with pytest.raises(DeclarationError, match="ttl"):
        parse_ttl(ttl, "points")
