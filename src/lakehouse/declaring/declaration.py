"""A user's declaration of one table, checked when it is made."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypedDict

from asgard.common import arguments
from asgard.common.arguments import Misfit, Shape, declares, optional
from asgard.common.errors import DeclarationError
from asgard.common.names import TableName
from asgard.lakehouse.declaring.columns_text import read_columns
from asgard.lakehouse.declaring.intervals import Cadence, Unit, as_moment
from asgard.validation.checks import Check, Scope, not_null, require_unique_names, row_count

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

INTERVAL_PARAMETER = "interval"
"""A table function with a parameter of this name is given the `TimeRange` that is being computed."""

INTERVAL_TYPES = ("timestamp", "timestamp_ntz", "date")
"""Spark's short names of the types that an interval column may have."""

_PARTITION = re.compile(r"(?:(hour|day|month|year)\((\w+)\)|(bucket|truncate)\((\d+),\s*(\w+)\)|(\w+))")


class WriteMode(StrEnum):
    """How a run's rows change a table."""

    APPEND = "append"
    OVERWRITE_INTERVAL = "overwrite_interval"
    MERGE = "merge"
    REPLACE = "replace"


class Contract(StrEnum):
    """Which schema changes a run may make: additive ones and declared renames, or none."""

    COMPATIBLE = "compatible"
    FROZEN = "frozen"


class EmptyInput(StrEnum):
    """What a run does if its function returns no rows."""

    PASS = "pass"  # noqa: S105 - a policy, not a password
    FAIL = "fail"


class Restate(StrEnum):
    """Whether a backfill computes intervals again because rows that they read of an input have changed."""

    AUTO = "auto"
    """Each backfill does."""
    ASK = "ask"
    """A backfill names them, and computes them with `--stale`."""
    NEVER = "never"
    """Only a given range does."""


_COLUMN = arguments.text("'event_time'", blank=False)


@declares("Hourly", column=_COLUMN, lookback=arguments.WHOLE)
def Hourly(column: str, *, lookback: int = 0) -> Cadence:
    """Intervals of one hour of `column`; `lookback` earlier ones are computed again with each run."""
    return Cadence(column, Unit.HOUR, lookback)


@declares("Daily", column=_COLUMN, lookback=arguments.WHOLE)
def Daily(column: str, *, lookback: int = 0) -> Cadence:
    """Intervals of one UTC day of `column`; `lookback` earlier ones are computed again with each run."""
    return Cadence(column, Unit.DAY, lookback)


@declares("Weekly", column=_COLUMN, lookback=arguments.WHOLE)
def Weekly(column: str, *, lookback: int = 0) -> Cadence:
    """Intervals of one week (from Monday, UTC); `lookback` earlier ones are computed again with each run."""
    return Cadence(column, Unit.WEEK, lookback)


@declares("Monthly", column=_COLUMN, lookback=arguments.WHOLE)
def Monthly(column: str, *, lookback: int = 0) -> Cadence:
    """Intervals of one UTC month of `column`; `lookback` earlier ones are computed again with each run."""
    return Cadence(column, Unit.MONTH, lookback)


@declares("Yearly", column=_COLUMN, lookback=arguments.WHOLE)
def Yearly(column: str, *, lookback: int = 0) -> Cadence:
    """Intervals of one UTC year of `column`; `lookback` earlier ones are computed again with each run."""
    return Cadence(column, Unit.YEAR, lookback)


@dataclass(frozen=True)
class PartitionField:
    """One parsed partition field: a column and, if any, its transform and width."""

    column: str
    transform: str | None = None
    width: int | None = None

    @classmethod
    def parse(cls, text: str) -> "PartitionField":
        """Read `column`, `day(column)`, `bucket(16, column)` or `truncate(4, column)`.

        Raises:
            DeclarationError: the text is none of these.
        """
        match = _PARTITION.fullmatch(text.strip())
        if match is None:
            raise DeclarationError(
                f"{text!r} is not a partition field.",
                hint="Use a column, hour/day/month/year(column), bucket(n, column) or truncate(n, column).",
            )
        time_transform, time_column, width_transform, width, width_column, column = match.groups()
        if time_transform:
            return cls(time_column, time_transform)
        if width_transform:
            return cls(width_column, width_transform, int(width))
        return cls(column)


@dataclass(frozen=True)
class Table:
    """A table as declared: where its rows come from, how they are written, and which checks they must pass.

    Attributes:
        name: `layer.name`.
        function: DataFrame(s) -> DataFrame; None for a source that `asgard ingest` fills.
        inputs: parameter name of `function` -> the table that it is given.
        keys: columns that identify a row (merge key; also declared to consumers).
        interval: interval column and cadence, for tables that are computed interval by interval.
        mode: by default overwrite_interval with an interval, append for a source, else replace.
        partitioned_by: partition fields; by default the one that the interval needs.
        checks: rules that every batch is audited against.
        contract: which schema changes are allowed.
        renames: old column name -> new column name, applied before the write if the old column exists.
        columns: DDL of the columns (`"id bigint, email string"`): rows are cast to it, and an ingest
            reads files by it. None: the columns that the function returns, or that are inferred.
        on_empty: whether a batch without rows fails.
        restate: whether a backfill computes intervals again because rows that they read have changed.
        start: first moment of data; missing intervals are counted from here.
        end: no interval after this moment is expected; None: up to the last complete interval.
        owner, description, tags, consumers, update_frequency, retention: for people; kept as table properties.
        properties: further Iceberg table properties.
        module: where it was declared, for messages.
        pipeline: the pipeline that declares the table, and owns what is published; "" for none.
    """

    name: TableName
    function: "Callable[..., DataFrame] | None" = None
    inputs: Mapping[str, TableName] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    interval: Cadence | None = None
    mode: WriteMode = WriteMode.REPLACE
    partitioned_by: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    contract: Contract = Contract.COMPATIBLE
    renames: Mapping[str, str] = field(default_factory=dict)
    columns: str | None = None
    on_empty: EmptyInput = EmptyInput.PASS
    restate: Restate = Restate.ASK
    start: datetime | None = None
    end: datetime | None = None
    owner: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()
    update_frequency: str = ""
    retention: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    module: str = ""
    pipeline: str = ""

    @property
    def takes_interval(self) -> bool:
        """Whether the function asks for the interval that is being computed."""
        return self.function is not None and INTERVAL_PARAMETER in inspect.signature(self.function).parameters

    @property
    def audited_checks(self) -> tuple[Check, ...]:
        """The declared checks, and those that the declaration itself implies: every run audits all of them."""
        implied: list[Check] = []
        if self.interval is not None:
            implied.append(not_null(self.interval.column))
        if self.on_empty is EmptyInput.FAIL:
            implied.append(row_count(1).named("not_empty").over(Scope.ADDED))
        names = {check.name for check in implied}
        return (*(check for check in self.checks if check.name not in names), *implied)

    @property
    def partition_fields(self) -> tuple[PartitionField, ...]:
        """The partition fields, parsed."""
        return tuple(PartitionField.parse(text) for text in self.partitioned_by)


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is None:
        raise Misfit(f"It has no time zone. Say UTC: datetime(..., tzinfo=UTC), or as text '{value.isoformat()}Z'.")
    if not isinstance(value, date | str):
        raise Misfit
    return as_moment(value)


def _columns(value: Any) -> str:
    columns = arguments.text("", blank=False).take(value)
    read_columns(columns)
    return str(columns)


def _inputs(value: Any) -> dict[str, str]:
    if isinstance(value, str | Sequence):
        raise Misfit("Name the parameter that gets each table: inputs={'raw': 'bronze.transactions'}.")
    found: dict[str, str] = arguments.texts_by_name("").take(value)
    for source in found.values():
        TableName.parse(source)
    return found


def _name(value: Any) -> str:
    return str(TableName.parse(arguments.text("").take(value)))


NAME = Shape("the table's name, layer.name", "'silver.orders_cleaned'", _name)
_MOMENT = Shape("a date, or a moment with its time zone", "'2024-01-01'", _moment)
PROPERTIES: Mapping[str, Shape] = {
    "inputs": optional(Shape("a mapping from parameter to table", "{'raw': 'bronze.transactions'}", _inputs)),
    "keys": arguments.names("('customer_id',)"),
    "interval": optional(
        arguments.instance(Cadence, "Hourly, Daily, Weekly, Monthly or Yearly of a column", "Daily('event_time')")
    ),
    "mode": optional(arguments.one_of(WriteMode, "'append'")),
    "partitioned_by": arguments.names("('day(event_time)',)"),
    "checks": arguments.several(Check, "a tuple of checks", "(not_null('id'),)"),
    "contract": arguments.one_of(Contract, "'frozen'"),
    "renames": optional(arguments.texts_by_name("{'old_name': 'new_name'}")),
    "columns": optional(Shape("a list of columns as text", "'id bigint, email string'", _columns)),
    "on_empty": arguments.one_of(EmptyInput, "'fail'"),
    "restate": arguments.one_of(Restate, "'auto'"),
    "start": optional(_MOMENT),
    "end": optional(_MOMENT),
    "owner": arguments.text("'data-team'"),
    "description": optional(arguments.text("'One row per order.'")),
    "tags": arguments.names("('pii',)"),
    "consumers": arguments.names("('finance',)"),
    "update_frequency": arguments.text("'daily'"),
    "retention": arguments.text("'2 years'"),
    "properties": optional(arguments.texts_by_name("{'write.target-file-size-bytes': '134217728'}")),
}
"""The properties that a user may declare for a table."""
FUNCTION = arguments.function("a function of DataFrames", "a function with one parameter for each input")


def about(given: Mapping[str, Any]) -> str:
    """How messages about a table begin."""
    name, module = given.get("name"), given.get("module")
    called = f" {name:.80}" if isinstance(name, str) and name.isprintable() else ""
    return f"Table{called}{f' ({module})' if module else ''}"


class Properties(TypedDict, total=False):
    """The properties that a pipeline may declare for a table; see `Table` for the meaning of each."""

    inputs: Mapping[str, str] | None
    keys: Sequence[str]
    interval: Cadence | None
    mode: str | None
    partitioned_by: Sequence[str]
    checks: Iterable[Check]
    contract: str
    renames: Mapping[str, str] | None
    columns: str | None
    on_empty: str
    restate: str
    start: datetime | date | str | None
    end: datetime | date | str | None
    owner: str
    description: str | None
    tags: Sequence[str]
    consumers: Sequence[str]
    update_frequency: str
    retention: str
    properties: Mapping[str, str] | None


@declares(about, PROPERTIES, name=NAME, function=optional(FUNCTION))
def declare_table(
    name: str,
    function: "Callable[..., DataFrame] | None" = None,
    *,
    inputs: Mapping[str, str] | None = None,
    keys: Sequence[str] = (),
    interval: Cadence | None = None,
    mode: str | None = None,
    partitioned_by: Sequence[str] = (),
    checks: Iterable[Check] = (),
    contract: str = Contract.COMPATIBLE,
    renames: Mapping[str, str] | None = None,
    columns: str | None = None,
    on_empty: str = EmptyInput.PASS,
    restate: str = Restate.ASK,
    start: datetime | date | str | None = None,
    end: datetime | date | str | None = None,
    owner: str = "",
    description: str | None = None,
    tags: Sequence[str] = (),
    consumers: Sequence[str] = (),
    update_frequency: str = "",
    retention: str = "",
    properties: Mapping[str, str] | None = None,
    module: str = "",
    pipeline: str = "",
) -> Table:
    """Check a declaration and return its `Table`; see `Table` for the meaning of each argument.

    Raises:
        DeclarationError: the declaration can't work; the message names the table and what to change.
    """
    table_name = TableName.parse(name)

    def refuse(what: str, hint: str) -> DeclarationError:
        return DeclarationError(f"{about({'name': name, 'module': module})}: {what}", hint=hint)

    partitions = tuple(partitioned_by) or ((interval.partition,) if interval else ())
    table = Table(
        name=table_name,
        function=function,
        inputs={parameter: TableName.parse(source) for parameter, source in (inputs or {}).items()},
        keys=tuple(keys),
        interval=interval,
        mode=WriteMode(mode) if mode is not None else _usual_mode(function is None, interval),
        partitioned_by=partitions,
        checks=tuple(checks),
        contract=Contract(contract),
        renames=dict(renames or {}),
        columns=columns,
        on_empty=EmptyInput(on_empty),
        restate=Restate(restate),
        start=as_moment(start) if start is not None else None,
        end=as_moment(end) if end is not None else None,
        owner=owner,
        description=description if description is not None else _first_paragraph(function),
        tags=tuple(tags),
        consumers=tuple(consumers),
        update_frequency=update_frequency,
        retention=retention,
        properties=dict(properties or {}),
        module=module,
        pipeline=pipeline,
    )
    _check_table(table, refuse)
    return table


_Refuse = Callable[[str, str], DeclarationError]


def _usual_mode(is_source: bool, interval: Cadence | None) -> WriteMode:
    if is_source:
        return WriteMode.APPEND
    return WriteMode.OVERWRITE_INTERVAL if interval else WriteMode.REPLACE


def _check_table(table: Table, refuse: _Refuse) -> None:
    _check_function(table, refuse)
    if table.mode is WriteMode.MERGE and not table.keys:
        raise refuse("mode merge needs keys.", "Name the columns that identify a row: keys=('customer_id',).")
    if table.mode is WriteMode.OVERWRITE_INTERVAL and table.interval is None:
        raise refuse("mode overwrite_interval needs an interval.", "Declare it: interval=Daily('event_time').")
    if table.function and table.interval and table.mode in (WriteMode.REPLACE, WriteMode.APPEND):
        raise refuse(
            f"mode {table.mode} can't be used with an interval: each write would delete or duplicate other rows.",
            "Leave the mode out (overwrite_interval), use mode='merge' with keys, or leave the interval out.",
        )
    if table.name.layer == "bronze" and table.mode is not WriteMode.APPEND:
        raise refuse(f"bronze is append-only, but its mode is {table.mode}.", "Use mode='append', or another layer.")
    if table.interval and table.mode is WriteMode.OVERWRITE_INTERVAL:
        cadence = table.interval
        if not any(cadence.is_exact_on(text) for text in table.partitioned_by):
            raise refuse(
                f"its {cadence.unit} intervals of {cadence.column!r} can't be overwritten exactly on partitions "
                f"{', '.join(table.partitioned_by)}.",
                f"Partition by {cadence.partition} or finer.",
            )
    _ = table.partition_fields
    if table.start and table.end and table.start >= table.end:
        raise refuse(f"start {table.start} is not before end {table.end}.", "The end itself is not part of the range.")
    require_unique_names(str(table.name), table.checks)
    if table.columns is not None:
        _check_columns(table, read_columns(table.columns), refuse)


_STORED = {"tinyint": "int", "smallint": "int"}
"""Types that Iceberg lacks, and the types that such columns are stored as."""


def _check_columns(table: Table, columns: Mapping[str, str], refuse: _Refuse) -> None:
    """Check that `columns` has each column that the declaration names, and in a type that fits."""
    from asgard.validation.questions import fit
    from asgard.validation.schema import Schema, UnfitCheckError

    wanted = {
        "keys": table.keys,
        "interval": (table.interval.column,) if table.interval else (),
        "partitioned_by": tuple(each.column for each in table.partition_fields),
    }
    lower = {column.lower() for column in columns}  # Spark ignores letter case
    for what, named in wanted.items():
        for column in named:
            is_there = column.lower() in lower if what == "keys" else column in columns
            if not is_there and not column.startswith("_"):
                meant = arguments.nearest(column, columns)
                raise refuse(
                    f"{what} names {column!r}, which is missing in `columns`.",
                    f"Did you mean {meant!r}?" if meant else f"The columns are {', '.join(columns)}.",
                )
    if table.interval and table.interval.column in columns:
        column = table.interval.column
        allowed = INTERVAL_TYPES[:-1] if table.interval.unit is Unit.HOUR else INTERVAL_TYPES
        if columns[column] not in allowed:
            raise refuse(
                f"its interval column {column!r} is {columns[column]}.", f"It must be {' or '.join(allowed)}; cast it."
            )
    for check in table.audited_checks:
        if any("." in column or column.startswith("_") for column in check.columns):
            continue  # a field of a struct, or a column that ingest adds: checked once there are rows
        try:
            fit(check, Schema.of({name: _STORED.get(kind, kind) for name, kind in columns.items()}))
        except UnfitCheckError as error:
            raise refuse(f"check {check.name}: {error.message}", error.hint) from error


def _check_function(table: Table, refuse: _Refuse) -> None:
    if table.function is None:
        if table.inputs:
            raise refuse("it has inputs but no function.", "Declare it with @pipeline.table, or leave the inputs out.")
        return
    taken = inspect.signature(table.function).parameters
    unnamed = [name for name, each in taken.items() if each.kind not in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    if unnamed:
        raise refuse(
            f"its function's parameter {unnamed[0]} can't be given by name.",
            "Write each input as a parameter of its own, without * or /.",
        )
    parameters = set(taken) - {INTERVAL_PARAMETER}
    if parameters != set(table.inputs):
        raise refuse(
            f"its function takes ({', '.join(sorted(parameters))}) but its inputs are "
            f"({', '.join(sorted(table.inputs))}).",
            "Each parameter must be an input's name; one called `interval` is given the time range.",
        )
    if table.takes_interval and table.interval is None:
        raise refuse("its function takes `interval`, but the table has none.", "Declare interval=Daily('...').")


def _first_paragraph(function: "Callable[..., DataFrame] | None") -> str:
    return (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ") if function else ""
