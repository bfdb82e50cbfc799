"""What a user declares of one table, checked when it is declared."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from asgard.common.errors import DeclarationError
from asgard.common.names import TableName
from asgard.lakehouse.intervals import Cadence, Unit, as_moment
from asgard.validation.checks import require_unique_names

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from asgard.validation.checks import Check

INTERVAL_PARAMETER = "interval"
"""A table function with a parameter of this name is given the `TimeRange` that is being computed."""

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
    """What a run does where its function gives no row at all."""

    PASS = "pass"  # noqa: S105 - a policy, not a password
    FAIL = "fail"


def Hourly(column: str, *, lookback: int = 0) -> Cadence:
    """Intervals of one hour of `column`; `lookback` earlier ones are computed again with each run."""
    return Cadence(column, Unit.HOUR, lookback)


def Daily(column: str, *, lookback: int = 0) -> Cadence:
    """Intervals of one UTC day of `column`; `lookback` earlier ones are computed again with each run."""
    return Cadence(column, Unit.DAY, lookback)


def Weekly(column: str, *, lookback: int = 0) -> Cadence:
    """Intervals of one week (from Monday, UTC); `lookback` earlier ones are computed again with each run."""
    return Cadence(column, Unit.WEEK, lookback)


def Monthly(column: str, *, lookback: int = 0) -> Cadence:
    """Intervals of one UTC month of `column`; `lookback` earlier ones are computed again with each run."""
    return Cadence(column, Unit.MONTH, lookback)


def Yearly(column: str, *, lookback: int = 0) -> Cadence:
    """Intervals of one UTC year of `column`; `lookback` earlier ones are computed again with each run."""
    return Cadence(column, Unit.YEAR, lookback)


@dataclass(frozen=True)
class PartitionField:
    """One parsed partition field: a column and, where there is one, its transform and width."""

    column: str
    transform: str | None = None
    width: int | None = None

    @classmethod
    def parse(cls, text: str) -> "PartitionField":
        """Read `column`, `day(column)`, `bucket(16, column)` or `truncate(4, column)`.

        Raises:
            DeclarationError: none of these.
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
    """A table as declared: where its rows come from, how they are written, and what must hold for them.

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
        renames: old column name -> new column name, applied before the write where the old one exists.
        columns: DDL of the columns (`"id bigint, email string"`): rows are cast to it, and an ingest
            reads by it. None: as the function or the inference gives them.
        on_empty: whether a batch without a row fails.
        start: first moment of data; what is missing is counted from here.
        end: no interval after this moment is expected; None: up to the last complete interval.
        owner, description, tags, consumers, update_frequency, retention: for people; kept as table properties.
        properties: further Iceberg table properties.
        module: where it was declared, for messages.
    """

    name: TableName
    function: "Callable[..., DataFrame] | None" = None
    inputs: Mapping[str, TableName] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    interval: Cadence | None = None
    mode: WriteMode = WriteMode.REPLACE
    partitioned_by: tuple[str, ...] = ()
    checks: "tuple[Check, ...]" = ()
    contract: Contract = Contract.COMPATIBLE
    renames: Mapping[str, str] = field(default_factory=dict)
    columns: str | None = None
    on_empty: EmptyInput = EmptyInput.PASS
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

    @property
    def takes_interval(self) -> bool:
        """Whether the function asks for the interval that is being computed."""
        return self.function is not None and INTERVAL_PARAMETER in inspect.signature(self.function).parameters

    @property
    def partition_fields(self) -> tuple[PartitionField, ...]:
        """The partition fields, parsed."""
        return tuple(PartitionField.parse(text) for text in self.partitioned_by)


def declare_table(
    name: str,
    function: "Callable[..., DataFrame] | None" = None,
    *,
    inputs: Mapping[str, str] | None = None,
    keys: Sequence[str] = (),
    interval: Cadence | None = None,
    mode: str | None = None,
    partitioned_by: Sequence[str] = (),
    checks: "Sequence[Check]" = (),
    contract: str = Contract.COMPATIBLE,
    renames: Mapping[str, str] | None = None,
    columns: str | None = None,
    on_empty: str = EmptyInput.PASS,
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
) -> Table:
    """Check a declaration and make the `Table` of it; see `Table` for the meaning of each argument.

    Raises:
        DeclarationError: it can't work; the message names the table and what to change.
    """
    table_name = TableName.parse(name)

    def refuse(what: str, hint: str) -> DeclarationError:
        return DeclarationError(f"Table {name}{f' ({module})' if module else ''}: {what}", hint=hint)

    write_mode = _write_mode(mode, function is None, interval, refuse)
    partitions = tuple(partitioned_by) or ((interval.partition,) if interval else ())
    table = Table(
        name=table_name,
        function=function,
        inputs={parameter: TableName.parse(source) for parameter, source in (inputs or {}).items()},
        keys=tuple(keys),
        interval=interval,
        mode=write_mode,
        partitioned_by=partitions,
        checks=tuple(checks),
        contract=_member(Contract, contract, "contract", refuse),
        renames=dict(renames or {}),
        columns=columns,
        on_empty=_member(EmptyInput, on_empty, "on_empty", refuse),
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
    )
    _check_table(table, refuse)
    return table


_Refuse = Callable[[str, str], DeclarationError]
_E = TypeVar("_E", bound=StrEnum)


def _write_mode(mode: str | None, is_source: bool, interval: Cadence | None, refuse: _Refuse) -> WriteMode:
    if mode is not None:
        return _member(WriteMode, mode, "mode", refuse)
    if is_source:
        return WriteMode.APPEND
    return WriteMode.OVERWRITE_INTERVAL if interval else WriteMode.REPLACE


def _member(kind: type[_E], value: str, what: str, refuse: _Refuse) -> _E:
    try:
        return kind(value)
    except ValueError as error:
        raise refuse(f"{what} is {value!r}.", f"Use one of {', '.join(kind)}.") from error


def _check_table(table: Table, refuse: _Refuse) -> None:
    _check_function(table, refuse)
    if table.mode is WriteMode.MERGE and not table.keys:
        raise refuse("mode merge needs keys.", "Name the columns that identify a row: keys=('customer_id',).")
    if table.mode is WriteMode.OVERWRITE_INTERVAL and table.interval is None:
        raise refuse("mode overwrite_interval needs an interval.", "Declare it: interval=Daily('event_time').")
    if table.function and table.interval and table.mode in (WriteMode.REPLACE, WriteMode.APPEND):
        raise refuse(
            f"mode {table.mode} does not go with an interval: each stretch would wipe, or double, the others.",
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


def _check_function(table: Table, refuse: _Refuse) -> None:
    if table.function is None:
        if table.inputs:
            raise refuse("it has inputs but no function.", "Declare it with @pipeline.table, or leave the inputs out.")
        return
    parameters = set(inspect.signature(table.function).parameters) - {INTERVAL_PARAMETER}
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
