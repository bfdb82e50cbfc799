"""What an ingest says beyond its rows: the days that they are of, and what they made stale downstream."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from asgard.common.aliases import Say
from asgard.common.errors import AsgardError
from asgard.common.names import TableName
from asgard.ingest.arrivals import Arrivals, arrivals
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.intervals import Cadence
from asgard.lakehouse.declaring.periods import published_cadence
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.made_stale import made_stale, read_by
from asgard.lakehouse.runs.run import RunResult, Status


class NamedPipeline(NamedTuple):
    """A pipeline, and how a command line names it."""

    path: str
    pipeline: Pipeline


def count_arrivals(attempt: Attempt, table: Table, pipeline: Pipeline | None) -> Arrivals | None:
    """Say and record which intervals of time a bronze table got rows for; None if no column of time is known.

    Raises:
        AsgardError: Spark failed.
    """
    cadence = _cadence(attempt, table, pipeline)
    arrived = arrivals(attempt, table.name, cadence) if cadence else None
    if arrived is not None:
        attempt.details["arrivals"] = arrived.to_json()
        for line in arrived.lines():
            attempt.say(line)
    return arrived


def _cadence(attempt: Attempt, table: Table, pipeline: Pipeline | None) -> Cadence | None:
    """The intervals of a bronze table: as declared, as it was published with, or as other tables read it."""
    if table.interval is not None:
        return table.interval
    published = published_cadence(attempt.keeper.facts(table.name).properties)
    if published is not None or pipeline is None:
        return published
    return read_by(attempt.lake, pipeline, table.name, attempt.at_base)


def say_what_is_stale(
    lake: Lakehouse,
    table: TableName,
    result: RunResult,
    named: NamedPipeline | None,
    arrived: Arrivals | None,
    say: Say,
) -> Mapping[str, Any] | None:
    """Say what a published ingest made stale. The rows are published, so that it can't be told is not an error.

    Args:
        lake: that it was published to.
        table: that it was published to.
        result: of its run.
        named: the pipeline that declares the table; None if it is not known.
        arrived: what arrived.
        say: called with each line.

    Returns:
        The same as plain values; None if it is not known.
    """
    if result.commit is None or result.status is not Status.PUBLISHED:
        return None
    if named is None:
        if arrived is not None and arrived.newest is not None:
            say("`asgard plan -p PIPELINE --stale` says what became stale")
        return None
    try:
        found = made_stale(lake, named.pipeline, table, result.commit, datetime.now(UTC))
    except AsgardError as error:
        say(f"what became stale is unknown: {error.message}; `asgard plan -p {named.path} --stale` says it")
        return None
    for line in found.lines(named.path):
        say(line)
    return found.to_json(named.path)
