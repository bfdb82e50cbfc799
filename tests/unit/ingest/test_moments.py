"""Patterns of times: what Spark would make up is refused before anything is read."""

import pytest

from asgard.common.errors import UsageError
from asgard.ingest.moments import require_pattern


@pytest.mark.parametrize(
    "pattern",
    [
        "dd.MM.yyyy HH:mm",
        "yyyyMMdd",
        "yyyy-MM-dd'T'HH:mm:ss.SSSSSSSSSXXX",
        "MM/dd/yy hh:mm a",
        "d MMM yyyy[ HH:mm]",
        "yyyy DDD",
        "yyyy-MM",
        "yyyy-MM-dd'Year'",
        "yyyyMMddHHmmssSSS",
    ],
)
def test_a_pattern(pattern: str) -> None:
    require_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("dd.mm.yyyy", "a day without a month (MM; mm is minutes)"),
        ("dd.MM.YYYY", "has Y, which stands for no part of a time"),
        ("dd.MM.yyyy hh:mm", "an hour of half a day without AM or PM"),
        ("dd.MM.yyyy HH:mm a", "AM or PM without an hour of half a day"),
        ("dd.MM.yyyy mm", "minutes without an hour"),
        ("dd.MM.yyyy HH:ss", "seconds without minutes"),
        ("HH:mm", "names no year"),
        ("dd.MM", "names no year"),
        ("", "names no year"),
        ("yyyy-MM-ddTHH:mm", "has T, which stands for no part"),
        ("yyyy-MM-dd'T", "opens a quote that never closes"),
        ("%d.%m.%Y", "has Y, which stands for"),
        ("yyyyMMddHHmmssSSSSSSSSS", "more than six digits of a second"),
        ("EEE, d MMM yyyy", "has E, which stands for"),
    ],
)
def test_one_that_can_not_be(pattern: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        require_pattern(pattern)
    assert message in caught.value.message
    assert repr(pattern) in caught.value.message
    assert caught.value.hint
