"""Columns by name and type, as far as checks need them; made from Spark's schema or from plain type names."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from asgard.common.data_type import FLOATING, WHOLE_BITS, DataType
from asgard.common.errors import AsgardError
from asgard.validation.sql_text import identifier

if TYPE_CHECKING:
    from pyspark.sql.types import StructType


class UnfitCheckError(AsgardError):
    """A check that can't be applied to this table: its column is missing, or of a type that it can't read."""


class TypeKind(StrEnum):
    """The types that checks distinguish."""

    INTEGRAL = "whole number"
    FLOATING = "floating-point number"
    DECIMAL = "decimal"
    STRING = "string"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIMESTAMP_NTZ = "timestamp without time zone"
    UNORDERED = "map or variant"
    OTHER = "other"


NUMBERS = frozenset({TypeKind.INTEGRAL, TypeKind.FLOATING, TypeKind.DECIMAL})
MOMENTS = frozenset({TypeKind.DATE, TypeKind.TIMESTAMP, TypeKind.TIMESTAMP_NTZ})

_KINDS = {
    **dict.fromkeys(WHOLE_BITS, TypeKind.INTEGRAL),
    **dict.fromkeys(FLOATING, TypeKind.FLOATING),
    "decimal": TypeKind.DECIMAL,
    "string": TypeKind.STRING,
    "boolean": TypeKind.BOOLEAN,
    "date": TypeKind.DATE,
    "timestamp": TypeKind.TIMESTAMP,
    "timestamp_ntz": TypeKind.TIMESTAMP_NTZ,
    "map": TypeKind.UNORDERED,
    "variant": TypeKind.UNORDERED,
}


@dataclass(frozen=True)
class Field:
    """One column, or one field inside struct columns: its path, and Spark's short name of its type."""

    path: tuple[str, ...]
    type: str

    @property
    def name(self) -> str:
        """Its path joined by dots, as checks name it."""
        return ".".join(self.path)

    @property
    def sql(self) -> str:
        """How SQL and `F.col` name it."""
        return ".".join(identifier(part) for part in self.path)

    @property
    def kind(self) -> TypeKind:
        """The kind of its type, as far as checks distinguish it."""
        return _KINDS.get(DataType.parse(self.type).base, TypeKind.OTHER)

    @property
    def decimal(self) -> tuple[int, int]:
        """Precision and scale of a decimal."""
        digits = DataType.parse(self.type).digits
        if digits is None:
            raise TypeError(f"{self.name} is {self.type}, not a decimal")
        return digits

    @property
    def integral_range(self) -> tuple[int, int]:
        """The least and the greatest value of a whole number of its type."""
        half = 1 << (WHOLE_BITS[DataType.parse(self.type).base] - 1)
        return -half, half - 1


@dataclass(frozen=True)
class Schema:
    """A table's columns, and the fields inside its struct columns by their dotted name."""

    fields: Mapping[str, Field]

    @classmethod
    def of(cls, schema: "StructType | Mapping[str, str]") -> "Schema":
        """From Spark's schema, or from column names and Spark's short type names (`bigint`, `decimal(10,2)`).

        In the plain form, `.` in a name is part of the name: nested fields need Spark's schema.
        """
        if isinstance(schema, Mapping):
            return cls({name: Field((name,), type_) for name, type_ in schema.items()})
        fields: dict[str, Field] = {}
        for field in sorted(_flatten(schema, ()), key=lambda each: len(each.path)):
            fields.setdefault(field.name, field)  # a column `a.b` comes before the field b of a column a
        return cls(fields)

    def find(self, name: str) -> Field:
        """The column of this exact name.

        Raises:
            UnfitCheckError: there is none; the message names the existing columns.
        """
        if name in self.fields:
            return self.fields[name]
        columns = [each.name for each in self.fields.values() if len(each.path) == 1]
        shown = ", ".join(columns[:30]) + (f" and {len(columns) - 30} more" if len(columns) > 30 else "")
        close = difflib.get_close_matches(name.lower(), {each.lower(): each for each in self.fields}, n=1)
        meant = next((each for each in self.fields if close and each.lower() == close[0]), None)
        raise UnfitCheckError(
            f"There is no column {name!r}; the columns are {shown or '(none)'}.",
            hint=f"Did you mean {meant!r}?" if meant else "Names must match exactly, also in letter case.",
        )


def _flatten(schema: "StructType", path: tuple[str, ...]) -> Iterator[Field]:
    for each in schema.fields:
        here = (*path, each.name)
        yield Field(here, each.dataType.simpleString())
        if each.dataType.typeName() == "struct":
            yield from _flatten(each.dataType, here)  # type: ignore[arg-type]
