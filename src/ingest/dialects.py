"""What differs between the databases that are read over JDBC."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from asgard.ingest.database_types import ColumnRead, DatabaseColumn, mysql_read, postgres_read


@dataclass(frozen=True)
class Dialect:
    """One kind of database.

    Attributes:
        name: scheme of the address, after `jdbc:`.
        driver: Java class.
        quote: around identifiers; doubled inside them.
        as_text: SQL of a value as text, with `{}` for the value.
        session: statement that every connection begins with: it sets the time zone and the formats of text.
        options: of the driver.
        read_of: how a column is read.
        finite: SQL of which rows have a number, with `{}` for the column, where numbers may be none.
        folds_names: whether two columns' names may not differ by case only.
    """

    name: str
    driver: str
    quote: str
    as_text: str
    session: str
    options: Mapping[str, str]
    read_of: Callable[[DatabaseColumn], ColumnRead]
    finite: str
    folds_names: bool

    def quoted(self, identifier: str) -> str:
        """An identifier as this database takes it, whatever is in it."""
        return self.quote + identifier.replace(self.quote, self.quote * 2) + self.quote


DIALECTS = {
    "postgresql": Dialect(
        name="postgresql",
        driver="org.postgresql.Driver",
        quote='"',
        as_text="cast({} as text)",
        session="SET TIME ZONE 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; "
        "SET extra_float_digits = 1; SET bytea_output = 'hex'",
        options={"ApplicationName": "asgard ingest", "binaryTransfer": "false"},
        read_of=postgres_read,
        finite="cast({} as text) NOT IN ('NaN', 'Infinity', '-Infinity')",
        folds_names=False,
    ),
    "mysql": Dialect(
        name="mysql",
        driver="com.mysql.cj.jdbc.Driver",
        quote="`",
        as_text="cast({} as char)",
        session="SET time_zone = '+00:00'",
        # rows by cursor, not all at once; tinyint(1) as the number that it is
        options={"useCursorFetch": "true", "tinyInt1isBit": "false", "connectionTimeZone": "UTC"},
        read_of=mysql_read,
        finite="{} IS NOT NULL",
        folds_names=True,
    ),
}
