"""What `matches` takes for white space, digits, letters and line ends, held against Python's `re` and unicodedata."""

import re
import unicodedata

from pyspark.sql import SparkSession
from tests.support.audits import run

from asgard.validation import checks as c

SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2028\u2029\u202f\u205f\u3000"
INVISIBLE = "\x00\x1b\x7f\xad\u200b\u200d\u2060\ufeff\u202e"
OTHERS = "a@.9_\u00fc\u0663\U0001d7d8\u4e2d\U0001f600"
TEXTS = [
    *(f"anna{mark}@x.org" for mark in SPACES + INVISIBLE + OTHERS),
    *(f"anna@x.org{mark}" for mark in SPACES + INVISIBLE + OTHERS),
    *SPACES, *INVISIBLE, *OTHERS, "", *(f"a{mark}" for mark in SPACES), *(f"{mark}a" for mark in SPACES),
    *(f"a{mark}b" for mark in SPACES + INVISIBLE), "12\u0663", "12345",
]  # fmt: skip
INVISIBLE_CLASS = "".join(
    re.escape(chr(code)) for code in range(0x10FFFF) if unicodedata.category(chr(code)) in ("Cc", "Cf")
)
JAVA_TO_PYTHON = {
    r"[^@\s]+@[^@\s]+": r"[^@\s]+@[^@\s]+",
    r"[^@\s\p{C}]+@[^@\s\p{C}]+": rf"[^@\s{INVISIBLE_CLASS}]+@[^@\s{INVISIBLE_CLASS}]+",
    r"\s*": r"\s*",
    r"\S+": r"\S+",
    r"\d+": r"\d+",
    r"[0-9]+": r"[0-9]+",
    r"(?-U)\d+": r"[0-9]+",
    r"(?-U)[^@\s]+": "[^@ \t\n\v\f\r]+",
    "a$": r"a\Z",
    "^a": r"\Aa",
    "(?m)^a$": r"a\Z",
    "a.b": "a[^\n\r\x85\u2028\u2029]b",
    "(?s)a.b": "(?s)a.b",
    ".*": "[^\n\r\x85\u2028\u2029]*",
    "a|b": "a|b",
}


def test_patterns_mean_what_they_mean_in_python(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(text,) for text in TEXTS], "v string")
    results = run(frame, *(c.matches("v", pattern).named(pattern) for pattern in JAVA_TO_PYTHON))
    expected = {
        pattern: sum(re.fullmatch(python, text) is None for text in TEXTS) for pattern, python in JAVA_TO_PYTHON.items()
    }
    assert {name: result.failing_rows for name, result in results.items()} == expected


def test_an_address_with_white_space_or_something_invisible_is_none(spark: SparkSession) -> None:
    """The pattern of the documents, on each character: text by text, not only counted."""
    pattern = r"[^@\s\p{C}]+@[^@\s\p{C}]+"
    bad = [f"an{mark}na@x.org" for mark in SPACES + INVISIBLE] + [f"anna@x.org{mark}" for mark in SPACES + INVISIBLE]
    frame = spark.createDataFrame([(text,) for text in [*bad, "anna@x.org", "j\u00fcrgen@b\u00fccher.de"]], "v string")
    (result,) = run(frame, c.matches("v", pattern)).values()
    assert result.failing_rows == len(bad)
