"""Patterns of times in text (`dd.MM.yyyy HH:mm`), and the columns whose texts all match one pattern."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from asgard.common.errors import UsageError
from asgard.ingest.exact_numbers import SPACES
from asgard.lakehouse.declaring.schema_changes import quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_LETTERS = "GyMLdDHhKkmsSaVzOXxZ"
_HINT = "Use Spark's letters: yyyy year, MM month, dd day, HH hour, mm minute, ss second; other letters in 'quotes'."
_NEEDS = (
    ("dD", "y", "a day without a year (yyyy)"),
    ("d", "ML", "a day without a month (MM; mm is minutes)"),
    ("ML", "y", "a month without a year (yyyy)"),
    ("hK", "a", "an hour of half a day without AM or PM (HH is the hour of a day)"),
    ("a", "hK", "AM or PM without an hour of half a day (hh)"),
    ("m", "HhKk", "minutes without an hour (HH; MM is the month)"),
    ("s", "m", "seconds without minutes (mm)"),
    ("S", "s", "a fraction without seconds (ss)"),
)
"""A pattern with one of the first letters needs one of the second letters; else Spark invents the missing part."""


def require_pattern(pattern: str) -> None:
    """Refuse a pattern that can't be read, or that leaves out a part of a time between others.

    Raises:
        UsageError: the message names the part.
    """
    what = f"--timestamp-format {pattern!r}"
    if pattern.count("'") % 2:
        raise UsageError(f"{what} opens a quote that never closes.", hint=_HINT)
    letters = re.sub("'[^']*'", "", pattern)
    unknown = sorted(set(re.findall("[A-Za-z]", letters)) - set(_LETTERS))
    if unknown:
        raise UsageError(f"{what} has {', '.join(unknown)}, which stands for no part of a time.", hint=_HINT)
    if "y" not in letters:
        raise UsageError(f"{what} names no year (yyyy).", hint=_HINT)
    for some, needed, what_lacks in _NEEDS:
        if set(some) & set(letters) and not set(needed) & set(letters):
            raise UsageError(f"{what} has {what_lacks}.", hint=_HINT)
    if re.search("S{7}", letters) and not re.search("[.,]S{7}", letters):
        raise UsageError(f"{what} has more than six digits of a second without '.' or ',' before them.", hint=_HINT)


def read_moment(text: "Column", pattern: str, kind: str = "timestamp") -> "Column":
    """Parse texts by a pattern as times, ignoring surrounding white space; null for texts that do not match.

    Args:
        text: to read.
        pattern: of the text; a time without a zone is UTC.
        kind: `timestamp`; or `timestamp_ntz`, which is null for a pattern with a zone.
    """
    from pyspark.sql import functions as F

    if kind == "timestamp_ntz" and re.search("[VzOXxZ]", re.sub("'[^']*'", "", pattern)):
        return F.lit(None).cast(kind)
    return F.try_to_timestamp(F.trim(text, F.lit(SPACES)), F.lit(pattern)).cast(kind)


def columns_like(session: "SparkSession", samples: Mapping[str, Sequence[str]], pattern: str) -> tuple[str, ...]:
    """The columns of which at least one sample text matches the pattern.

    Raises:
        UsageError: Java does not accept the pattern.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.sql import functions as F

    rows = [(name, text) for name, texts in samples.items() for text in texts]
    frame = session.createDataFrame([*rows, (None, "")], "name string, text string")
    try:
        session._jvm.java.time.format.DateTimeFormatter.ofPattern(pattern)  # type: ignore[union-attr]
        found = frame.where(read_moment(F.col("text"), pattern).isNotNull()).select("name").distinct().collect()
    except (Py4JError, PySparkException) as error:
        raise UsageError(f"--timestamp-format {pattern!r} is not a pattern that Java accepts.", hint=_HINT) from error
    return tuple(name for name in samples if name in {row["name"] for row in found})


def unlike(rows: "DataFrame", columns: Sequence[str], pattern: str) -> dict[str, int]:
    """How many texts of each column do not match the pattern; blank texts are ignored."""
    from pyspark.sql import functions as F

    def is_unlike(name: str) -> "Column":
        text = F.col(quoted(name))
        return (F.trim(text, F.lit(SPACES)) != "") & read_moment(text, pattern).isNull()

    if not columns:
        return {}
    counts = rows.agg(*(F.count_if(is_unlike(name)) for name in columns)).collect()[0]
    return dict(zip(columns, counts, strict=True))
