"""Read what is known of tables at a commit: properties, states, and the indexes of their files. Metadata only."""

import gc
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from asgard.common.errors import LostStateError, ServiceError
from asgard.common.names import TableName
from asgard.lakehouse.catalog.files import TableHead, TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import Content
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.declaring.intervals import RangeSet
from asgard.lakehouse.freshness.file_index import FileIndex, SnapshotChange, changes_since
from asgard.lakehouse.freshness.interval_state import (
    INTERVALS_PROPERTY,
    STATE_PROPERTY,
    IntervalState,
    StateName,
    StateStore,
)
from asgard.lakehouse.freshness.staleness import TableFacts

_READERS = 8


def read_facts(lake: Lakehouse, tables: Sequence[Table], ref: str) -> dict[TableName, TableFacts]:
    """What is known at a ref (`name` or `name@hash`) of some tables and of all of their inputs.

    Raises:
        ServiceError: metadata can't be read, or the storage does not answer.
    """
    return facts_of(lake, (name for table in tables for name in (table.name, *table.inputs.values())), ref)


def facts_of(lake: Lakehouse, names: Iterable[TableName], ref: str) -> dict[TableName, TableFacts]:
    """The same, of named tables alone."""
    wanted = sorted(set(names))
    contents = lake.nessie.contents(ref, wanted)
    with _no_garbage_collection(), ThreadPoolExecutor(_READERS) as readers:
        found = readers.map(lambda name: _facts(lake, name, contents.get(name)), wanted)
        return dict(zip(wanted, found, strict=True))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Pause Python's collector of cycles: it would walk again and again through records of which none is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _facts(lake: Lakehouse, name: TableName, content: Content | None) -> TableFacts:
    if content is None:
        return TableFacts()
    head = TableHead.load(content.metadata_location, lake.settings)
    state_name = StateName.parse(head.properties.get(STATE_PROPERTY, ""))
    done = RangeSet.parse(head.properties.get(INTERVALS_PROPERTY, ""))
    problem = ""
    try:
        state = StateStore(lake.storage).load(name, state_name)
    except LostStateError as error:  # the rows are there; what they were computed from is unknown
        state, problem = None, error.message
    known = TableFacts(True, head.snapshot_id or 0, state, None, done, head.properties, problem=problem)
    if state is not None and state.snapshot == known.snapshot:
        return replace(known, files=state.files)
    whole = TableState.load(content.metadata_location, lake.settings)
    known = replace(known, files=FileIndex.of(whole))
    return known if state is None else replace(known, foreign=_foreign(whole, state, known.files or FileIndex({})))


def _foreign(table: TableState, state: IntervalState, now: FileIndex) -> tuple[SnapshotChange, ...]:
    """What was done to a table since its state was written, by snapshots that have none."""
    try:
        changes = changes_since(table, state.snapshot or None)
    except ServiceError:  # somebody collected the manifests of snapshots in between
        changes = None
    if changes is not None:
        return tuple(changes)
    # The table was replaced or moved back, or its history is gone: only the difference is known.
    return (SnapshotChange(table.snapshot_id or 0, "", *now.since(state.files)),)
