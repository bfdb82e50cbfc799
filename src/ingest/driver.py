"""A database connection from the driver's JVM: the columns of a statement, and its rows as text.

Spark's reader hides a column's database type, and its values pass through Java's time zone. Here, types are as the JDBC
driver describes them, and values are the database's own text.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgard.ingest.database_types import DatabaseColumn
from asgard.ingest.dialects import Dialect

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Connection:
    """An open connection, with its session set up."""

    java: Any

    def columns(self, sql: str) -> tuple[DatabaseColumn, ...]:
        """The columns of a statement; the statement is not executed."""
        statement = self.java.prepareStatement(sql)
        try:
            found = statement.getMetaData()
            return tuple(
                DatabaseColumn(
                    found.getColumnLabel(place),
                    found.getColumnTypeName(place),
                    found.getPrecision(place),
                    found.getScale(place),
                )
                for place in range(1, (found.getColumnCount() if found is not None else 0) + 1)
            )
        finally:
            statement.close()

    def rows(self, sql: str) -> list[tuple[str | None, ...]]:
        """The rows of a statement, as text."""
        statement = self.java.createStatement()
        try:
            found = statement.executeQuery(sql)
            width = range(1, found.getMetaData().getColumnCount() + 1)
            rows = []
            while found.next():
                rows.append(tuple(found.getString(place) for place in width))
            return rows
        finally:
            statement.close()


@contextmanager
def connected(
    session: "SparkSession", dialect: Dialect, url: str, properties: Mapping[str, str]
) -> Iterator[Connection]:
    """A connection that is open within a `with` block.

    Args:
        session: Spark session whose JVM has the driver.
        dialect: of the database.
        url: `jdbc:...`.
        properties: of the driver, including user and password.
    """
    jvm: Any = session._jvm
    given = jvm.java.util.Properties()
    for name, value in properties.items():
        given.setProperty(name, value)
    loader = jvm.org.apache.spark.util.Utils.getContextOrSparkClassLoader()
    connection = loader.loadClass(dialect.driver).newInstance().connect(url, given)
    try:
        statement = connection.createStatement()
        statement.execute(dialect.session)
        statement.close()
        yield Connection(connection)
    finally:
        connection.close()
