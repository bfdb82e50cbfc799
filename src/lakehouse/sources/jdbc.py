"""Read a table, or a query, of a database over JDBC: whole, in partitions, or what is new since last time.

With a cursor column, a read takes the rows after the last published value (the watermark, kept in the ledger)
up to the greatest value that there is when it starts. So the column must grow with every change that is to be
read, and a row that is committed late with a smaller value is missed. A read in partitions uses a connection
for each: of a table that changes meanwhile it is no single snapshot.

PostgreSQL is tested; for MySQL the statements and options are.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from asgard.common.errors import InputDataError, ServiceError, ServiceUnreachableError, UsageError
from asgard.common.settings import Secret
from asgard.common.spark import first_line
from asgard.lakehouse.schema_changes import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_T = TypeVar("_T")
_SECRET_PARAMETER = re.compile(r"(?i)(password|passwd|pwd|passphrase|token|secret)")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d+)?([+-]\d\d(:?\d\d)?)?)?")
_ORDERED = re.compile(r"tinyint|smallint|int|bigint|decimal\(.*|date|timestamp|timestamp_ntz")
_SPLITTABLE = re.compile(r"tinyint|smallint|int|bigint|decimal\(\d+,0\)|date|timestamp|timestamp_ntz")
_UNBOUNDED = "decimal(38,18)"
"""What Spark makes of PostgreSQL's numeric without a precision, rounding and failing where it does not fit."""


@dataclass(frozen=True)
class Dialect:
    """What differs between databases.

    Attributes:
        name: scheme of the address, after `jdbc:`.
        driver: Java class.
        quote: around identifiers; doubled inside them.
        as_text: SQL of a value as text, with `{}` for the value.
        options: of Spark's reader and of the driver.
        unbounded_numeric: whether a numeric column may have more digits than Spark's decimals.
    """

    name: str
    driver: str
    quote: str
    as_text: str
    options: Mapping[str, str]
    unbounded_numeric: bool

    def quoted(self, identifier: str) -> str:
        """An identifier as this database takes it, whatever is in it."""
        return self.quote + identifier.replace(self.quote, self.quote * 2) + self.quote


_DIALECTS = {
    "postgresql": Dialect(
        name="postgresql",
        driver="org.postgresql.Driver",
        quote='"',
        as_text="cast({} as text)",
        options={"sessionInitStatement": "SET TIME ZONE 'UTC'", "ApplicationName": "asgard ingest"},
        unbounded_numeric=True,
    ),
    "mysql": Dialect(
        name="mysql",
        driver="com.mysql.cj.jdbc.Driver",
        quote="`",
        as_text="cast({} as char)",
        # rows by cursor, not all at once; tinyint(1) as the number that it is; times as instants in UTC
        options={"useCursorFetch": "true", "tinyInt1isBit": "false", "connectionTimeZone": "UTC"},
        unbounded_numeric=False,
    ),
}


@dataclass(frozen=True)
class JdbcSource:
    """What to read, and how.

    Attributes:
        url: `jdbc:postgresql://host:5432/database` or `jdbc:mysql://...`, without a password.
        table: `table` or `schema.table`, as spelled in the database; or
        query: a SELECT instead.
        user: None: as the driver does it.
        cursor: read only rows whose value of this column is above the watermark.
        partition_column: a whole number, date or time to split the read by.
        partitions: how many parts are read at the same time.
        lower, upper: bounds of the parts (not of what is read); None: as found.
        fetch_size: rows that come from the database at once.
    """

    url: str
    table: str | None = None
    query: str | None = None
    user: str | None = None
    cursor: str | None = None
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
                "The JDBC address has a user or a secret in it.",
                hint="Give the user by --jdbc-user, and the password by the setting jdbc_password "
                "(ASGARD_JDBC_PASSWORD).",
            )
        if (self.table is None) == (self.query is None):
            raise UsageError("Neither or both of a table and a query are given.", hint="Say what to read, once.")
        if self.partition_column is None and (self.lower or self.upper):
            raise UsageError("Bounds are given without a partition column.", hint="Say --partition-column.")

    @property
    def dialect(self) -> Dialect:
        """Of the address's database.

        Raises:
            UsageError: it is none that a driver is loaded for.
        """
        match = re.fullmatch(r"jdbc:(\w+)://\S+", self.url)
        if match is None or match[1] not in _DIALECTS:
            raise UsageError(
                f"{self.url.split('?')[0]!r} is no JDBC address of a database that can be read.",
                hint="E.g. jdbc:postgresql://host:5432/shop, or jdbc:mysql://host:3306/shop.",
            )
        return _DIALECTS[match[1]]

    @property
    def name(self) -> str:
        """What the ledger and `_source_file` call it."""
        address = self.url.removeprefix("jdbc:").split("?")[0]
        return f"{address} {self.table or f'({self.query})'}"

    def rows_sql(self, after: str | None = None, up_to: str | None = None) -> str:
        """The statement for all rows, or for those with a cursor value in (after, up_to].

        Args:
            after: literal.
            up_to: literal.
        """
        if self.query is not None:
            selected = f"SELECT * FROM ({self.query.strip().rstrip(';')}) AS asked"  # noqa: S608 - the user's own statement
        else:
            table = ".".join(map(self.dialect.quoted, (self.table or "").split(".")))
            selected = f"SELECT * FROM {table}"  # noqa: S608 - quoted parts
        if self.cursor is None or up_to is None:
            return selected
        column = self.dialect.quoted(self.cursor)
        lower = f"{column} > {after} AND " if after is not None else ""
        return f"{selected} WHERE {lower}{column} <= {up_to}"


@dataclass(frozen=True)
class JdbcRows:
    """Rows to be read.

    Attributes:
        frame: of them.
        types: column -> what Spark reads it as.
        wanted: column -> the type that it should have, where that is another one.
        watermark: the greatest cursor value among them, as the database writes it; None without a cursor.
    """

    frame: "DataFrame"
    types: Mapping[str, str]
    wanted: Mapping[str, str]
    watermark: str | None


class Database:
    """One database, seen through one Spark session."""

    def __init__(self, session: "SparkSession", source: JdbcSource, password: Secret | None) -> None:
        self._session = session
        self._source = source
        self._options = {
            "url": source.url,
            "driver": source.dialect.driver,
            "fetchsize": str(source.fetch_size),
            "preferTimestampNTZ": "true",  # else a time without a zone is taken as one of this machine's
            **source.dialect.options,
        }
        if source.user is not None:
            self._options["user"] = source.user
        if password is not None:
            self._options["password"] = password.reveal()

    def read(self, watermark: str | None) -> JdbcRows | None:
        """The rows after a watermark, or all of them; None if there is none after it.

        Raises:
            ServiceUnreachableError: the database does not answer.
            ServiceError: it refuses.
            InputDataError: the cursor or partition column is missing, or can't serve as one.
        """
        types = self._types()
        sql, reached = self._source.rows_sql(), None
        if self._source.cursor is not None:
            reached = self._reached(types, watermark)
            if reached is None:
                return None
            after = _literal(watermark) if watermark is not None else None
            sql = self._source.rows_sql(after, _literal(reached))
        options = {**self._options, "dbtable": f"({sql}) AS asgard_source", **self._parts(types, sql)}
        unbounded = self._unbounded(types)
        if unbounded:
            options["customSchema"] = ", ".join(f"{quoted(name)} STRING" for name in unbounded)
        frame = self._ask(lambda: self._session.read.format("jdbc").options(**options).load())
        return JdbcRows(frame, {**types, **dict.fromkeys(unbounded, "string")}, unbounded, reached)

    def _types(self) -> dict[str, str]:
        frame = self._select(f"SELECT * FROM ({self._source.rows_sql()}) AS described WHERE 1 = 0")  # noqa: S608 - see rows_sql
        return {one.name: one.dataType.simpleString() for one in frame.schema.fields}

    def _unbounded(self, types: Mapping[str, str]) -> dict[str, str]:
        """Columns that are read as text, lest digits get lost on the way."""
        if not self._source.dialect.unbounded_numeric:
            return {}
        return {name: kind for name, kind in types.items() if kind == _UNBOUNDED}

    def _reached(self, types: Mapping[str, str], watermark: str | None) -> str | None:
        """The greatest cursor value above the watermark, as text."""
        name = self._column("cursor", self._source.cursor or "", types, _ORDERED)
        column = self._source.dialect.quoted(name)
        rows = self._source.rows_sql()
        nulls = f"SELECT 1 AS found FROM ({rows}) AS asked WHERE {column} IS NULL LIMIT 1"  # noqa: S608 - quoted parts
        if self._one(nulls):
            raise InputDataError(
                f"{self._source.name}: rows have no {name}, and so would never be read.",
                hint="Take a cursor column without nulls, or a query that fills it.",
            )
        above = f" WHERE {column} > {_literal(watermark)}" if watermark is not None else ""
        greatest = self._source.dialect.as_text.format(f"max({column})")
        found = self._one(f"SELECT {greatest} AS greatest FROM ({rows}) AS asked{above}")  # noqa: S608 - quoted parts
        return str(found[0]) if found and found[0] is not None else None

    def _parts(self, types: Mapping[str, str], sql: str) -> dict[str, str]:
        """Spark's options for reading in parts; nothing for a read in one."""
        source = self._source
        if source.partition_column is None:
            return {}
        name = self._column("partition", source.partition_column, types, _SPLITTABLE)
        lower, upper = source.lower, source.upper
        if lower is None or upper is None:
            column = source.dialect.quoted(name)
            bounds = f"SELECT min({column}) AS low, max({column}) AS high FROM ({sql}) AS asked"  # noqa: S608
            found = self._one(bounds)
            if not found or found[0] is None:
                return {}
            lower = _bound(found[0]) if lower is None else lower
            upper = _bound(found[1]) if upper is None else upper
        return {
            "partitionColumn": name,
            "lowerBound": lower,
            "upperBound": upper,
            "numPartitions": str(source.partitions),
        }

    def _column(self, what: str, name: str, types: Mapping[str, str], fit: re.Pattern[str]) -> str:
        if name not in types:
            raise InputDataError(
                f"{self._source.name} has no column {name!r}.", hint=f"It has {', '.join(types)}; case counts."
            )
        if not fit.fullmatch(types[name]):
            raise InputDataError(
                f"{self._source.name}: {name} is {types[name]}, which is no {what} column.",
                hint="Take one that is a whole number, a date or a time.",
            )
        return name

    def _select(self, sql: str) -> "DataFrame":
        options = {**self._options, "query": sql}
        return self._ask(lambda: self._session.read.format("jdbc").options(**options).load())

    def _one(self, sql: str) -> tuple[Any, ...] | None:
        rows: list[Any] = self._ask(lambda: self._select(sql).collect())
        return tuple(rows[0]) if rows else None

    def _ask(self, question: Callable[[], _T]) -> _T:
        try:
            return question()
        except (ServiceError, InputDataError):
            raise
        except Exception as error:
            raise _refused(self._source, error) from error


def latest(values: Iterable[str]) -> str | None:
    """The greatest of some watermarks, of one column."""
    return max(values, key=_comparable, default=None)


def _comparable(value: str) -> Decimal | datetime:
    return Decimal(value) if _NUMBER.fullmatch(value) else datetime.fromisoformat(value)


def _literal(value: str) -> str:
    """A cursor value that the database gave, as it takes it back."""
    if _NUMBER.fullmatch(value):
        return value
    if _MOMENT.fullmatch(value):
        return f"'{value}'"
    raise InputDataError(
        f"The cursor's greatest value is {value!r}, which is neither a number nor a time.",
        hint="Take another cursor column, or a query that leaves such rows out.",
    )


def _bound(value: object) -> str:
    """A bound as Spark takes it: whole numbers, dates, times."""
    return str(int(value)) if isinstance(value, Decimal) else str(value)


def _refused(source: JdbcSource, error: Exception) -> ServiceError:
    text = first_line(error)
    address = source.url.removeprefix("jdbc:").split("?")[0]
    if re.search(r"(?i)connection.*refused|communications link failure|unknown ?host|timed? ?out", str(error)):
        return ServiceUnreachableError(f"{address} does not answer: {text}", hint="Check host, port and network.")
    return ServiceError(
        f"{source.name} can't be read: {text}",
        hint="Check the names, the user, and the setting jdbc_password (ASGARD_JDBC_PASSWORD).",
    )
