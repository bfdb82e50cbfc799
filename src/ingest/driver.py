"""One connection to a database from the driver's JVM: what columns a statement has, and answers of one row as text.

Spark's reader would do, but it hides which type of the database a column has, and gives values that went through
Java's time zone. Here, types are the driver's own description, and values the database's own text.
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
        """The columns of a statement, which is not executed."""
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
    """A connection for a block.

    Args:
        session: whose JVM has the driver.
        dialect: of the database.
        url: `jdbc:...`.
        properties: of the driver: user and password too.
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
