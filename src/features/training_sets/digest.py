"""The digest of a training set: equal for equal rows, whatever their order, their files and the engine.

Each value becomes an unambiguous text: null is `-`; a number or a time is its characters and a comma; a text is its
length in bytes, a colon and its characters; a list starts with the number of its elements. So no value can be mistaken
for a separator or for null. Names and kinds of the columns come first; widths that engines choose on their own (int or
bigint) are ignored.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.features.joins import duck
from asgard.features.joins.duck import quoted, text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

DIGEST = "sha256 of the columns' names and kinds, and of the sorted md5s of the rows' delimited texts (version 2)"
_BATCH_ROWS = 10_000
_INTEGERS = ("tinyint", "smallint", "integer", "bigint", "hugeint")
_EXACT = (*_INTEGERS, *(f"u{name}" for name in _INTEGERS), "decimal")
_TEXTS = ("varchar", "enum", "uuid")
_WITHOUT_COMMA = (*_EXACT, "float", "double", "boolean", "date", "timestamp", "timestamp with time zone")


def digest(connection: "DuckDBPyConnection", path: Path) -> str:
    """The digest of a set: a Parquet file, or a folder of them."""
    rows = connection.sql(f"SELECT * FROM {reading(path)}")
    kinds: dict[str, DuckDBPyType] = dict(zip(rows.columns, rows.types, strict=True))
    digest = hashlib.sha256("".join(_prefixed(name) + _kind(kinds[name]) for name in sorted(kinds)).encode())
    values = ", ".join(_encoded(quoted(name), kinds[name]) for name in sorted(kinds))
    # Streamed: a result of `execute` is kept as a whole, beyond DuckDB's memory limit.
    ordered = connection.sql(f"SELECT md5(concat({values})) AS row FROM {reading(path)} ORDER BY row")
    for batch in ordered.to_arrow_reader(_BATCH_ROWS):
        digest.update("".join(batch.column(0).to_pylist()).encode())
    return digest.hexdigest()


def column_types(connection: "DuckDBPyConnection", path: Path) -> dict[str, str]:
    """A set's columns, with their DuckDB types."""
    rows = connection.sql(f"SELECT * FROM {reading(path)}")
    return {name: str(kind) for name, kind in zip(rows.columns, rows.types, strict=True)}


def reading(path: Path) -> str:
    """SQL that reads a set, e.g. for a FROM clause."""
    files = duck.path_text(str(path), "*.parquet" if path.is_dir() else "")
    return f"read_parquet({files}, hive_partitioning = false)"


def _prefixed(name: str) -> str:
    return f"{len(name.encode())}:{name}"


def _children(kind: "DuckDBPyType") -> "dict[str, DuckDBPyType]":
    children: list[tuple[str, Any]] = kind.children
    return dict(children)


def _kind(kind: "DuckDBPyType") -> str:
    """The kind of a type, without the widths that two engines may choose differently."""
    if kind.id == "list":
        return f"[{_kind(_children(kind)['child'])}]"
    if kind.id == "struct":
        return "{" + "".join(_prefixed(name) + _kind(child) for name, child in sorted(_children(kind).items())) + "}"
    if kind.id == "map":
        return f"({_kind(_children(kind)['key'])}{_kind(_children(kind)['value'])})"
    return _prefixed("number" if kind.id in _EXACT else "text" if kind.id in _TEXTS else kind.id)


def _encoded(value: str, kind: "DuckDBPyType", depth: int = 0) -> str:
    """SQL of a value's text, as arguments of `concat`; no text is a prefix of another value's of the same type."""
    if kind.id == "list":
        item = f"item_{depth}"
        items = f"list_transform({value}, lambda {item}: concat({_encoded(item, _children(kind)['child'], depth + 1)}))"
        return f"CASE WHEN {value} IS NULL THEN '-' ELSE concat(len({value}), ':', array_to_string({items}, '')) END"
    if kind.id == "struct":
        fields = [
            _encoded(f"struct_extract({value}, {text(name)})", child, depth)
            for name, child in sorted(_children(kind).items())
        ]
        return f"CASE WHEN {value} IS NULL THEN '-' ELSE concat('+', {', '.join(fields)}) END"
    if kind.id == "map":
        entry, children = f"entry_{depth}", _children(kind)
        pair = ", ".join(_encoded(f"{entry}.{name}", children[name], depth + 1) for name in ("key", "value"))
        entries = f"list_transform(map_entries({value}), lambda {entry}: concat({pair}))"
        size = f"cardinality({value})"
        return f"CASE WHEN {value} IS NULL THEN '-' ELSE concat({size}, ':', array_to_string({entries}, '')) END"
    if kind.id in _WITHOUT_COMMA:
        return f"coalesce({value}::VARCHAR, '-'), ','"
    written = f"hex({value})" if kind.id == "blob" else f"{value}::VARCHAR"
    return f"CASE WHEN {value} IS NULL THEN '-' ELSE concat(strlen({written}), ':', {written}) END"
