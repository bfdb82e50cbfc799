"""Compute one declared table within an attempt: read its inputs, call its function, write what it gives."""

from typing import TYPE_CHECKING, Any

from asgard.common.errors import RunError
from asgard.common.spark import explained
from asgard.lakehouse.attempt import Attempt
from asgard.lakehouse.declaration import INTERVAL_PARAMETER, Table
from asgard.lakehouse.intervals import TimeRange
from asgard.lakehouse.planning import Step

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def compute_step(attempt: Attempt, step: Step) -> None:
    """Compute and write a table, for each of the step's ranges.

    Raises:
        AsgardError: the function or the write failed, in words.
    """
    for window in step.ranges or (None,):
        attempt.say(f"computing {step.table.name}{f' for {window}' if window else ''}")
        attempt.write(step.table, _rows(attempt, step.table, window), window)


def _rows(attempt: Attempt, table: Table, window: TimeRange | None) -> "DataFrame":
    from pyspark.sql import DataFrame

    arguments: dict[str, Any] = {parameter: attempt.read(source) for parameter, source in table.inputs.items()}
    if table.takes_interval:
        arguments[INTERVAL_PARAMETER] = window
    if table.function is None:
        raise RunError(f"{table.name} is a source: nothing computes it.", hint="Fill it with `asgard ingest`.")
    with explained(f"The function of {table.name} ({table.module})"):
        rows = table.function(**arguments)
    if not isinstance(rows, DataFrame):
        raise RunError(
            f"The function of {table.name} ({table.module}) gave {type(rows).__name__}, not a DataFrame.",
            hint="Return the DataFrame with the table's rows.",
        )
    return rows
