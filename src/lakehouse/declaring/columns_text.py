"""The text of `columns=`: read without Spark, so that a misspelt type is found when the pipeline is loaded.

It accepts what Spark's own parser accepts as a list of columns, except types that no table can have.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from asgard.common.arguments import nearest, shown
from asgard.common.data_type import ALIASES, DataType
from asgard.common.errors import DeclarationError

_TYPES = (
    "boolean",
    *("byte", "tinyint", "short", "smallint", "int", "integer", "long", "bigint"),
    *("float", "real", "double"),
    *("date", "timestamp", "timestamp_ltz", "timestamp_ntz"),
    *("string", "binary", "variant"),
)
_NUMBERED = {
    "decimal": (0, 2),
    "dec": (0, 2),
    "numeric": (0, 2),
    "char": (1, 1),
    "character": (1, 1),
    "varchar": (1, 1),
}
_NESTED = ("array", "map", "struct")
_BLANK = re.compile(r"(?:\s|--[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_TOKEN = re.compile(
    r"\s*(?:(?P<quoted>`(?:[^`]|``)+`)|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")|(?P<word>[A-Za-z0-9_]+)|(?P<sign>[<>(),:]))",
    re.DOTALL,
)


def read_columns(text: str) -> dict[str, str]:
    """Column names and Spark's short names of their types.

    Raises:
        DeclarationError: the text is not a list of columns, a type is unknown, or a name occurs twice.
    """
    reader = _Reader(text, list(_tokens(text)))
    return {name: str(kind) for name, kind in reader.columns(end="")}


@dataclass
class _Reader:
    text: str
    tokens: list[tuple[str, str]]
    place: int = 0

    def columns(self, end: str) -> Iterator[tuple[str, DataType]]:
        """`name type [NOT NULL] [COMMENT '...']`, separated by commas, up to a sign or the text's end."""
        seen: set[str] = set()
        while True:
            kind, name = self.next()
            if kind not in ("word", "quoted"):
                raise self.refuse(f"a column's name is expected, not {name or 'the end'!r}")
            name = name[1:-1].replace("``", "`") if kind == "quoted" else name
            if name in seen:
                raise self.refuse(f"column {name!r} occurs twice")
            seen.add(name)
            if self.peek() == ":":
                self.next()
            yield name, self.type(name)
            self.remarks(name)
            _, sign = self.next()
            if sign == end:
                return
            if sign != ",":
                raise self.refuse(f"{sign or 'the end'!r} follows the type of {name!r}")

    def type(self, column: str) -> DataType:
        kind, word = self.next()
        name = word.lower()
        if kind != "word":
            raise self.refuse(f"column {shown(column)} has no type")
        if name in _TYPES:
            return DataType.parse(name)
        if name in _NUMBERED:
            return self.numbered(column, name)
        if name not in _NESTED:
            known = (*_TYPES, *_NUMBERED, *_NESTED)
            meant = nearest(name, known)
            hint = f"Did you mean {meant}?" if meant else f"Types are {', '.join(known)}."
            raise self.refuse(f"column {column!r} has the unknown type {shown(word)}", hint)
        self.expect("<", column)
        if name == "struct":
            if self.peek() == ">":
                self.next()
                return DataType(name, parts="")
            fields = ",".join(f"{field}:{kind}" for field, kind in self.columns(end=">"))
            return DataType(name, parts=fields)
        inner = self.type(column)
        if name == "array":
            self.expect(">", column)
            return DataType.array(inner)
        self.expect(",", column)
        parts = f"{inner},{self.type(column)}"
        self.expect(">", column)
        return DataType(name, parts=parts)

    def numbered(self, column: str, name: str) -> DataType:
        least, most = _NUMBERED[name]
        numbers: list[int] = []
        if self.peek() == "(":
            self.next()
            while True:
                kind, word = self.next()
                if kind != "word" or not word.isdecimal():
                    raise self.refuse(f"column {column!r}: {name} takes whole numbers, not {word!r}")
                numbers.append(int(word))
                _, sign = self.next()
                if sign == ")":
                    break
                if sign != ",":
                    raise self.refuse(f"column {column!r}: the parenthesis of {name} is not closed")
        if not least <= len(numbers) <= most:
            raise self.refuse(f"column {column!r}: {name} takes {most} number(s) in parentheses, not {len(numbers)}")
        if most == 1:
            return DataType(ALIASES.get(name, name), numbers[0])
        found = DataType.decimal(*numbers)
        if not found.is_possible:
            raise self.refuse(
                f"column {column!r}: {found} is not possible",
                "A decimal has 1 to 38 digits, and at most as many after the point.",
            )
        return found

    def remarks(self, column: str) -> None:
        while self.peek().lower() in ("not", "comment", "collate"):
            _, word = self.next()
            kind, following = self.next()
            while word.lower() == "comment" and self.is_text():
                self.next()  # 'it''s' is two texts in a row
            fits = {"not": following.lower() == "null", "comment": kind == "text", "collate": kind == "word"}
            if not fits[word.lower()]:
                raise self.refuse(f"column {column!r}: {word} {following} is not understood")

    def is_text(self) -> bool:
        return self.place < len(self.tokens) and self.tokens[self.place][0] == "text"

    def expect(self, sign: str, column: str) -> None:
        _, found = self.next()
        if found != sign:
            raise self.refuse(f"column {column!r}: {sign!r} is expected, not {found or 'the end'!r}")

    def peek(self) -> str:
        return self.tokens[self.place][1] if self.place < len(self.tokens) else ""

    def next(self) -> tuple[str, str]:
        token = self.tokens[self.place] if self.place < len(self.tokens) else ("end", "")
        self.place += 1
        return token

    def refuse(self, what: str, hint: str = "Write e.g. 'id bigint, email string, paid decimal(10,2)'.") -> Exception:
        return DeclarationError(f"{shown(self.text)} is not a list of columns: {what}.", hint=hint)


def _blank_end(text: str, place: int) -> int:
    """The position where white space and SQL comments end."""
    blank = _BLANK.match(text, place)
    return blank.end() if blank else place


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    while (place := _blank_end(text, place)) < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise DeclarationError(
                f"{shown(text)} is not a list of columns: {text[place:].strip()[:20]!r} is not understood.",
                hint="Write e.g. 'id bigint, email string'; a name with other letters goes in `backquotes`.",
            )
        yield str(match.lastgroup), match[str(match.lastgroup)]
        place = match.end()
