"""Read JSON: one object per line, an array of objects, or objects one after the other. Values keep their text.

A number keeps its digits, a nested value its JSON, and a string its content. An object that has the same key twice is
ambiguous, so it counts as malformed.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from asgard.common.errors import InputDataError
from asgard.ingest.delimited import BLOCK, MAX_RECORD
from asgard.ingest.files import printable
from asgard.ingest.own_columns import CORRUPT

if TYPE_CHECKING:
    import pyarrow as pa

Record = Mapping[str, str | None] | str
"""The fields of an object as texts; or, of anything else, its text."""

_BLANK = " \t\r\n"
_SPACE = re.compile(r"[ \t\r\n]*")
_BATCH = 10_000


class Literal(str):
    """The text of a value that JSON does not write as a string: a number, true, an object, ..."""

    __slots__ = ()


class _RepeatedKeyError(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RepeatedKeyError
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=Literal, parse_float=Literal, parse_constant=Literal)


def json_text(value: Any) -> str | None:
    """A decoded value as the text that its column gets; None for null, a `Literal` for everything except strings."""
    if value is None or isinstance(value, str):
        return value
    return Literal(_nested(value))


def _nested(value: Any) -> str:
    """JSON of a value inside another, with numbers as they were written."""
    match value:
        case Literal():
            return str(value)
        case dict():
            return "{" + ",".join(f"{_nested(key)}:{_nested(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ",".join(map(_nested, value)) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def json_lines(pieces: Iterable[str], name: str) -> Iterator[Record]:
    """One record for each line that is not blank; a line that is not an object stays text.

    Raises:
        InputDataError: a line is longer than `MAX_RECORD`, or the whole file is one array.
    """
    is_first = True
    for line in _lines(pieces, name):
        if not line or line.isspace():
            continue
        if is_first and line.lstrip(_BLANK).startswith("["):
            _require_no_array_of_objects(line, name)
        is_first = False
        try:
            yield _fields(_DECODER.decode(line), line)
        except (ValueError, RecursionError):
            yield line


def _require_no_array_of_objects(first_line: str, name: str) -> None:
    """Refuse a file that begins with an array, unless its first line is an array with an element that is no object."""
    try:
        values = _DECODER.decode(first_line)
    except (ValueError, RecursionError):
        values = []
    if all(isinstance(value, dict) for value in values):
        raise InputDataError(
            f"{printable(name)} is one JSON array, not one object per line.",
            hint="Say --format json, or name it .json.",
        )


def json_values(pieces: Iterable[str], name: str) -> Iterator[Record]:
    """One record for each object of an array, or for each of several values one after the other.

    Raises:
        InputDataError: it is not JSON; the message says where.
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
    """All keys of the records, in the order of their first appearance."""
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
    """The fields of an object; the text itself of another value, or of lone surrogates, which no table can store."""
    if not isinstance(value, dict):
        return text
    fields = {key: json_text(inner) for key, inner in value.items()}
    if "\\u" in text:
        try:
            "".join(each or "" for pair in fields.items() for each in pair).encode()
        except UnicodeEncodeError:
            return text
    return fields


def _lines(pieces: Iterable[str], name: str) -> Iterator[str]:
    """The lines of a text. They end with LF or CRLF, or with CR if there is no LF; otherwise CR is white space."""
    rest, count, end = "", 1, ""
    for piece in pieces:
        text = rest + piece
        if not end:
            end = "\n" if "\n" in text else "\r" if len(text) > BLOCK else ""
        if not end:
            rest = text
        else:
            *lines, rest = text.split(end)
            yield from (line.removesuffix("\r") for line in lines)
            count += len(lines)
        if len(rest) > MAX_RECORD:
            raise InputDataError(
                f"{printable(name)}: line {count} does not end within {MAX_RECORD} characters.",
                hint="If it is one array, or objects over several lines, say --format json.",
            )
    yield from [rest.removesuffix("\r")] if end else rest.split("\r")


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
        """Skip white space; return whether the text ends there."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text) or not self._grow():
                return self._at == len(self._text)

    def take(self, character: str) -> bool:
        """Skip white space and this character; False if another character follows."""
        if self.is_at_end() or self._text[self._at] != character:
            return False
        self._at += 1
        return True

    def record(self) -> Record:
        """Decode the next value."""
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
                if end < len(self._text) or self._ended:  # otherwise a number might continue
                    start, self._at = self._at, end
                    return _fields(value, self._text[start:end])
            self._grow()

    def error(self, what: str) -> InputDataError:
        """The error for invalid JSON, with its position."""
        return InputDataError(
            f"{printable(self._name)} is not valid JSON: {what}, at character {self._before + self._at + 1}.",
            hint="If it contains one object per line, say --format jsonl: then broken lines are kept as text.",
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
