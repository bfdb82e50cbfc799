"""Who made an interval stale, or put it in doubt: the runs and the foreign snapshots that changed what it read."""

from collections.abc import Iterable, Iterator
from itertools import islice

from asgard.common.errors import AsgardError
from asgard.common.names import RunId, TableName
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.publications import REVERTS
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.freshness.file_index import SnapshotChange, changes_of
from asgard.lakehouse.freshness.staleness import Condition, Finding, own_stretch
from asgard.lakehouse.freshness.stretch import Stretch
from asgard.lakehouse.runs.records import RunRecords

_SHOWN = 3
_READ = 50
"""Snapshots that are looked at for one cause."""


class Causes:
    """Finds the causes of findings at one reference (`name` or `name@hash`); metadata is read once for each table."""

    def __init__(self, lake: Lakehouse, pipeline: Pipeline, ref: str) -> None:
        self._lake, self._pipeline, self._ref = lake, pipeline, ref
        self._states: dict[TableName, TableState | None] = {}

    def of(self, finding: Finding) -> str:
        """In a few words, e.g. `silver.orders: run 2024...; snapshot 8123... of no recorded run`; "" if unknown."""
        try:
            return self._of(finding)
        except AsgardError:  # old manifests may be gone
            return ", ".join(map(str, finding.inputs))

    def _of(self, finding: Finding) -> str:
        if finding.condition is Condition.DOUBT:
            return self._doubt(finding)
        if finding.condition is not Condition.DATA or finding.record is None:
            return ", ".join(map(str, finding.inputs))
        reads = {read.table: read for read in finding.record.reads}
        parts = []
        for name in finding.inputs:
            read = reads.get(name)
            who = self._changed(name, read.snapshot, read.stretch) if read else "declared since"
            parts.append(f"{name}: {who}" if who else str(name))
        return "; ".join(parts)

    def _doubt(self, finding: Finding) -> str:
        if finding.record is not None and finding.record.doubt:
            return _words(["snapshot " + str(finding.record.doubt)])
        stretch = own_stretch(self._pipeline[finding.table], finding.interval)
        state = self._state(finding.table)
        changes = _newest(state, 0) if state else iter(())
        foreign = (each for each in changes if not each.run and each.touches(stretch))
        return _words(f"snapshot {each.snapshot}" for each in islice(foreign, _SHOWN + 1))

    def _changed(self, name: TableName, since: int, stretch: Stretch) -> str:
        state = self._state(name)
        if state is None or (since and since not in state.ancestors(state.snapshot_id or 0)):
            return "replaced, or moved back"
        changes = (each for each in _newest(state, since) if each.touches(stretch))
        return _words(self._said(name, each) for each in islice(changes, _SHOWN + 1))

    def _said(self, name: TableName, change: SnapshotChange) -> str:
        if not change.run:
            return f"snapshot {change.snapshot} of no recorded run"
        state = self._state(name)
        reverted = state.summaries.get(change.snapshot, {}).get(REVERTS) if state else None
        if reverted:
            return f"run {change.run}, which reverted run {reverted}"
        files = self._files(change.run) if name.layer == "bronze" else ""
        return f"run {change.run}{files}"

    def _files(self, run_id: str) -> str:
        attempts = RunRecords(self._lake.storage).attempts(RunId(run_id), limit=1)
        files = attempts[0].record.get("details", {}).get("files", ()) if attempts else ()
        names = [str(each["path"]).rpartition("/")[2] for each in files]
        more = f" and {len(names) - _SHOWN} more files" if len(names) > _SHOWN else ""
        return f" ({', '.join(names[:_SHOWN])}{more})" if names else ""

    def _state(self, name: TableName) -> TableState | None:
        if name not in self._states:
            content = self._lake.nessie.content(self._ref, name)
            try:
                state = TableState.load(content.metadata_location, self._lake.settings) if content else None
            except AsgardError:
                state = None
            self._states[name] = state
        return self._states[name]


def _newest(state: TableState, since: int) -> Iterator[SnapshotChange]:
    """What the newest snapshots after one did, newest first; not more than are worth reading."""
    chain = state.ancestors(state.snapshot_id or 0)
    after = chain[chain.index(since) + 1 :] if since in chain else chain
    return (changes_of(state, each) for each in reversed(after[-_READ:]))


def _words(parts: Iterable[str]) -> str:
    found = list(dict.fromkeys(parts))
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more
