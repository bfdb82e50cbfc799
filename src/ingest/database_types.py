"""How each database type is read: natively as a number or bytes, or as the text that the database writes for it.

A type is read natively where its JDBC value is exact in every process. All other types are selected as text, in a
session with a fixed time zone and fixed formats, and parsed like the text of a file: exactly, or null with the text in
`_raw`. This avoids java.sql.Timestamp, whose value depends on the process's time zone, and rounded decimals.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from asgard.common.data_type import MAX_PRECISION, DataType

"""Digits of Spark's and Iceberg's decimals."""
_KEPT_SCALE = 18
"""Digits behind the point that are kept of a decimal with more than `MAX_PRECISION` digits, if it has that many."""


class Order(Enum):
    """Kinds of values that a cursor column or a partition column can have."""

    WHOLE = "a whole number"
    DECIMAL = "a decimal"
    DATE = "a date"
    MOMENT = "a time"
    ZONED = "a time with a zone"

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers; else they are times."""
        return self in (Order.WHOLE, Order.DECIMAL)


@dataclass(frozen=True)
class DatabaseColumn:
    """A column as the driver describes it.

    Attributes:
        dimensions: of an array, as declared; 1 where that is unknown.
    """

    name: str
    type: str
    precision: int = 0
    scale: int = 0
    dimensions: int = 1


@dataclass(frozen=True)
class ColumnRead:
    """How one column is read.

    Attributes:
        column: of the database.
        sql: the expression that is selected, with `{}` for the column.
        source: Spark's type of the selected value.
        wanted: the type of a new table column for it.
        elements: for an array, SQL of its elements' texts as JSON; null where only the array's own text is complete.
        order: the kind of its values; None: it can't be a cursor or partition column.
    """

    column: DatabaseColumn
    sql: str
    source: str
    wanted: str
    elements: str | None = None
    order: Order | None = None


def native(kind: str, order: Order | None = None) -> Callable[[DatabaseColumn], ColumnRead]:
    """A type whose value from the driver Spark reads directly."""
    return lambda column: ColumnRead(column, "{}", kind, kind, order=order)


def as_text(sql: str, wanted: str = "string", order: Order | None = None) -> Callable[[DatabaseColumn], ColumnRead]:
    """A type that is selected as text."""
    return lambda column: ColumnRead(column, sql, "string", wanted, order=order)


def decimal_type(precision: int, scale: int) -> str:
    """The type for a database decimal; of more than 38 digits, those before the point are kept first.

    Args:
        precision: 0 for any number of digits.
        scale: digits behind the point; negative where the last digits before the point are zeros.
    """
    if precision == 0:
        return str(DataType.decimal(MAX_PRECISION, _KEPT_SCALE))
    if scale < 0:
        precision, scale = precision - scale, 0
    precision = max(precision, scale)
    if precision <= MAX_PRECISION:
        return str(DataType.decimal(precision, scale))
    kept = max(MAX_PRECISION - (precision - scale), min(scale, _KEPT_SCALE))
    return str(DataType.decimal(MAX_PRECISION, kept))


_TEXT = "cast({} as text)"


def _postgres_numeric(column: DatabaseColumn) -> ColumnRead:
    # Always as text: a numeric(10,2) may be NaN, which is not a decimal.
    scale = column.scale - 2048 if column.scale > 1023 else column.scale  # the driver returns 11 bits without a sign
    wanted = decimal_type(column.precision, scale)
    order = Order.DECIMAL if DataType.parse(wanted).scale else Order.WHOLE
    return ColumnRead(column, _TEXT, "string", wanted, order=order)


_POSTGRES: Mapping[str, Callable[[DatabaseColumn], ColumnRead]] = {
    **dict.fromkeys(("int2", "smallserial"), native("smallint", Order.WHOLE)),
    **dict.fromkeys(("int4", "serial"), native("int", Order.WHOLE)),
    **dict.fromkeys(("int8", "bigserial"), native("bigint", Order.WHOLE)),
    "oid": native("bigint"),
    "float4": native("float"),
    "float8": native("double"),
    "bool": native("boolean"),
    "bytea": native("binary"),
    "numeric": _postgres_numeric,
    "date": as_text(_TEXT, "date", Order.DATE),
    "timestamp": as_text(_TEXT, "timestamp", Order.MOMENT),
    "timestamptz": as_text("cast({} at time zone 'UTC' as text)", "timestamp", Order.ZONED),
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "inet", "cidr"), native("string")),
}
_OUTPUT_IS_NOT_CAST = frozenset({"bpchar", "inet", "cidr"})
"""Types whose values a cast to text changes: trailing blanks are cut, a network mask is added."""


def postgres_read(column: DatabaseColumn) -> ColumnRead:
    """How a column of PostgreSQL is read; a type that is not listed is read as the server's text of it."""
    if column.type.startswith("_"):
        return _postgres_array(column)
    if column.type == "bit" and column.precision == 1:
        return ColumnRead(column, _TEXT, "string", "boolean")
    return _POSTGRES.get(column.type, as_text(_TEXT))(column)


def _postgres_array(column: DatabaseColumn) -> ColumnRead:
    element = replace(column, type=column.type[1:])
    wanted = DataType.parse(postgres_read(element).wanted)
    for _ in range(column.dimensions):
        wanted = DataType.array(wanted)
    texts = "to_json({})" if element.type in _OUTPUT_IS_NOT_CAST else "to_json(cast({} as text[]))"
    plain = " AND ".join(f"array_lower({{}}, {place}) = 1" for place in range(1, column.dimensions + 1))
    elements = (
        f"CASE WHEN cardinality({{}}) = 0 OR (array_ndims({{}}) = {column.dimensions} AND {plain}) "
        f"THEN cast({texts} as text) END"
    )
    return ColumnRead(column, _TEXT, "string", str(wanted), elements=elements)


_CHARS = "cast({} as char)"
_MYSQL: Mapping[str, Callable[[DatabaseColumn], ColumnRead]] = {
    "TINYINT": native("tinyint", Order.WHOLE),
    **dict.fromkeys(("TINYINT UNSIGNED", "SMALLINT"), native("smallint", Order.WHOLE)),
    **dict.fromkeys(
        ("SMALLINT UNSIGNED", "MEDIUMINT", "MEDIUMINT UNSIGNED", "INT", "INTEGER"), native("int", Order.WHOLE)
    ),
    **dict.fromkeys(("INT UNSIGNED", "INTEGER UNSIGNED", "BIGINT"), native("bigint", Order.WHOLE)),
    "BIGINT UNSIGNED": native("decimal(20,0)", Order.WHOLE),
    "FLOAT": native("float"),
    "FLOAT UNSIGNED": native("float"),
    "DOUBLE": native("double"),
    "DOUBLE UNSIGNED": native("double"),
    "DATE": as_text(_CHARS, "date", Order.DATE),
    "DATETIME": as_text(_CHARS, "timestamp", Order.MOMENT),
    "TIMESTAMP": as_text(_CHARS, "timestamp", Order.MOMENT),
    "YEAR": as_text(_CHARS, "int"),
    # not CHAR: Spark would pad it with blanks
    **dict.fromkeys(("VARCHAR", "TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT"), native("string")),
    **dict.fromkeys(
        ("BINARY", "VARBINARY", "TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB", "GEOMETRY"), native("binary")
    ),
}


def mysql_read(column: DatabaseColumn) -> ColumnRead:
    """How a column of MySQL is read; a type that is not listed is read as its text."""
    if column.type in ("DECIMAL", "DECIMAL UNSIGNED"):
        order = Order.DECIMAL if column.scale else Order.WHOLE
        wanted = decimal_type(column.precision, column.scale)
        if column.precision <= MAX_PRECISION:
            return native(wanted, order)(column)
        return as_text(_CHARS, wanted, order)(column)
    if column.type == "BIT" and column.precision == 1:
        return native("boolean")(column)
    if column.type == "BIT":  # without a cast, the driver returns the digits of its number
        return ColumnRead(column, "cast({} as binary)", "binary", "binary")
    return _MYSQL.get(column.type, as_text(_CHARS))(column)
