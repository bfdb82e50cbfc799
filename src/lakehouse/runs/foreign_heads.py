"""Tables whose head no recorded run made: what others changed since the last run. Metadata only.

The property `asgard.state` names the snapshot that a run left behind. If it is the current one, a run made the head,
and nothing else is read. Tables of versions before 0.2 have no such property; there the summaries of snapshots tell.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from asgard.common.errors import AsgardError
from asgard.common.names import TableName
from asgard.lakehouse.catalog.files import TableHead, TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import Content
from asgard.lakehouse.catalog.snapshots import At
from asgard.lakehouse.declaring.intervals import RangeSet, TimeRange
from asgard.lakehouse.declaring.periods import folded, published_cadence
from asgard.lakehouse.freshness.file_index import FileIndex, IndexedFile, changes_of, changes_since, net
from asgard.lakehouse.freshness.interval_state import STATE_PROPERTY, StateName, StateStore
from asgard.lakehouse.freshness.stretch import moment_of

_RUN = "asgard.run-id"
_READERS = 8


class HeadChange(StrEnum):
    """How a head that no run made came to be."""

    CHANGED = "changed"
    """Further snapshots follow the run's."""
    REWRITTEN = "rewritten"
    """Further snapshots follow the run's, and there are as many rows as before: a compaction, or an update."""
    MOVED_BACK = "moved back"
    """An earlier snapshot of the table is current again."""
    REPLACED = "replaced"
    """The current snapshot does not follow the run's."""
    RECREATED = "dropped and created again"
    """Another table has its name."""


@dataclass(frozen=True)
class ForeignHead:
    """What others did to one table since the last recorded run that wrote it.

    Attributes:
        change: how the head came to be.
        snapshot: the current one; 0 for none.
        snapshots: how many others made, or were undone by a move back; None where the metadata does not tell.
        since: the last recorded run; "" where no log names it.
        added, removed: files by number, in the end: one that came and went is in neither.
        intervals: that the files lie in, folded; None where they are not known, or the table has none.
        partitions: that the files lie in, of a table without intervals; None where they are not known.
        is_stored: the last run left a state, so intervals that it computed can be in doubt.
        problem: why it is not known what changed; "" if it is known.
    """

    table: TableName
    change: HeadChange
    snapshot: int
    snapshots: int | None
    since: str
    added: Mapping[int, IndexedFile] = field(hash=False)
    removed: Mapping[int, IndexedFile] = field(hash=False)
    intervals: tuple[str, ...] | None = None
    partitions: tuple[str, ...] | None = None
    is_stored: bool = True
    problem: str = ""

    @property
    def rows_added(self) -> int:
        """Rows of the data files that came."""
        return _rows(self.added)

    @property
    def rows_removed(self) -> int:
        """Rows of the data files that went; rows that delete files delete are not among them."""
        return _rows(self.removed)

    @property
    def delete_files(self) -> int:
        """Number of delete files that came."""
        return sum(file.is_delete for file in self.added.values())

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "table": str(self.table),
            "change": str(self.change),
            "snapshot_id": self.snapshot,
            "snapshots": self.snapshots,
            "since_run": self.since or None,
            "files_added": len(self.added) - self.delete_files,
            "files_removed": sum(not file.is_delete for file in self.removed.values()),
            "rows_added": self.rows_added,
            "rows_removed": self.rows_removed,
            "delete_files_added": self.delete_files,
            "intervals": None if self.intervals is None else list(self.intervals),
            "partitions": None if self.partitions is None else list(self.partitions),
            "problem": self.problem or None,
        }


def _rows(files: Mapping[int, IndexedFile]) -> int:
    return sum(file.rows for file in files.values() if not file.is_delete)


def foreign_heads(lake: Lakehouse, at: At) -> list[ForeignHead]:
    """Every table at a commit whose head no recorded run made, by name; tables that can't be read are left out."""
    entries = sorted(lake.nessie.entries(str(at)).items())
    with ThreadPoolExecutor(_READERS) as readers:
        found = readers.map(lambda entry: _of_content(lake, at, *entry), entries)
        return [each for each in found if each is not None]


def _of_content(lake: Lakehouse, at: At, name: TableName, content: Content) -> ForeignHead | None:
    try:
        head = TableHead.load(content.metadata_location, lake.settings)
    except AsgardError:  # `asgard tables` names it, and why it can't be read
        return None
    if _is_left_by_run(head.properties, head.snapshot_id):
        return None
    try:
        return foreign_head(lake, at, name)
    except AsgardError as error:  # old manifests may be gone
        return ForeignHead(name, HeadChange.CHANGED, head.snapshot_id or 0, None, "", {}, {}, problem=error.message)


def _is_left_by_run(properties: Mapping[str, str], snapshot: int | None) -> bool:
    state = StateName.parse(properties.get(STATE_PROPERTY, ""))
    return state is not None and state.snapshot == (snapshot or 0)


def foreign_head(lake: Lakehouse, at: At, name: TableName) -> ForeignHead | None:
    """What others did to a table since the last recorded run; None if a run made its head, or no run ever wrote it.

    Args:
        lake: whose table.
        at: a commit.
        name: of the table.

    Raises:
        UnknownTableError: it does not exist there.
        ServiceError: its metadata or its stored state can't be read.
    """
    content = lake.content(name, str(at))
    table = TableState.load(content.metadata_location, lake.settings)
    if _is_left_by_run(table.properties, table.snapshot_id):
        return None
    stored = StateName.parse(table.properties.get(STATE_PROPERTY, ""))
    if stored is None:
        return _without_state(lake, at, name, content, table)
    since = _last_run(lake, at, name)[0] or _runs(table).get(stored.snapshot, "")
    changes = changes_since(table, stored.snapshot or None)
    if changes is not None:
        return _grown(name, table, [each.snapshot for each in changes], since)
    state = StateStore(lake.storage).load(name, stored)
    added, removed = FileIndex.of(table).since(state.files if state else FileIndex({}))
    current = table.snapshot_id or 0
    undone = table.ancestors(stored.snapshot)
    if current in undone or (not current and undone):
        number = len(undone) - 1 - undone.index(current) if current else len(undone)
        return _head(name, table, HeadChange.MOVED_BACK, number, since, (added, removed))
    if not _has_whole_history(table):
        return _head(name, table, HeadChange.CHANGED, None, since, (added, removed))
    return _head(name, table, HeadChange.REPLACED, None, since, (added, removed))


def _without_state(lake: Lakehouse, at: At, name: TableName, content: Content, table: TableState) -> ForeignHead | None:
    """The same for a table that has no state: of a version before 0.2, or not of a run at all."""
    runs, current = _runs(table), table.snapshot_id or 0
    chain = table.ancestors(current)
    own = [place for place, each in enumerate(chain) if each in runs]
    if own:
        later = chain[own[-1] + 1 :]
        return _grown(name, table, later, runs[chain[own[-1]]], is_stored=False) if later else None
    since, content_id = _last_run(lake, at, name)
    if not since:
        return None
    change = HeadChange.CHANGED if content.id == content_id else HeadChange.RECREATED
    return _head(name, table, change, None, since, (FileIndex.of(table).files, {}), is_stored=False)


def _grown(
    name: TableName, table: TableState, snapshots: list[int], since: str, *, is_stored: bool = True
) -> ForeignHead:
    """A head that follows a run's snapshot by some snapshots of others, oldest first."""
    added, removed = net(changes_of(table, each) for each in snapshots)
    is_same_size = bool(added and removed) and _rows(added) == _rows(removed)
    change = HeadChange.REWRITTEN if is_same_size and not _has_deletes(added) else HeadChange.CHANGED
    partitions = _partitions(table, snapshots)
    files = (added, removed)
    return _head(name, table, change, len(snapshots), since, files, partitions=partitions, is_stored=is_stored)


def _has_deletes(files: Mapping[int, IndexedFile]) -> bool:
    return any(file.is_delete for file in files.values())


def _head(
    name: TableName,
    table: TableState,
    change: HeadChange,
    snapshots: int | None,
    since: str,
    files: tuple[Mapping[int, IndexedFile], Mapping[int, IndexedFile]],
    *,
    partitions: tuple[str, ...] | None = None,
    is_stored: bool = True,
) -> ForeignHead:
    intervals = _intervals(table.properties, [each for side in files for each in side.values()])
    current = table.snapshot_id or 0
    return ForeignHead(name, change, current, snapshots, since, *files, intervals, partitions, is_stored)


def _intervals(properties: Mapping[str, str], files: Iterable[IndexedFile]) -> tuple[str, ...] | None:
    """The intervals that files lie in, folded; None if they have no bounds, or may have rows of any interval."""
    cadence = published_cadence(properties)
    if cadence is None:
        return None
    ranges = []
    for file in files:
        if file.is_delete or cadence.column not in file.spans:
            return None
        low, high, _ = file.spans[cadence.column]
        if low <= high:
            ranges.append(TimeRange(moment_of(low), moment_of(high + 1)))
    return tuple(folded(RangeSet(ranges), cadence.unit))


def _partitions(table: TableState, snapshots: Iterable[int]) -> tuple[str, ...] | None:
    """The partitions that some snapshots changed; None for a table with intervals, or without partitions."""
    if published_cadence(table.properties) is not None or not table.partitions:
        return None
    schema, specs = table.table.schema(), table.table.specs()
    files = [entry.data_file for each in snapshots for entry in table.entries_of(each)]
    return tuple(sorted({specs[file.spec_id].partition_to_path(file.partition, schema) for file in files}))


def _runs(table: TableState) -> dict[int, str]:
    """The recorded run of each listed snapshot that one made."""
    return {number: summary[_RUN] for number, summary in table.summaries.items() if _RUN in summary}


def _has_whole_history(table: TableState) -> bool:
    """Whether the first snapshot of the table is listed; some services keep the last one only."""
    parents = {each.snapshot_id: each.parent_snapshot_id for each in table.table.metadata.snapshots}
    first = table.ancestors(table.snapshot_id or 0)[:1]
    return not first or parents[first[0]] is None


def _last_run(lake: Lakehouse, at: At, name: TableName) -> tuple[str, str]:
    """The newest recorded run that published a table, and the id of the content that it published."""
    for entry, content in lake.nessie.history(str(at), name):
        if content is not None and content.is_table and _RUN in entry.properties:
            return entry.properties[_RUN], content.id
    return "", ""
