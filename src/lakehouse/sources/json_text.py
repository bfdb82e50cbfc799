"""Read JSON: one object per line, or objects in an array or one after the other. Values keep their text.

A number keeps its digits, a nested value its JSON; a string is its content. An object with the same key
twice has no single answer for it, so it counts as malformed.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from asgard.common.errors import InputDataError
from asgard.lakehouse.sources.delimited import BLOCK, MAX_RECORD
from asgard.lakehouse.sources.files import printable
from asgard.lakehouse.sources.own_columns import CORRUPT

if TYPE_CHECKING:
    import pyarrow as pa

Record = Mapping[str, str | None] | str
"""The fields of an object as texts, or the text of what is no object."""

_LINE_END = re.compile(r"\r\n?|\n")
_SPACE = re.compile(r"[ \t\r\n]*")
_BATCH = 10_000


class _Token(str):
    """A number (or true, false, NaN) as it was written."""

    __slots__ = ()


class _RepeatedKeyError(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RepeatedKeyError
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_Token, parse_float=_Token, parse_constant=_Token)


def json_text(value: Any) -> str | None:
    """A decoded value as the text that its column gets; None for null."""
    match value:
        case None:
            return None
        case _Token():
            return str(value)
        case str():
            return value
        case _:
            return _nested(value)


def _nested(value: Any) -> str:
    """JSON of a value inside another, with numbers as they were written."""
    match value:
        case _Token():
            return str(value)
        case dict():
            return "{" + ",".join(f"{_nested(key)}:{_nested(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ",".join(map(_nested, value)) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def json_lines(pieces: Iterable[str]) -> Iterator[Record]:
    """One record for each line that is not blank; a line that is no object stays text."""
    for line in _lines(pieces):
        if not line or line.isspace():
            continue
        try:
            yield _fields(_DECODER.decode(line), line)
        except (ValueError, RecursionError):
            yield line


def json_values(pieces: Iterable[str], name: str) -> Iterator[Record]:
    """One record for each object of an array, or for each of several values one after the other.

    Raises:
        InputDataError: it is no JSON; the message says where.
    """
    text = _Window(pieces, name)
    in_array = text.take("[")
    separator = ""
    while not text.is_at_end():
        if in_array and text.take("]"):
            in_array = False
            if not text.is_at_end():
                raise text.error("text follows the array")
            return
        if separator and not text.take(separator):
            raise text.error(f"{separator!r} is missing")
        yield text.record()
        separator = "," if in_array else ""
    if in_array:
        raise text.error("the array does not end: was the file cut off?")


def keys_of(records: Iterable[Record]) -> tuple[str, ...]:
    """Every key of any record, in the order in which they first come."""
    keys: dict[str, None] = {}
    for record in records:
        if not isinstance(record, str):
            keys.update(dict.fromkeys(record))
    return tuple(keys)


def in_batches(records: Iterable[Record]) -> Iterator[Sequence[Record]]:
    """The records in order, some thousands at a time."""
    rest = iter(records)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def as_table(batch: Sequence[Record], keys: Sequence[str]) -> "pa.Table":
    """Records as string columns `0`, `1`, ... (one for each key) and `_corrupt`."""
    import pyarrow as pa

    nothing: Mapping[str, str | None] = {}
    rows = [nothing if isinstance(record, str) else record for record in batch]
    columns = [pa.array([row.get(key) for row in rows], pa.string()) for key in keys]
    corrupt = pa.array([record if isinstance(record, str) else None for record in batch], pa.string())
    return pa.table([*columns, corrupt], names=[*map(str, range(len(keys))), CORRUPT])


def _fields(value: Any, text: str) -> Record:
    return {key: json_text(inner) for key, inner in value.items()} if isinstance(value, dict) else text


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    rest = ""
    for piece in pieces:
        *lines, rest = _LINE_END.split(rest + piece) if not piece.endswith("\r") else [rest + piece]
        yield from lines
    yield from _LINE_END.split(rest)


class _Window:
    """The part of a text that is being decoded."""

    def __init__(self, pieces: Iterable[str], name: str) -> None:
        self._pieces = iter(pieces)
        self._name = name
        self._text = ""
        self._at = 0
        self._before = 0
        self._ended = False

    def is_at_end(self) -> bool:
        """Skip white space; whether nothing follows."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text) or not self._grow():
                return self._at == len(self._text)

    def take(self, character: str) -> bool:
        """Skip white space and this character; False if another one comes."""
        if self.is_at_end() or self._text[self._at] != character:
            return False
        self._at += 1
        return True

    def record(self) -> Record:
        """Decode the value that comes."""
        if self.is_at_end():
            raise self.error("a value is missing")
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except _RepeatedKeyError:
                raise self.error("an object has the same key twice") from None
            except RecursionError:
                raise self.error("it is nested too deeply") from None
            except json.JSONDecodeError as error:
                if self._ended or len(self._text) - self._at > MAX_RECORD:
                    self._at = error.pos
                    raise self.error(error.msg.lower()) from None
            else:
                if end < len(self._text) or self._ended:  # else a number might go on
                    start, self._at = self._at, end
                    return _fields(value, self._text[start:end])
            self._grow()

    def error(self, what: str) -> InputDataError:
        """The error for what is no JSON, with its place."""
        return InputDataError(
            f"{printable(self._name)} is no JSON: {what}, at character {self._before + self._at + 1}.",
            hint="If it holds one object per line, say --format jsonl: then broken lines are kept as text.",
        )

    def _grow(self) -> bool:
        size = 0
        fresh = []
        while size < max(BLOCK, len(self._text)) and (piece := next(self._pieces, None)) is not None:
            fresh.append(piece)
            size += len(piece)
        self._ended = not size
        self._before += self._at
        self._text, self._at = self._text[self._at :] + "".join(fresh), 0
        return bool(size)
