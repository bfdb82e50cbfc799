"""One step of a run: read the inputs of a table, call its function, and write the rows that it returns."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgard.common.errors import AsgardError, RunError
from asgard.common.spark_utils import explained
from asgard.lakehouse.declaring.declaration import INTERVAL_PARAMETER, Table, WriteMode
from asgard.lakehouse.declaring.declared_columns import in_declared_columns
from asgard.lakehouse.declaring.intervals import RangeSet, TimeRange
from asgard.lakehouse.declaring.periods import published_cadence
from asgard.lakehouse.freshness.interval_reads import intervals_of, reads_by_interval
from asgard.lakehouse.freshness.planning import Step
from asgard.lakehouse.freshness.spark_reads import JobsStarted, Reads, reads_of, undeclared
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.tables import rows_of_interval

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def compute_step(attempt: Attempt, step: Step) -> None:
    """Compute and write a table, for each of the step's ranges, and note what each interval read.

    Of the intervals that follow their inputs, only those whose inputs have changed are computed.

    Raises:
        AsgardError: the function or the write failed; the message says what to do.
    """
    table, keeper = step.table, attempt.keeper
    if step.only_if_moved and not keeper.has_moved(table, None):
        attempt.say(f"{table.name} is up to date: what it reads has not changed")
        return
    for window in _windows(attempt, step):
        attempt.say(f"computing {table.name}{f' for {window}' if window else ''}")
        rows = _rows(attempt, table, window)
        attempt.write(table, rows.frame, window)
        _note_reads(attempt, table, window, rows)


def _windows(attempt: Attempt, step: Step) -> tuple[TimeRange | None, ...]:
    """The stretches to compute: what is planned, and those of the intervals that follow that have to."""
    cadence = step.table.interval
    if cadence is None:
        return (None,)
    following = [interval for part in step.follows for interval in intervals_of(cadence, part)]
    moved = RangeSet(each for each in following if attempt.keeper.has_moved(step.table, each))
    if following and not moved:
        attempt.say(f"{step.table.name} is up to date: what it reads has not changed")
    return (RangeSet(step.ranges) | moved).ranges


@dataclass(frozen=True)
class _Rows:
    """What a table's function gave.

    Attributes:
        collected: the function started Spark jobs: what it read in them is in no plan.
    """

    frame: "DataFrame"
    collected: bool


def _rows(attempt: Attempt, table: Table, window: TimeRange | None) -> _Rows:
    from pyspark.sql import DataFrame

    arguments: dict[str, Any] = {parameter: attempt.read(source) for parameter, source in table.inputs.items()}
    if table.takes_interval:
        arguments[INTERVAL_PARAMETER] = window
    if table.function is None:
        raise RunError(f"{table.name} is a source: nothing computes it.", hint="Fill it with `asgard ingest`.")
    jobs = JobsStarted(attempt.session)
    with explained(f"The function of {table.name} ({table.module})"):
        frame = table.function(**arguments)
    if not isinstance(frame, DataFrame):
        raise RunError(
            f"The function of {table.name} ({table.module}) returned {_kind(frame)}, not a Spark DataFrame.",
            hint=_HINTS.get(type(frame).__module__.partition(".")[0], "Return the DataFrame with the table's rows."),
        )
    return _Rows(frame, jobs.any)


def _note_reads(attempt: Attempt, table: Table, window: TimeRange | None, rows: _Rows) -> None:
    """Note what each interval of a stretch that was just written has read of each input."""
    inputs = tuple(dict.fromkeys(table.inputs.values()))
    cadences = {name: published_cadence(attempt.keeper.facts(name).properties) for name in inputs}
    columns = {name: cadence.column if cadence else "" for name, cadence in cadences.items()}

    def reads(computed: _Rows, stretch: TimeRange | None) -> Reads:
        if computed.collected:
            return Reads({}, opaque=True)
        frame = computed.frame
        if stretch is not None and table.mode is WriteMode.OVERWRITE_INTERVAL:
            frame = rows_of_interval(table, in_declared_columns(table, frame) if table.columns else frame, stretch)
        return reads_of(frame, columns)

    def plan(stretch: TimeRange) -> Reads:
        try:
            return reads(_rows(attempt, table, stretch) if table.takes_interval else rows, stretch)
        except AsgardError as error:  # a function may refuse a single interval; its rows are written all the same
            attempt.say(f"{table.name}: what {stretch} alone reads is unknown, so it counts as all: {error.message}")
            return Reads({}, opaque=True)

    with explained(f"The plan of {table.name} ({table.module})"):
        whole = reads(rows, window)
        for name in undeclared(whole, inputs):
            attempt.say(f"{table.name} reads {name}, which is not among its inputs: its changes make nothing stale")
        if window is None or table.interval is None:
            attempt.keeper.note(table.name, None, {name: whole.of(name) for name in inputs})
            return
        for interval, stretches in reads_by_interval(table.interval, window, inputs, plan, whole).items():
            attempt.keeper.note(table.name, interval, stretches)


_HINTS = {
    "pandas": "Convert it: spark = frame.sparkSession of an input, then spark.createDataFrame(...).",
}


def _kind(value: object) -> str:
    """The class of a function's result, with its package: pandas has a DataFrame too."""
    if value is None:
        return "None (is there a return?)"
    kind = type(value)
    home = "" if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}."
    return f"{home}{kind.__name__}"
