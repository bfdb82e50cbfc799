"""What is left of a pipeline's tables after a backfill, for the metrics: counted from metadata."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from asgard.common.aliases import Say
from asgard.common.errors import AsgardError, ServiceUnreachableError
from asgard.jobs.counted import Note
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.freshness.staleness import HARMLESS, Condition
from asgard.lakehouse.freshness.words import condition_counts
from asgard.lakehouse.runs.planned import findings_at
from asgard.monitoring.stale_intervals import LeftFacts

COUNTED = tuple(condition for condition in Condition if condition not in HARMLESS)
"""The conditions that are counted."""


@contextmanager
def noting_left(note: Note, lake: Lakehouse, pipeline: Pipeline, now: datetime, say: Say) -> Iterator[None]:
    """Record what is missing, stale or in doubt of all tables of a pipeline once the block ends, also if it fails.

    That it can't be counted is only said.

    Args:
        note: of the execution.
        lake: whose target ref is looked at.
        pipeline: whose tables are counted, whichever were selected.
        now: no interval that ends later is expected.
        say: called with a line if it can't be counted.
    """
    try:
        yield
    except ServiceUnreachableError:
        raise
    except AsgardError:
        _note_left(note, lake, pipeline, now, say)
        raise
    _note_left(note, lake, pipeline, now, say)


def _note_left(note: Note, lake: Lakehouse, pipeline: Pipeline, now: datetime, say: Say) -> None:
    try:
        found = findings_at(lake, pipeline.in_order(), lake.target, now)
    except AsgardError as error:
        say(f"what is left could not be counted: {error.message}")
        return
    counts = {str(name): condition_counts(findings) for name, findings in found.items()}
    counts = {name: of_table for name, of_table in counts.items() if of_table}
    note.left(pipeline.name, LeftFacts(datetime.now(UTC), tuple(map(str, found)), tuple(map(str, COUNTED)), counts))
