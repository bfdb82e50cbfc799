"""File formats, and how a file's name tells its format."""

import codecs
from dataclasses import dataclass
from enum import StrEnum

from asgard.common.errors import UsageError


class Format(StrEnum):
    """Format of a file; all except Parquet may be gzipped."""

    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"
    JSON = "json"
    PARQUET = "parquet"

    @property
    def is_text(self) -> bool:
        """Whether its values are texts that must be parsed."""
        return self in (Format.CSV, Format.TSV, Format.JSONL, Format.JSON)

    @property
    def is_delimited(self) -> bool:
        """Whether it is CSV or TSV."""
        return self in (Format.CSV, Format.TSV)


_EXTENSIONS = {
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".tab": Format.TSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSON,
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
}
EXTENSIONS = ", ".join(_EXTENSIONS)


def format_of(name: str) -> Format | None:
    """The format by a file's name, with or without `.gz`; None if the name does not say it."""
    stem = name.lower().removesuffix(".gz")
    return next((kind for extension, kind in _EXTENSIONS.items() if stem.endswith(extension)), None)


@dataclass(frozen=True)
class TextOptions:
    """How text files are read.

    Attributes:
        delimiter: between the fields of a line; None: `,` for CSV, a tab for TSV.
        quote: around a field that contains delimiters or line breaks, doubled inside it; "" for none.
        header: whether the first record names the columns.
        encoding: of the bytes; a byte-order mark at the start is dropped.
        null_values: unquoted fields with one of these texts are null. A quoted field is never null.
    """

    delimiter: str | None = None
    quote: str = '"'
    header: bool = True
    encoding: str = "utf-8"
    null_values: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        for what, text, shortest in (("delimiter", self.delimiter, 1), ("quote", self.quote, 0)):
            if text is None or (shortest <= len(text) <= 1 and text.isascii() and text not in ("\r", "\n", "\0")):
                continue
            raise _refuse(what, text)
        if self.quote and self.quote == self.delimiter:
            raise UsageError(f"delimiter and quote are both {self.quote!r}.", hint="They must differ.")
        try:
            codecs.lookup(self.encoding)
        except LookupError as error:
            raise UsageError(
                f"{self.encoding!r} is not an encoding that Python knows.", hint="Try utf-8, utf-16, latin-1 or cp1252."
            ) from error

    def delimiter_of(self, kind: Format) -> str:
        """The delimiter between the fields of this format."""
        return self.delimiter or ("\t" if kind is Format.TSV else ",")


def _refuse(what: str, text: str) -> UsageError:
    return UsageError(
        f"{what} is {text!r}.", hint="Give one ASCII character that is not a line break; for a tab, write '\\t'."
    )
