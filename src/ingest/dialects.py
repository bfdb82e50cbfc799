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
        finite: SQL condition for rows with a finite number, with `{}` for the column.
        folds_names: whether column names that differ only in case are the same name.
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
        """An identifier, quoted and escaped for this database."""
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
        # fetch rows by cursor, not all at once; read tinyint(1) as a number
        options={"useCursorFetch": "true", "tinyInt1isBit": "false", "connectionTimeZone": "UTC"},
        read_of=mysql_read,
        finite="{} IS NOT NULL",
        folds_names=True,
    ),
}
