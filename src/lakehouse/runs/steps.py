"""The steps of a run: the progress of each declared table, and the computation of one within an attempt.

To compute a table is to read its inputs, call its function, and write the rows that it returns.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from asgard.common.errors import RunError
from asgard.common.names import TableName
from asgard.common.spark_utils import explained
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import INTERVAL_PARAMETER, Table
from asgard.lakehouse.declaring.intervals import RangeSet, TimeRange
from asgard.lakehouse.declaring.planning import Progress, Step
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.tables import INPUTS_PROPERTY, INTERVALS_PROPERTY
from asgard.lakehouse.runs.takeover import foreign_owner

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def compute_step(attempt: Attempt, step: Step) -> None:
    """Compute and write a table, for each of the step's ranges.

    Raises:
        AsgardError: the function or the write failed; the message explains why.
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
            f"The function of {table.name} ({table.module}) returned {_kind(rows)}, not a Spark DataFrame.",
            hint=_HINTS.get(type(rows).__module__.partition(".")[0], "Return the DataFrame with the table's rows."),
        )
    return rows


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


def read_progress(lake: Lakehouse, tables: Sequence[Table], ref: str) -> dict[TableName, Progress]:
    """What is computed of each table at a ref (`name` or `name@hash`), and which of its inputs changed since."""
    names = {table.name for table in tables} | {name for table in tables for name in table.inputs.values()}
    contents = lake.nessie.contents(ref, sorted(names))
    progress = {}
    for table in tables:
        content = contents.get(table.name)
        if content is None:
            progress[table.name] = Progress()
            continue
        properties = TableState.load(content.metadata_location, lake.settings).properties
        used = json.loads(properties.get(INPUTS_PROPERTY, "{}"))
        stale = [
            name
            for name in table.inputs.values()
            if name in contents and used.get(str(name)) != contents[name].snapshot_id
        ]
        done = RangeSet.parse(properties.get(INTERVALS_PROPERTY, ""))
        progress[table.name] = Progress(
            exists=True, done=done, stale_inputs=tuple(stale), belongs_to=foreign_owner(table, properties)
        )
    return progress
