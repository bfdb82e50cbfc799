"""Random nested types and values, and their conversion to another type by field names, as a loop over Python values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

NAMES = ("a", "b", "c", "first name", "x.y", "ü`", "count")
SINGLE = ("int", "bigint", "string", "double", "boolean", "date")
_ARROW = {
    "int": pa.int32(), "bigint": pa.int64(), "string": pa.string(), "double": pa.float64(), "boolean": pa.bool_(),
    "date": pa.date32(),
}  # fmt: skip
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "string": st.text("abü'\\\"", max_size=4),
    "double": st.floats(allow_nan=False).map(lambda value: value + 0.0),
    "boolean": st.booleans(),
    "date": st.dates(),
}


@dataclass(frozen=True)
class Kind:
    """A type: `struct` with names, `array`, `map` (with text keys), or the short name of a scalar type."""

    name: str
    parts: "tuple[Kind, ...]" = ()
    names: tuple[str, ...] = ()

    @property
    def arrow(self) -> pa.DataType:
        """The type in PyArrow."""
        match self.name:
            case "struct":
                return pa.struct([(name, part.arrow) for name, part in zip(self.names, self.parts, strict=True)])
            case "array":
                return pa.list_(self.parts[0].arrow)
            case "map":
                return pa.map_(pa.string(), self.parts[0].arrow)
            case _:
                return _ARROW[self.name]

    @property
    def ddl(self) -> str:
        """The type in SQL."""
        match self.name:
            case "struct":
                quoted = ["`" + name.replace("`", "``") + "`" for name in self.names]
                return f"struct<{', '.join(f'{n}: {p.ddl}' for n, p in zip(quoted, self.parts, strict=True))}>"
            case "array":
                return f"array<{self.parts[0].ddl}>"
            case "map":
                return f"map<string, {self.parts[0].ddl}>"
            case _:
                return self.name

    def values(self) -> st.SearchStrategy[Any]:
        """Values of the type: structs and maps as dicts."""
        match self.name:
            case "struct":
                found = st.fixed_dictionaries(dict(zip(self.names, (p.values() for p in self.parts), strict=True)))
            case "array":
                found = st.lists(self.parts[0].values(), max_size=2)
            case "map":
                found = st.dictionaries(st.sampled_from(["k", "l", ""]), self.parts[0].values(), max_size=2)
            case _:
                found = _VALUES[self.name]
        return st.none() | found

    def to_arrow(self, value: Any) -> Any:
        """Convert a value for PyArrow: maps become pairs."""
        if value is None:
            return None
        match self.name:
            case "struct":
                return {n: p.to_arrow(value[n]) for n, p in zip(self.names, self.parts, strict=True)}
            case "array":
                return [self.parts[0].to_arrow(part) for part in value]
            case "map":
                return [(key, self.parts[0].to_arrow(part)) for key, part in value.items()]
            case _:
                return value

    def from_arrow(self, value: Any) -> Any:
        """Convert a value from PyArrow: maps become dicts."""
        if value is None:
            return None
        match self.name:
            case "struct":
                return {n: p.from_arrow(value[n]) for n, p in zip(self.names, self.parts, strict=True)}
            case "array":
                return [self.parts[0].from_arrow(part) for part in value]
            case "map":
                return {key: self.parts[0].from_arrow(part) for key, part in value}
            case _:
                return value

    def of(self, other: "Kind", value: Any) -> Any:
        """Convert a value of another type to this type, which has all fields of the other."""
        if value is None:
            return None
        match self.name:
            case "struct":
                there = dict(zip(other.names, other.parts, strict=True))
                return {
                    name: part.of(there[name], value[name]) if name in there else None
                    for name, part in zip(self.names, self.parts, strict=True)
                }
            case "array":
                return [self.parts[0].of(other.parts[0], part) for part in value]
            case "map":
                return {key: self.parts[0].of(other.parts[0], part) for key, part in value.items()}
            case _:
                return value


def kinds(depth: int = 3) -> st.SearchStrategy[Kind]:
    """Types, of which most contain structs."""
    single = st.sampled_from(SINGLE).map(Kind)
    if depth == 0:
        return single
    inner = kinds(depth - 1)

    def struct(names: Sequence[str]) -> st.SearchStrategy[Kind]:
        return st.tuples(*(inner for _ in names)).map(lambda parts: Kind("struct", parts, tuple(names)))

    structs = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True).flatmap(struct)
    listed = inner.map(lambda part: Kind("array", (part,)))
    mapped = inner.map(lambda part: Kind("map", (part,)))
    return structs | structs | listed | mapped | single


@st.composite
def reordered(draw: st.DrawFn, kind: Kind) -> Kind:
    """The same type with the fields of its structs in another order."""
    parts = tuple(draw(reordered(part)) for part in kind.parts)
    if kind.name != "struct":
        return Kind(kind.name, parts, kind.names)
    order = draw(st.permutations(range(len(parts))))
    return Kind("struct", tuple(parts[place] for place in order), tuple(kind.names[place] for place in order))


@st.composite
def grown(draw: st.DrawFn, kind: Kind) -> Kind:
    """A compatible type: with added fields in some structs, wider numbers, and another order of fields."""
    if kind.name == "int":
        return Kind(draw(st.sampled_from(["int", "bigint"])))
    parts = tuple(draw(grown(part)) for part in kind.parts)
    if kind.name != "struct":
        return Kind(kind.name, parts, kind.names)
    free = [name for name in NAMES if name not in kind.names]
    added = draw(st.lists(st.sampled_from(free), max_size=2, unique=True))
    names = (*kind.names, *added)
    parts = (*parts, *(draw(kinds(1)) for _ in added))
    order = draw(st.permutations(range(len(parts))))
    return Kind("struct", tuple(parts[place] for place in order), tuple(names[place] for place in order))


@st.composite
def unfit(draw: st.DrawFn, kind: Kind) -> Kind:
    """An incompatible type: one field of a struct has another name, or one part is of another kind."""
    if kind.name == "struct" and draw(st.booleans()):
        free = [name for name in NAMES if name not in kind.names]
        place = draw(st.integers(0, len(kind.names) - 1))
        return Kind("struct", kind.parts, (*kind.names[:place], draw(st.sampled_from(free)), *kind.names[place + 1 :]))
    if kind.parts:
        place = draw(st.integers(0, len(kind.parts) - 1))
        return Kind(
            kind.name,
            (*kind.parts[:place], draw(unfit(kind.parts[place])), *kind.parts[place + 1 :]),
            kind.names,
        )
    return Kind("array", (kind,))


def has_struct(kind: Kind) -> bool:
    """Whether a type contains a struct."""
    return kind.name == "struct" or any(map(has_struct, kind.parts))


def plain(value: Any) -> Any:
    """Convert a value of Spark: rows become dicts."""
    if hasattr(value, "asDict"):
        return {name: plain(part) for name, part in zip(value.__fields__, value, strict=True)}
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else value
