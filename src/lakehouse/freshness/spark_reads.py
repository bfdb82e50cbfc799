"""Which rows of its inputs a computation reads, according to Spark's own plan.

Spark pushes the conditions on an input's columns down to the scan of that input. A row that breaks them reaches nothing
above the scan, so a change of it can't change what is computed. The conditions on one date or timestamp column give the
stretch of time that is read. Where the plan does not tell (a cached frame, a frame made of an RDD, rows that the
function collected while it ran), the whole input counts as read.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgard.common.errors import AsgardError
from asgard.common.names import TableName
from asgard.lakehouse.freshness.stretch import DAY, EVERYTHING, NOTHING, Stretch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_TIMES = ("timestamp", "timestamp_ntz", "date")
_SCAN = "DataSourceV2ScanRelation"
_OPAQUE = ("InMemoryRelation", "LogicalRDD", "ExternalRDD")
"""Leaves of a plan that hide what they were computed from."""


class JobsStarted:
    """Tells whether Spark jobs were started, by the number of all jobs of the process.

    Jobs of other threads count too: then more counts as read than was, never less.
    """

    def __init__(self, session: "SparkSession") -> None:
        self._scheduler = session.sparkContext._jsc.sc().dagScheduler()
        self._before = self._scheduler.numTotalJobs()

    @property
    def any(self) -> bool:
        """Whether there was one: what a function read in it is in no plan."""
        return bool(self._scheduler.numTotalJobs() != self._before)


@dataclass(frozen=True)
class Reads:
    """What a frame reads.

    Attributes:
        stretches: of each table of the lakehouse that its plan scans, by the table's name.
        opaque: the plan hides a part of what is read: each input counts as read whole.
    """

    stretches: Mapping[TableName, Stretch]
    opaque: bool = False

    def of(self, table: TableName) -> Stretch:
        """What is read of an input; all of it where the plan does not tell."""
        return EVERYTHING if self.opaque else self.stretches.get(table, EVERYTHING)


def reads_of(frame: "DataFrame", columns: Mapping[TableName, str]) -> Reads:
    """What a frame that was not computed yet will read.

    Args:
        frame: as it will be written.
        columns: of each table, the column that its own intervals go by: preferred where several are restricted.
    """
    plan = frame._jdf.queryExecution().optimizedPlan()
    found: dict[TableName, Stretch] = {}
    opaque = False
    for part in (plan, *_each(plan.subqueriesAll())):
        for leaf in _each(part.collectLeaves()):
            kind = leaf.getClass().getSimpleName()
            opaque = opaque or kind in _OPAQUE
            if kind == _SCAN:
                name = _table(leaf.relation().name())
                if name is not None:
                    stretch = _scanned(leaf, columns.get(name, ""))
                    found[name] = found[name].joined(stretch) if name in found else stretch
    return Reads(found, opaque)


def _each(sequence: Any) -> Iterator[Any]:
    return (sequence.apply(index) for index in range(sequence.size()))


def _table(relation: str) -> TableName | None:
    """The table of `lake.layer.name@branch#commit`, with or without backticks; None for another one's name."""
    parts = relation.replace("`", "").split(".", 2)
    try:
        return TableName.parse(".".join((parts[1], parts[2].partition("@")[0]))) if len(parts) == 3 else None
    except AsgardError:  # a table that no pipeline could declare
        return None


def _scanned(leaf: Any, preferred: str) -> Stretch:
    filters = _filters(leaf.scan())
    if filters is None:
        return EVERYTHING
    kinds = {each.name(): each.dataType().typeName() for each in _each(leaf.relation().output())}
    times = [column for column, kind in kinds.items() if kind in _TIMES]
    best = EVERYTHING
    for column in sorted(times, key=lambda name: name != preferred):
        bound = Stretch(column)
        for each in filters:
            bound = bound.narrowed(_bound(each, column, DAY if kinds[column] == "date" else 1))
        if bound.is_bounded and (not best.is_bounded or (best.start is None and bound.start is not None)):
            best = bound
    return best


def _filters(scan: Any) -> list[Any] | None:
    """The conditions that a scan of Iceberg's applies to each row; None where they can't be known.

    `SparkScan.filters` is not public, and Iceberg has no public way to them.
    """
    kind = scan.getClass()
    while kind is not None and kind.getSimpleName() != "SparkScan":
        kind = kind.getSuperclass()
    if kind is None:
        return None
    for method in kind.getDeclaredMethods():
        if method.getName() == "filters":
            method.setAccessible(True)
            return list(method.invoke(scan, None))
    return None


def _bound(expression: Any, column: str, unit: int) -> Stretch:
    """The values of a column among the rows that fulfil a condition, or more; `unit` microseconds are one."""
    whole = Stretch(column)
    operation = str(expression.op().toString())
    if operation == "AND":
        return _bound(expression.left(), column, unit).narrowed(_bound(expression.right(), column, unit))
    if operation == "OR":
        return _bound(expression.left(), column, unit).joined(_bound(expression.right(), column, unit))
    if operation == "FALSE":
        return NOTHING.on(column)
    if operation in ("TRUE", "NOT") or not _names(expression, column):
        return whole
    if operation == "IS_NULL":
        return Stretch(column, 0, 0, nulls=True)
    if operation == "NOT_NULL":
        return Stretch(column, nulls=False)
    return _compared(expression, operation, column, unit) or whole


def _compared(expression: Any, operation: str, column: str, unit: int) -> Stretch | None:
    if operation in ("IN", "EQ"):
        literals = list(expression.literals()) if operation == "IN" else [expression.literal()]
        values = [int(each.value()) for each in literals]
        return Stretch(column, min(values) * unit, (max(values) + 1) * unit, nulls=False)
    if operation not in ("LT", "LT_EQ", "GT", "GT_EQ"):
        return None
    value = int(expression.literal().value())
    match operation:
        case "LT":
            return Stretch(column, None, value * unit, nulls=False)
        case "LT_EQ":
            return Stretch(column, None, (value + 1) * unit, nulls=False)
        case "GT":
            return Stretch(column, (value + 1) * unit, None, nulls=False)
        case _:
            return Stretch(column, value * unit, None, nulls=False)


def _names(expression: Any, column: str) -> bool:
    """Whether a condition is on the column itself, and on no function of it."""
    term = expression.term()
    return (
        term.getClass().getSimpleName() in ("NamedReference", "BoundReference")
        and str(expression.ref().name()) == column
    )


def undeclared(reads: Reads, inputs: Iterable[TableName]) -> tuple[TableName, ...]:
    """The tables that a frame reads, though its table does not declare them as inputs."""
    return tuple(sorted(set(reads.stretches) - set(inputs)))
