"""A column's type, parsed from its Spark SQL name: `bigint`, `decimal(10,2)`, `array<string>`.

All code that tests a type uses `DataType`; `str(...)` returns Spark's short name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

ALIASES: Mapping[str, str] = {
    "byte": "tinyint",
    "short": "smallint",
    "integer": "int",
    "long": "bigint",
    "real": "float",
    "timestamp_ltz": "timestamp",
    "dec": "decimal",
    "numeric": "decimal",
    "character": "char",
}
"""Spark's other names of types, and their short names."""
WHOLE_BITS: Mapping[str, int] = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}
"""Spark's integer types and their bits, the narrowest first."""
FLOATING = ("float", "double")
MAX_PRECISION = 38
"""The largest number of digits of a decimal."""
_DEFAULT_PRECISION, _DEFAULT_SCALE = 10, 0
_LENGTHS = ("char", "varchar")
_PARAMETERS = re.compile(r"(\w+)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)|<(.*)>)?", re.DOTALL)


@dataclass(frozen=True)
class DataType:
    """A type of a column.

    Attributes:
        base: its short name without the part in brackets, e.g. `bigint`, `decimal`, `array`. A name that is not a
            Spark SQL type (`uuid`, `fixed[16]`) is kept as a base, too.
        precision: digits of a decimal, or the length of a `char` or `varchar`; None for any other type.
        scale: digits of a decimal after the decimal point; None for any other type.
        element: the element type of an array; None for any other type.
        parts: the text in the brackets of a struct or map; None for any other type. Only a Spark session parses it
            into fields.
    """

    base: str
    precision: int | None = None
    scale: int | None = None
    element: "DataType | None" = None
    parts: str | None = None

    def __str__(self) -> str:
        """Spark's short name."""
        if self.element is not None:
            return f"{self.base}<{self.element}>"
        if self.parts is not None:
            return f"{self.base}<{self.parts}>"
        if self.precision is None:
            return self.base
        return f"{self.base}({self.precision})" if self.scale is None else f"{self.base}({self.precision},{self.scale})"

    @classmethod
    def parse(cls, text: str) -> "DataType":
        """Parse the name of a type; results are cached.

        Letter case and blanks do not matter, except in the brackets of a struct or map. Spark's other names of a type
        (`long`, `numeric(10)`) give the same type. This does not verify that the type exists.
        """
        return _parsed(text)

    @classmethod
    def decimal(cls, precision: int = _DEFAULT_PRECISION, scale: int = _DEFAULT_SCALE) -> "DataType":
        """A decimal; the defaults are those of Spark for `decimal`."""
        return cls("decimal", precision, scale)

    @classmethod
    def array(cls, element: "DataType") -> "DataType":
        """An array."""
        return cls("array", element=element)

    @property
    def digits(self) -> tuple[int, int] | None:
        """Precision and scale of a decimal; None for any other type."""
        return (self.precision, self.scale) if self.precision is not None and self.scale is not None else None

    @property
    def is_possible(self) -> bool:
        """Whether a decimal has 1 to 38 digits, and a scale of at most its precision; True for any other type."""
        return self.digits is None or (1 <= self.digits[0] <= MAX_PRECISION and self.digits[1] <= self.digits[0])

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole number."""
        return self.base in WHOLE_BITS

    @property
    def is_floating(self) -> bool:
        """Whether it is a floating-point number."""
        return self.base in FLOATING

    @property
    def is_number(self) -> bool:
        """Whether it is a number of any kind."""
        return self.is_whole or self.is_floating or self.base == "decimal"

    @property
    def is_nested(self) -> bool:
        """Whether it is an array, a struct or a map."""
        return self.element is not None or self.parts is not None

    @property
    def innermost(self) -> "DataType":
        """The element type of the innermost array; the type itself if it is not an array."""
        return self if self.element is None else self.element.innermost

    def to_arrow(self) -> "pa.DataType | None":
        """The Arrow type; None for types that Asgard does not convert (a struct, a map)."""
        import pyarrow as pa

        if self.element is not None:
            element = self.element.to_arrow()
            return None if element is None else pa.list_(element)
        if self.base == "decimal" and self.digits is not None:
            return pa.decimal128(*self.digits)
        return {
            "boolean": pa.bool_(),
            "tinyint": pa.int8(),
            "smallint": pa.int16(),
            "int": pa.int32(),
            "bigint": pa.int64(),
            "float": pa.float32(),
            "double": pa.float64(),
            "string": pa.string(),
            "binary": pa.binary(),
            "date": pa.date32(),
            "timestamp": pa.timestamp("us", tz="UTC"),
            "timestamp_ntz": pa.timestamp("us"),
        }.get(self.base)


@lru_cache(maxsize=10_000)
def _parsed(text: str) -> DataType:
    plain = text.strip()
    match = _PARAMETERS.fullmatch(plain)
    if match is None:
        return DataType(plain)
    name, first, second, inner = match.groups()
    base = ALIASES.get(name.lower(), name.lower())
    if base == "array" and inner is not None:
        return DataType.array(_parsed(inner))
    if base in ("struct", "map") and inner is not None:
        return DataType(base, parts=inner)
    if base == "decimal" and inner is None:
        return DataType.decimal() if first is None else DataType.decimal(int(first), int(second or 0))
    if base in _LENGTHS and first is not None and second is None:
        return DataType(base, int(first))
    return DataType(base if name == plain else plain)
