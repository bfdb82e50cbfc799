"""Detect what a file is by its first bytes, so that binary data or another encoding is never read as text.

A single-byte encoding accepts any bytes as text. Without this check, a user who follows a hint to try `--encoding
latin-1` would publish a zip or a UTF-16 file as garbage.
"""

import codecs
import re
from collections.abc import Iterable, Iterator

from asgard.common.errors import InputDataError
from asgard.ingest.files import printable
from asgard.ingest.formats import Format

_HEAD = 1024
"""Number of bytes that are examined."""
_EXPORT = "Export its data as CSV or Parquet."
_UNPACK = "Unpack it first; of compressed text, only gzip is read directly."
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (rb"PK\x03\x04[\s\S]*(\[Content_Types\]\.xml|xl/|_rels/)", "an Excel workbook or another Office file", _EXPORT),
    (rb"PK(\x03\x04|\x05\x06|\x07\x08)", "a zip archive", _UNPACK),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook or another Office file", _EXPORT),
    (rb"PAR1[\x00-\x08\x0e-\x1f]", "a Parquet file", "Say --format parquet, or name it .parquet."),
    (rb"Obj\x01", "an Avro file", _EXPORT),
    (rb"ORC[\s\S]{0,20}?[\x00-\x08\x0e-\x1f]", "an ORC file", _EXPORT),
    (rb"ARROW1\x00|FEA1\x00", "an Arrow (Feather) file", _EXPORT),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file", _EXPORT),
    (rb"SQLite format 3\x00", "a SQLite database", _EXPORT),
    (rb"\x1f\x8b\x08", "a gzip inside a gzip", "Unpack it once, and ingest what is in it."),
    (rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", "a bzip2 file", _UNPACK),
    (rb"\x28\xb5\x2f\xfd", "a zstd file", _UNPACK),
    (rb"\x04\x22\x4d\x18", "an lz4 file", _UNPACK),
    (rb"\xff\x06\x00\x00sNaPpY", "a snappy file", _UNPACK),
    (rb"\xfd7zXZ\x00", "an xz file", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (rb"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (rb"[\s\S]{257}ustar(\x00|  \x00)", "a tar archive", _UNPACK),
    (rb"%PDF-", "a PDF document", _EXPORT),
    (rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a", "a picture", "Is it the right file?"),
    (rb"\x80[\x02-\x05]", "a Python pickle", _EXPORT),
    (rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|body)\b", "an HTML page", "Is it an error or a login page?"),
    (rb"(\xef\xbb\xbf)?\s*<\?xml\b", "an XML document", _EXPORT),
)
_KNOWN = tuple(
    (re.compile(pattern, re.IGNORECASE if b"html" in pattern else 0), what, hint) for pattern, what, hint in _SIGNATURES
)
_JSON = re.compile(rb'(\xef\xbb\xbf)?\s*(\{\s*"|\[\s*\{)')
_WIDE = (
    (codecs.BOM_UTF32_LE, rb"[\t\n\r -~]\0\0\0[\t\n\r -~]\0\0\0", "utf-32-le"),
    (codecs.BOM_UTF32_BE, rb"\0\0\0[\t\n\r -~]\0\0\0[\t\n\r -~]", "utf-32-be"),
    (codecs.BOM_UTF16_LE, rb"([\t\n\r -~]\0){2}", "utf-16-le"),
    (codecs.BOM_UTF16_BE, rb"(\0[\t\n\r -~]){2}", "utf-16-be"),
)
"""Encodings of two and four bytes: byte-order mark, pattern of ASCII text in them, and name."""


def what_it_is(head: bytes) -> tuple[str, str] | None:
    """What a file that is not text is, and the hint; None if its first bytes do not tell."""
    return next(((what, hint) for known, what, hint in _KNOWN if known.match(head)), None)


def wide_encoding(head: bytes) -> tuple[str, bool] | None:
    """The encoding of two or four bytes by a text's first bytes, and whether a byte-order mark says so."""
    for mark, _, name in _WIDE:
        if head.startswith(mark):
            return name, True
    for _, ascii_text, name in _WIDE:
        if re.match(ascii_text, head):
            return name, False
    lines = head.count(b"\n")
    ends = {"utf-16-le": head.count(b"\n\0"), "utf-16-be": head.count(b"\0\n")}
    return next(((name, False) for name, count in ends.items() if lines and count == lines), None)


def as_text(pieces: Iterable[bytes], encoding: str, name: str, kind: Format | None = None) -> Iterator[bytes]:
    """The same bytes, if their beginning looks like text of this encoding.

    Args:
        pieces: of an unzipped file.
        encoding: in which they will be read.
        name: of the file, for messages.
        kind: the format as which it will be read; None: any text.

    Raises:
        InputDataError: they are something else.
    """
    rest, head = iter(pieces), b""
    for piece in rest:
        head += piece
        if len(head) >= _HEAD:
            break
    _require_text(head[:_HEAD], encoding, printable(name), kind)
    yield head
    yield from rest


def _require_text(head: bytes, encoding: str, name: str, kind: Format | None) -> None:
    found = what_it_is(head)
    if found:
        raise InputDataError(f"{name} is not text: its first bytes are those of {found[0]}.", hint=found[1])
    if kind is not None and kind.is_delimited and _JSON.match(head):
        hint = "Say --format jsonl for one object per line, else --format json."
        raise InputDataError(f"{name} is JSON, not {kind}.", hint=hint)
    wanted = codecs.lookup(encoding).name
    wide = wide_encoding(head)
    if wide and not _fits(wanted, *wide):
        hint = wide[0][:6] if wide[1] else wide[0]
        evidence = "its byte-order mark says" if wide[1] else "its first bytes say"
        raise InputDataError(f"{name} is not {encoding}: {evidence} {wide[0]}.", hint=f"Say --encoding {hint}.")
    if not wide and wanted.startswith(("utf-16", "utf-32")) and head and head.isascii() and b"\0" not in head:
        raise InputDataError(f"{name} is not {encoding}: its first bytes are ASCII.", hint="Say --encoding utf-8.")
    if head.startswith(codecs.BOM_UTF8) and not wanted.startswith("utf-8"):
        raise InputDataError(f"{name} is not {encoding}: its byte-order mark says utf-8.", hint="Say --encoding utf-8.")


def _fits(wanted: str, found: str, has_mark: bool) -> bool:
    """Whether an encoding can read text of the found one; `utf-16` needs the byte-order mark."""
    return wanted == found or (has_mark and wanted == found[:6])
