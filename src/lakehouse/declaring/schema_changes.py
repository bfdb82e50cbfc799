"""What a write would change in a table's schema, and whether its contract allows that."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard.common.data_type import DataType as TypeName
from asgard.common.errors import ContractError
from asgard.lakehouse.declaring.alignment import fields_by_name
from asgard.lakehouse.declaring.declaration import Contract, Table
from asgard.lakehouse.declaring.stored_types import require_storable
from asgard.validation.sql_text import identifier

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType


@dataclass(frozen=True)
class Rename:
    """A declared rename whose old column still exists."""

    old: str
    new: str

    def sql(self, table: str) -> str:
        """The statement that makes this change."""
        return f"ALTER TABLE {table} RENAME COLUMN {quoted(self.old)} TO {quoted(self.new)}"


@dataclass(frozen=True)
class AddColumn:
    """A column that the rows have and the table lacks."""

    path: tuple[str, ...]
    kind: "DataType"

    def sql(self, table: str) -> str:
        """The statement that makes this change."""
        return f"ALTER TABLE {table} ADD COLUMN {'.'.join(map(quoted, self.path))} {type_sql(self.kind)}"


@dataclass(frozen=True)
class Widen:
    """A column whose rows need a wider type than the table has."""

    path: tuple[str, ...]
    type: str

    def sql(self, table: str) -> str:
        """The statement that makes this change."""
        return f"ALTER TABLE {table} ALTER COLUMN {'.'.join(map(quoted, self.path))} TYPE {self.type}"


SchemaChange = Rename | AddColumn | Widen


def schema_changes(table: Table, existing: "StructType", given: "StructType") -> tuple[SchemaChange, ...]:
    """The changes that `existing` needs before it takes rows of `given`, in the order to make them.

    Columns and the fields of structs, also those in arrays and maps, are matched by name, ignoring letter case.

    Raises:
        ContractError: a column would be dropped, narrowed or changed in kind, or the contract is frozen
            and anything would change at all.
        DeclarationError: Iceberg can't store a new column.
    """
    renames = tuple(_renames(table.renames, existing, given))
    changes = (*renames, *_differences(table, _renamed(existing, renames), given, ()))
    if changes and table.contract is Contract.FROZEN:
        raise ContractError(
            f"{table.name} is under a frozen contract, but this write would change it: "
            f"{'; '.join(map(_describe, changes))}.",
            hint="Give the rows the table's columns, or declare contract='compatible'.",
        )
    for change in changes:
        if isinstance(change, AddColumn):
            require_storable(table, change.path, change.kind)
    return changes


def quoted(name: str) -> str:
    """A column name quoted for SQL."""
    return identifier(name)


def type_sql(kind: "DataType") -> str:
    """A type in SQL: Spark's short name, with unusual names of nested fields in backquotes."""
    from pyspark.sql.types import ArrayType, MapType, StructType

    match kind:
        case StructType():
            return f"struct<{','.join(f'{_spelled(field.name)}:{type_sql(field.dataType)}' for field in kind.fields)}>"
        case ArrayType():
            return f"array<{type_sql(kind.elementType)}>"
        case MapType():
            return f"map<{type_sql(kind.keyType)},{type_sql(kind.valueType)}>"
        case _:
            return kind.simpleString()


def _spelled(name: str) -> str:
    return name if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) else quoted(name)


def _renames(declared: Mapping[str, str], existing: "StructType", given: "StructType") -> Iterator[Rename]:
    existing_fields, given_fields = fields_by_name(existing), fields_by_name(given)
    for old, new in declared.items():
        if old in existing.names and new.lower() not in existing_fields and new.lower() in given_fields:
            yield Rename(old, new)


def _renamed(existing: "StructType", renames: tuple[Rename, ...]) -> "StructType":
    from pyspark.sql.types import StructField, StructType

    new_names = {rename.old: rename.new for rename in renames}
    return StructType([StructField(new_names.get(f.name, f.name), f.dataType, f.nullable) for f in existing.fields])


def _differences(
    table: Table, existing: "StructType", given: "StructType", path: tuple[str, ...]
) -> Iterator[SchemaChange]:
    existing_fields, given_fields = fields_by_name(existing), fields_by_name(given)
    dropped = [".".join((*path, field.name)) for name, field in existing_fields.items() if name not in given_fields]
    if dropped:
        if not path:
            raise ContractError(
                f"{table.name}: the rows lack columns that the table has: {', '.join(dropped)}.",
                hint="Keep them (as null, if need be), or declare a rename: renames={'old': 'new'}.",
            )
        raise ContractError(
            f"{table.name}: the rows lack fields that the table has: {', '.join(dropped)}; {'.'.join(path)} is "
            f"{type_sql(existing)} in the table but {type_sql(given)} in the rows.",
            hint="Keep them (as null, if need be).",
        )
    for name, column in given_fields.items():
        if name not in existing_fields:
            yield AddColumn((*path, column.name), column.dataType)
        else:
            yield from _type_difference(
                table, existing_fields[name].dataType, column.dataType, (*path, existing_fields[name].name)
            )


def _type_difference(table: Table, old: "DataType", new: "DataType", path: tuple[str, ...]) -> Iterator[SchemaChange]:
    from pyspark.sql.types import ArrayType, MapType, NullType, StructType

    match old, new:
        case _, NullType():
            return  # null everywhere
        case StructType(), StructType():
            yield from _differences(table, old, new, path)
        case ArrayType(), ArrayType():
            yield from _type_difference(table, old.elementType, new.elementType, (*path, "element"))
        case MapType(), MapType():
            if any(_type_difference(table, old.keyType, new.keyType, (*path, "key"))):
                raise _other_kind(table, (*path, "key"), old.keyType, new.keyType)  # Iceberg can't change keys
            yield from _type_difference(table, old.valueType, new.valueType, (*path, "value"))
        case _ if old.simpleString() == new.simpleString() or widens(new.simpleString(), old.simpleString()):
            return  # the same, or narrower: written as the table's type
        case _ if widens(old.simpleString(), new.simpleString()):
            yield Widen(path, new.simpleString())
        case _:
            raise _other_kind(table, path, old, new)


def _other_kind(table: Table, path: tuple[str, ...], old: "DataType", new: "DataType") -> ContractError:
    return ContractError(
        f"{table.name}: column {'.'.join(path)} is {type_sql(old)} in the table but {type_sql(new)} in "
        "the rows: this would change its kind or lose data.",
        hint=f"Cast it to {type_sql(old)} in the table's function.",
    )


def widens(old: str, new: str) -> bool:
    """Whether Iceberg may widen `old` to `new` without rewriting a file (its specification's promotions).

    Args:
        old, new: Spark's short type names.
    """
    before, after = TypeName.parse(old).digits, TypeName.parse(new).digits
    if before and after:
        return before[1] == after[1] and after[0] >= before[0]
    return (old, new) in {
        ("int", "bigint"),
        ("smallint", "int"),
        ("tinyint", "int"),
        ("smallint", "bigint"),
        ("tinyint", "bigint"),
        ("float", "double"),
    }


def _describe(change: SchemaChange) -> str:
    match change:
        case Rename(old, new):
            return f"rename {old} to {new}"
        case AddColumn(path, kind):
            return f"add {'.'.join(path)} {type_sql(kind)}"
        case Widen(path, kind):
            return f"widen {'.'.join(path)} to {kind}"


def sql_text(value: str) -> str:
    """A text as an SQL literal, with backslashes and quotes escaped."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
