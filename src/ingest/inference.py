"""Infer the type of a column of texts: the narrowest one that represents each of its texts exactly.

| type | texts |
|---|---|
| boolean | `true`, `false` in any case |
| bigint | whole numbers of 64 bits, without `+` and without leading zeros |
| double | decimal numbers without leading zeros that a double reproduces digit for digit; NaN, inf |
| date | `2024-01-31` |
| timestamp | `2024-01-31 23:59:58.123456` or with `T`, seconds optional, with or without `Z` or an offset |
| string | everything else |

So `007`, `+49 30`, a 20-digit number and a time finer than a microsecond stay text. Surrounding white space is ignored.
Blank texts are null in every type except string. A column without any text is string. In JSON, a value that is written
as a string is not a number: `"12345"` stays text. A pattern for times (`--timestamp-format`) takes precedence over all
of these: see `reading`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from asgard.ingest.exact_numbers import exact_number

if TYPE_CHECKING:
    import pyarrow as pa

_BOOLEAN = "(?i)^(true|false)$"
_WHOLE = "^(0|-?[1-9][0-9]{0,18})$"
_NUMBER = r"^(-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?|NaN|nan|-?inf|-?Infinity)$"
_DATE = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_MOMENT = (
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([ T]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6}0{0,3})?)?(Z|[+-](0[0-9]|1[0-4]):?[0-5][0-9])?)?$"
)
_WRITTEN_AS_STRINGS = frozenset({"date", "timestamp"})
_SAMPLES = 5
_SAFE_DIGITS = 15
"""A double reproduces any decimal number of this many digits (IEEE 754, binary64)."""


def _is_boolean(texts: "pa.Array") -> bool:
    return _all_match(texts, _BOOLEAN)


def _is_whole(texts: "pa.Array") -> bool:
    import pyarrow as pa

    return _all_match(texts, _WHOLE) and _casts(texts, pa.int64())


def _is_double(texts: "pa.Array") -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not _all_match(texts, _NUMBER):
        return False
    digits = pc.utf8_length(pc.replace_substring_regex(texts, "[eE].*|[-.]", ""))
    exponents = pc.match_substring_regex(texts, "[0-9][eE]")
    doubtful = texts.filter(pc.or_(pc.greater(digits, _SAFE_DIGITS), exponents))
    if _casts(doubtful, pa.float64()):
        doubtful = doubtful.filter(pc.not_equal(doubtful.cast(pa.float64()).cast(pa.string()), doubtful))
    return all(_survives(text) for text in doubtful.unique().to_pylist())


def _is_date(texts: "pa.Array") -> bool:
    import pyarrow as pa

    return _all_match(texts, _DATE) and _casts(texts, pa.date32())


def _is_moment(texts: "pa.Array") -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    return _all_match(texts, _MOMENT) and _casts(pc.utf8_slice_codeunits(texts, 0, 10), pa.date32())


_LADDER: Mapping[str, "Callable[[pa.Array], bool]"] = {
    "boolean": _is_boolean,
    "bigint": _is_whole,
    "double": _is_double,
    "date": _is_date,
    "timestamp": _is_moment,
}


@dataclass
class Guess:
    """The types that fit all texts of one column so far.

    Attributes:
        possible: types that fit all of the texts.
        seen: whether there was a text that is not blank.
        samples: a few of the texts.
    """

    possible: set[str] = field(default_factory=lambda: set(_LADDER))
    seen: bool = False
    samples: tuple[str, ...] = ()

    def look(self, texts: "pa.Array | pa.ChunkedArray") -> None:
        """Take more texts into account."""
        import pyarrow.compute as pc

        if (not self.possible and self.samples) or texts.null_count == len(texts):
            return
        if hasattr(texts, "combine_chunks"):
            texts = texts.combine_chunks()
        trimmed = pc.ascii_trim_whitespace(texts.drop_null())
        filled = trimmed.filter(pc.not_equal(trimmed, ""))
        self.seen = self.seen or len(filled) > 0
        self.samples = self.samples or tuple(filled.slice(0, _SAMPLES).to_pylist())
        self.possible = _possible(filled, self.possible)

    def note_quoted(self) -> None:
        """Note that the format marks some texts as strings: these may be dates or times, but not numbers."""
        self.possible &= _WRITTEN_AS_STRINGS

    def join(self, other: "Guess") -> "Guess":
        """The types that fit the texts of both."""
        return Guess(self.possible & other.possible, self.seen or other.seen, self.samples or other.samples)

    @property
    def type(self) -> str:
        """The narrowest type that fits all of the texts."""
        return next((name for name in _LADDER if name in self.possible), "string") if self.seen else "string"

    def to_json(self) -> dict[str, Any]:
        """Plain values, which a worker can return."""
        return {"possible": sorted(self.possible), "seen": self.seen, "samples": self.samples}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Guess":
        """The guess that `to_json` described."""
        return cls(set(content["possible"]), content["seen"], tuple(content["samples"]))


def _possible(texts: "pa.Array", candidates: set[str]) -> set[str]:
    """The candidates that fit; a type that a narrower one implies is not checked again."""
    found: set[str] = set()
    for name, fits in _LADDER.items():
        if name not in candidates:
            continue
        implied = ("date" in found and name == "timestamp") or (
            "bigint" in found and name == "double" and _are_small(texts)
        )
        if implied or fits(texts):
            found.add(name)
    return found


def _are_small(texts: "pa.Array") -> bool:
    import pyarrow.compute as pc

    return (pc.max(pc.utf8_length(texts)).as_py() or 0) <= _SAFE_DIGITS


def _all_match(texts: "pa.Array", pattern: str) -> bool:
    import pyarrow.compute as pc

    return pc.all(pc.match_substring_regex(texts, pattern)).as_py() is not False


def _casts(texts: "pa.Array", kind: "pa.DataType") -> bool:
    import pyarrow as pa

    try:
        texts.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _survives(text: str) -> bool:
    """Whether a double's shortest text is this number; a longer text that only equals the double may be an id."""
    value = exact_number(text, "double")
    return value is not None and (value == 0 or Decimal(repr(value)) == Decimal(text))


__all__ = ["Guess"]
