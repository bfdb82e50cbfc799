"""Read a database table or query over JDBC: whole, in partitions, or only rows that are new since the last read.

With a cursor column, a read takes the rows above the last published value (the watermark, kept in the ledger) up to the
greatest value that exists when the read starts. It also re-reads the rows from the watermark minus an overlap on;
`relanding` drops those that already landed. A row that changes while its cursor value stays the same is found only in
that window. A read in partitions uses one connection per partition: if the table changes meanwhile, the rows are not
one snapshot.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from asgard.common.errors import AsgardError, InputDataError, ServiceError, ServiceUnreachableError, UsageError
from asgard.common.settings import Secret
from asgard.common.spark_utils import first_line
from asgard.ingest.cursor import cuts, literal, parse_overlap, position, read_again_from
from asgard.ingest.database_types import ColumnRead, DatabaseColumn, Order
from asgard.ingest.dialects import DIALECTS, Dialect
from asgard.ingest.driver import Connection, connected

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_SECRET_PARAMETER = re.compile(r"(?i)(password|passwd|pwd|passphrase|token|secret)")
_PART = "asgard_part"


@dataclass(frozen=True)
class JdbcSource:
    """What to read, and how.

    Attributes:
        url: `jdbc:postgresql://host:5432/database` or `jdbc:mysql://...`, without a password.
        table: `table` or `schema.table`, as spelled in the database; or
        query: a SELECT instead.
        user: None: the driver's default.
        cursor: read only rows whose value in this column is above the watermark, or that have not landed yet.
        overlap: how far below the watermark rows are read again, e.g. `2 hours`; None: not below it.
        partition_column: a whole number, date or time to split the read by.
        partitions: how many parts are read at the same time.
        lower, upper: bounds of the parts (not of what is read); None: as found in the rows.
        fetch_size: rows that are fetched from the database at once.
    """

    url: str
    table: str | None = None
    query: str | None = None
    user: str | None = None
    cursor: str | None = None
    overlap: str | None = None
    partition_column: str | None = None
    partitions: int = 4
    lower: str | None = None
    upper: str | None = None
    fetch_size: int = 10_000

    def __post_init__(self) -> None:
        _ = self.dialect
        parts = urlsplit(self.url.removeprefix("jdbc:"))
        if "@" in parts.netloc or any(_SECRET_PARAMETER.search(name) for name, _ in parse_qsl(parts.query)):
            raise UsageError(
                "The JDBC address contains a user or a secret.",
                hint="Give the user by --jdbc-user, and the password by the setting jdbc_password "
                "(ASGARD_JDBC_PASSWORD).",
            )
        if (self.table is None) == (self.query is None):
            raise UsageError(
                "Neither or both of a table and a query are given.", hint="Give either --jdbc-table or --jdbc-query."
            )
        if self.partition_column is None and (self.lower or self.upper):
            raise UsageError("Bounds are given without a partition column.", hint="Say --partition-column.")
        if self.overlap is not None:
            if self.cursor is None:
                raise UsageError("An overlap is given without a cursor column.", hint="Say --cursor.")
            parse_overlap(self.overlap)

    @property
    def dialect(self) -> Dialect:
        """The dialect of the address's database.

        Raises:
            UsageError: no driver is loaded for this database.
        """
        match = re.fullmatch(r"jdbc:(\w+)://\S+", self.url)
        if match is None or match[1] not in DIALECTS:
            raise UsageError(
                f"{self.url.split('?')[0]!r} is not a JDBC address of a supported database.",
                hint="E.g. jdbc:postgresql://host:5432/shop, or jdbc:mysql://host:3306/shop.",
            )
        return DIALECTS[match[1]]

    @property
    def name(self) -> str:
        """The source's name in the ledger and in `_source_file`."""
        address = self.url.removeprefix("jdbc:").split("?")[0]
        return f"{address} {self.table or f'({self.query})'}"

    @property
    def relation(self) -> str:
        """The table or query, as it is written in a FROM clause."""
        if self.query is not None:
            return f"({self.statement}) AS asked"
        return ".".join(map(self.dialect.quoted, (self.table or "").split(".")))

    @property
    def statement(self) -> str:
        """A statement that selects all rows."""
        if self.query is not None:
            return self.query.strip().rstrip(";").rstrip()
        return f"SELECT * FROM {self.relation}"  # noqa: S608 - quoted parts


@dataclass(frozen=True)
class JdbcRows:
    """Rows to be read, whose columns are `c0`, `c1`, ..., and `e0`, ... for the elements of arrays.

    Attributes:
        fresh: the rows above the watermark, or all rows; None: there are none.
        again: the rows from `again_from` to the watermark, which may have landed; None: no rows are re-read.
        reads: how each column is read, in their order.
        watermark: the greatest cursor value among the rows, as the database writes it; None without a cursor.
        again_from: the smallest cursor value of `again`, as the database writes it.
    """

    fresh: "DataFrame | None"
    again: "DataFrame | None"
    reads: tuple[ColumnRead, ...]
    watermark: str | None = None
    again_from: str | None = None


class Database:
    """One database, accessed through one Spark session."""

    def __init__(self, session: "SparkSession", source: JdbcSource, password: Secret | None) -> None:
        self._session = session
        self._source = source
        self._properties = dict(source.dialect.options)
        if source.user is not None:
            self._properties["user"] = source.user
        if password is not None:
            self._properties["password"] = password.reveal()

    def read(self, watermark: str | None) -> JdbcRows | None:
        """The rows that may be new since a watermark, or all rows; None if there are none.

        Raises:
            ServiceUnreachableError: the database does not answer.
            ServiceError: the database reports an error.
            InputDataError: the cursor or partition column is missing, or can't serve as one.
        """
        source = self._source
        with self._connected() as connection:
            reads = self._reads(connection)
            if source.cursor is None:
                return JdbcRows(self._frame(connection, reads, ()), None, reads)
            read = self._column("cursor", source.cursor, reads)
            column = source.dialect.quoted(read.column.name)
            reached = self._reached(connection, column, watermark)
            fresh = again = again_from = None
            if reached is not None:
                above = (f"{column} > {literal(watermark)}",) if watermark is not None else ()
                fresh = self._frame(connection, reads, (*above, f"{column} <= {literal(reached)}"))
            if watermark is not None and read.order is not None:
                again_from = read_again_from(watermark, source.overlap, read.order)
                window = (f"{column} >= {literal(again_from)}", f"{column} <= {literal(watermark)}")
                again = self._frame(connection, reads, window)
            if fresh is None and again is None:
                return None
            return JdbcRows(fresh, again, reads, reached or watermark, again_from)

    def _reads(self, connection: Connection) -> tuple[ColumnRead, ...]:
        """How each column is read."""
        source = self._source
        columns = connection.columns(source.statement)
        seen: set[str] = set()
        for column in columns:
            key = column.name.lower() if source.dialect.folds_names else column.name
            if key in seen:
                raise InputDataError(
                    f"{source.name}: two columns are called {column.name}.",
                    hint=f"Rename one in the query: SELECT ... AS {column.name}_2.",
                )
            seen.add(key)
        if not columns:
            raise InputDataError(f"{source.name} has no columns.", hint="Take another table, or a SELECT.")
        return tuple(map(source.dialect.read_of, self._with_dimensions(connection, columns)))

    def _with_dimensions(self, connection: Connection, columns: Sequence[DatabaseColumn]) -> Sequence[DatabaseColumn]:
        """The columns, with the declared dimensions of a table's arrays."""
        if self._source.table is None or not any(column.type.startswith("_") for column in columns):
            return columns
        relation = self._source.relation.replace("'", "''")
        found = connection.rows(
            "SELECT attname, attndims FROM pg_attribute "  # noqa: S608 - quoted
            f"WHERE attrelid = cast('{relation}' as regclass) AND attndims > 1"
        )
        declared = {name: int(dimensions or 1) for name, dimensions in found}
        return [replace(column, dimensions=declared.get(column.name, 1)) for column in columns]

    def _reached(self, connection: Connection, column: str, watermark: str | None) -> str | None:
        """The greatest cursor value above the watermark, as text."""
        source = self._source
        if connection.rows(f"SELECT 1 AS found FROM {source.relation} WHERE {column} IS NULL LIMIT 1"):  # noqa: S608
            raise InputDataError(
                f"{source.name}: some rows have no {source.cursor}, so they would never be read.",
                hint="Take a cursor column without nulls, or a query that fills it.",
            )
        above = f" WHERE {column} > {literal(watermark)}" if watermark is not None else ""
        greatest = source.dialect.as_text.format(f"max({column})")
        return connection.rows(f"SELECT {greatest} AS greatest FROM {source.relation}{above}")[0][0]  # noqa: S608

    def _frame(self, connection: Connection, reads: Sequence[ColumnRead], where: Sequence[str]) -> "DataFrame":
        """The rows that satisfy the conditions, read in partitions if requested."""
        source, dialect = self._source, self._source.dialect
        condition = f" WHERE {' AND '.join(where)}" if where else ""
        asked, schema = [], []
        for place, read in enumerate(reads):
            column = dialect.quoted(read.column.name)
            asked.append(f"{read.sql.replace('{}', column)} AS c{place}")
            schema.append(f"c{place} {read.source}")
            if read.elements is not None:
                asked.append(f"{read.elements.replace('{}', column)} AS e{place}")
                schema.append(f"e{place} string")
        names = [name.split()[0] for name in schema]
        predicates: list[str] = []
        if source.partition_column is not None:
            by = self._column("partition", source.partition_column, reads)
            asked.append(f"{dialect.quoted(by.column.name)} AS {_PART}")
            predicates = self._predicates(connection, by, condition)
        sql = f"SELECT {', '.join(asked)} FROM {source.relation}{condition}"  # noqa: S608 - quoted parts
        options = {
            **self._properties,
            "driver": dialect.driver,
            "fetchsize": str(source.fetch_size),
            "sessionInitStatement": dialect.session,
            "customSchema": ", ".join(schema),
            "preferTimestampNTZ": "true",
        }
        relation = f"({sql}) AS asgard_source"
        with self._asking():
            if predicates:
                frame = self._session.read.jdbc(source.url, relation, predicates=predicates, properties=options)
            else:
                frame = self._session.read.jdbc(source.url, relation, properties=options)
            return frame.select(*names)

    def _predicates(self, connection: Connection, read: ColumnRead, condition: str) -> list[str]:
        """The condition of each part of a read; none for a read in one part."""
        order = read.order
        if order is None:
            return []
        bounds = self._bounds(connection, read, order, condition)
        found = cuts(*bounds, self._source.partitions, order) if bounds else []
        if not found:
            return []
        between = [f"{_PART} >= {low} AND {_PART} < {high}" for low, high in pairwise(found)]
        return [f"{_PART} < {found[0]} OR {_PART} IS NULL", *between, f"{_PART} >= {found[-1]}"]

    def _bounds(
        self, connection: Connection, read: ColumnRead, order: Order, condition: str
    ) -> tuple[Decimal, Decimal] | None:
        """The smallest and the greatest value, as given or as found; None if there are none."""
        source, dialect = self._source, self._source.dialect
        given = {"--lower-bound": source.lower, "--upper-bound": source.upper}
        places = {option: position(text, order) for option, text in given.items() if text is not None}
        for option, place in places.items():
            if place is None:
                raise UsageError(
                    f"The bound {given[option]!r} ({option}) does not fit {read.column.name}, which is {order.value}.",
                    hint="Write numbers as 12.5, dates and times as 2024-01-31 10:00:00 (UTC).",
                )
        low, high = places.get("--lower-bound"), places.get("--upper-bound")
        if low is not None and high is not None:
            return low, high
        column = dialect.quoted(read.column.name)
        if order.is_number:
            finite = dialect.finite.replace("{}", column)
        else:
            finite = f"{column} >= '0001-01-01' AND {column} <= '9999-12-31'"
        as_text = (read.sql if read.source == "string" else dialect.as_text).replace("{}", "{0}({1})")
        ends = ", ".join(f"{as_text.format(end, column)} AS {end}_value" for end in ("min", "max"))
        sql = f"SELECT {ends} FROM {source.relation}{condition}"  # noqa: S608 - quoted parts
        for more in ("", f"{' AND' if condition else ' WHERE'} {finite}"):
            least, greatest = connection.rows(sql + more)[0]
            found = [None if text is None else position(text, order) for text in (least, greatest)]
            if found[0] is not None and found[1] is not None:
                return found[0] if low is None else low, found[1] if high is None else high
        return None

    def _column(self, what: str, name: str, reads: Sequence[ColumnRead]) -> ColumnRead:
        read = next((read for read in reads if read.column.name == name), None)
        if read is None:
            raise InputDataError(
                f"{self._source.name} has no column {name!r}.",
                hint=f"It has {', '.join(read.column.name for read in reads)}; names are case-sensitive.",
            )
        if read.order is None:
            raise InputDataError(
                f"{self._source.name}: {name} is {read.column.type}, which can't be the {what} column.",
                hint="Take one that is a whole number, a decimal, a date or a time.",
            )
        return read

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with (
            self._asking(),
            connected(self._session, self._source.dialect, self._source.url, self._properties) as connection,
        ):
            yield connection

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except AsgardError:
            raise
        except Exception as error:
            raise _refused(self._source, error) from error


def _refused(source: JdbcSource, error: Exception) -> ServiceError:
    text = first_line(error)
    address = source.url.removeprefix("jdbc:").split("?")[0]
    if re.search(r"(?i)connection.*refused|communications link failure|unknown ?host|timed? ?out", str(error)):
        return ServiceUnreachableError(f"{address} does not answer: {text}", hint="Check host, port and network.")
    return ServiceError(
        f"{source.name} can't be read: {text}",
        hint="Check the names, the user, and the setting jdbc_password (ASGARD_JDBC_PASSWORD).",
    )
