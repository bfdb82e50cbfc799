"""From a file's bytes to text, a piece at a time: hash, unzip, detect the format, decode.

Every step is a generator over the step before, so exactly the hashed bytes are parsed.
"""

import codecs
import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

from asgard.common.errors import InputDataError
from asgard.ingest.files import CHUNK, SourceFile, changed, printable
from asgard.ingest.formats import Format
from asgard.ingest.signatures import as_text

_GZIP = b"\x1f\x8b"
_GZIP_FORMAT = 31
"""For zlib: with a gzip's header and check sum."""
_BOM = "\ufeff"
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
"""Bytes that do not occur in text of any single-byte encoding."""
_AROUND = 256


def texts(file: SourceFile, encoding: str, kind: Format | None = None) -> Iterator[str]:
    """The text of a file that was hashed before.

    Args:
        file: to read.
        encoding: of its bytes.
        kind: the format as which it will be read; None: any text.

    Raises:
        InputDataError: it can't be read, unzipped or decoded, has another format by its first bytes, or changed since
            it was hashed. Raised at the end at the latest, so pieces may have been yielded before.
    """
    try:
        pieces = as_text(unzipped(verified(file), file.name), encoding, file.name, kind)
        yield from decoded(pieces, encoding, file.name)
    except InputDataError:
        if file.current_stamp() != file.stamp:
            raise changed(file.name) from None
        raise


def verified(file: SourceFile) -> Iterator[bytes]:
    """The bytes of a file; raises at the end if they are not the bytes that were hashed."""
    digest = hashlib.sha256()
    for piece in file.chunks():
        digest.update(piece)
        yield piece
    if file.digest and digest.hexdigest() != file.digest:
        raise changed(file.name)


def unzipped(pieces: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The bytes inside a gzip (of one or several members), or the bytes themselves if they are not a gzip.

    Raises:
        InputDataError: it is damaged, or ends too early.
    """
    rest = iter(pieces)
    head = b""
    for piece in rest:
        head += piece
        if len(head) >= len(_GZIP):
            break
    if not head.startswith(_GZIP):
        if name.lower().endswith(".gz") and head:
            raise InputDataError(
                f"{printable(name)} is named .gz, but it is not a gzip.", hint="Rename it, or fetch it again."
            )
        yield head
        yield from rest
        return
    yield from _members(head, rest, name)


def _members(head: bytes, rest: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The bytes inside the members; never much more than a chunk at a time, whatever the compression ratio."""
    member = zlib.decompressobj(wbits=_GZIP_FORMAT)
    is_open = True
    for data in chain((head,), rest):
        while data:
            if not is_open:
                data = data.lstrip(b"\0")  # some tools pad with zeros
                if not data:
                    break
                member, is_open = zlib.decompressobj(wbits=_GZIP_FORMAT), True
            try:
                yield member.decompress(data, CHUNK)
            except zlib.error as error:
                raise InputDataError(
                    f"{printable(name)} is a damaged gzip: {error}.", hint="Fetch the file again."
                ) from error
            is_open = not member.eof
            data = member.unconsumed_tail if is_open else member.unused_data
    if is_open:
        raise InputDataError(
            f"{printable(name)} is a truncated gzip: it ends in the middle.", hint="Fetch the file again."
        )


def decoded(pieces: Iterable[bytes], encoding: str, name: str) -> Iterator[str]:
    """Decode bytes to text, without a byte-order mark.

    Raises:
        InputDataError: some bytes are not of this encoding; the message has the offset of the first one.
    """
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    offset, at_start, is_ascii = 0, True, True

    def decode(piece: bytes, *, final: bool = False) -> str:
        pending = decoder.getstate()[0]
        try:
            return decoder.decode(piece, final)
        except UnicodeDecodeError as error:
            bad = error.object[error.start : error.start + 1].hex()
            raise InputDataError(
                f"{printable(name)} is not {encoding}: byte 0x{bad} at offset {offset - len(pending) + error.start}"
                f"{' of the unzipped bytes' if name.lower().endswith('.gz') else ''} ({error.reason}).",
                hint=_other_encoding(error, is_ascii=is_ascii),
            ) from error
        except UnicodeError as error:  # without an offset: UTF-16 or UTF-32 without a byte-order mark
            raise InputDataError(
                f"{printable(name)} is not {encoding}: it does not start with a byte-order mark.",
                hint=f"Say which one it is: --encoding {encoding}-le or {encoding}-be.",
            ) from error

    for piece in pieces:
        text = decode(piece)
        offset += len(piece)
        is_ascii = is_ascii and text.isascii()
        if at_start and text:
            text, at_start = text.removeprefix(_BOM), False
        yield text
    yield decode(b"", final=True)


def _other_encoding(error: UnicodeDecodeError, *, is_ascii: bool) -> str:
    """The hint for bytes of another encoding; it must not lead to garbage, as single-byte encodings accept any bytes.

    Args:
        error: for the first wrong byte.
        is_ascii: whether all text before these bytes was ASCII.
    """
    around = error.object[max(error.start - _AROUND, 0) : error.start + _AROUND]
    if _BINARY.search(around):
        return "It does not look like text: is it the right file? If it is packed, unpack it first."
    if not is_ascii or not error.object[: error.start].isascii():
        return (
            f"The text before it is {error.encoding}, so the file is damaged, or several files were joined: fetch it "
            "again. Another --encoding would change the letters before it."
        )
    return "Say its encoding, e.g. --encoding cp1252 (Western Europe) or latin-1; look at a few letters afterwards."
