"""Where a table's rows come from: runs, inputs at their snapshots, source files, and snapshots that no run recorded.

Lineage combines three sources. The run records name the run that made a snapshot, and its inputs. Nessie's history of
the table lists the snapshots that it was published with, even if a writer kept only the last one in the metadata. The
ledger, published with a bronze table's rows, names the files that the rows came from.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asgard.common.errors import AsgardError
from asgard.common.names import TableName, ledger_name
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import Content, LogEntry
from asgard.lakehouse.catalog.snapshots import At
from asgard.lakehouse.declaring.declaration import WriteMode
from asgard.lakehouse.runs.foreign_heads import ForeignHead, foreign_head
from asgard.lakehouse.runs.history import RunSummary, list_runs
from asgard.lakehouse.runs.ledger_rows import standing_rows
from asgard.lakehouse.runs.records import AttemptRecord

_RUN = "asgard.run-id"
_LEDGER_COLUMNS = ("kind", "source", "digest", "ingested_at")


@dataclass(frozen=True)
class LineageNode:
    """One state of a table: the run that made it, the states that it was computed from, and raw files.

    Attributes:
        run: the run that made this snapshot; if no recorded run did, the newest recorded run before it.
        computed_by: the newest run whose rows are there: `run`, unless that is a revert.
        made_by_run: whether `run` made this snapshot.
        unrecorded: number of snapshots that its rows may come from and that no recorded run made.
        files: for a bronze table, the files that its rows were ingested from, oldest first.
        keys: for a table of predictions, the columns that name an entity.
        foreign: what others did to the table since its last recorded run, if this is its current state.
    """

    table: TableName
    snapshot_id: int
    run: RunSummary | None
    inputs: "tuple[LineageNode, ...]"
    files: tuple[str, ...]
    made_by_run: bool = True
    unrecorded: int = 0
    keys: tuple[str, ...] = ()
    computed_by: RunSummary | None = None
    foreign: ForeignHead | None = None

    @property
    def predicted_by(self) -> tuple[str, ...]:
        """For a table of predictions, the models of its newest recorded run, e.g. `churn@1.2.0`."""
        return tuple(each["model"] for each in _predictions(self.computed_by.attempt)) if self.computed_by else ()

    @property
    def foreign_heads(self) -> "tuple[ForeignHead, ...]":
        """What others did to this table and to those below, each table once."""
        below = [head for node in self.inputs for head in node.foreign_heads]
        return tuple(dict.fromkeys((*([self.foreign] if self.foreign else []), *below)))

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        run = self.run.attempt if self.run and self.made_by_run else None
        return {
            "table": str(self.table),
            "snapshot_id": self.snapshot_id,
            "run_id": run.run_id if run else None,
            "job": run.start.get("job") if run else None,
            "code_version": run.start.get("code_version") if run else None,
            "commit": self.run.commit if self.run and run else None,
            "last_recorded_run": self.run.attempt.run_id if self.run else None,
            "computed_by": self.computed_by.attempt.run_id if self.computed_by else None,
            "unrecorded_snapshots": self.unrecorded,
            "models": list(self.predicted_by),
            "foreign": self.foreign.to_json() if self.foreign else None,
            "files": list(self.files),
            "inputs": [node.to_json() for node in self.inputs],
        }


def lineage(lake: Lakehouse, table: TableName, at: At) -> LineageNode:
    """Where the rows of a table come from: runs, inputs at their snapshots, and source files.

    Raises:
        UnknownTableError: the table doesn't exist there.
    """
    content = lake.content(table, str(at))
    return _Walk(lake, at, _makers(lake)).node(table, content.snapshot_id, frozenset())


def _makers(lake: Lakehouse) -> dict[tuple[str, int], RunSummary]:
    """The run that made each snapshot. Snapshot ids are unique, so it doesn't matter whether the run is published."""
    return {
        (name, write["snapshot_id"]): summary
        for summary in list_runs(lake)
        if summary.attempt.outcome.get("status") != "conflict"
        for name, write in summary.attempt.record.get("writes", {}).items()
    }


@dataclass(frozen=True)
class _State:
    """A snapshot that a table had, and whether a run made it."""

    snapshot: int
    is_own: bool


class _Walk:
    def __init__(self, lake: Lakehouse, at: At, makers: Mapping[tuple[str, int], RunSummary]) -> None:
        self._lake, self._at, self._makers = lake, at, makers
        self._heads: dict[TableName, ForeignHead | None] = {}

    def node(self, table: TableName, snapshot: int, above: frozenset[TableName]) -> LineageNode:
        if table in above:
            maker = self._makers.get((str(table), snapshot))
            return LineageNode(table, snapshot, maker, (), (), computed_by=maker)
        history = self._history(table, snapshot)
        unrecorded, newest, computed_by = 0, None, None
        undone: set[str] = set()
        for state in self._states(table, snapshot, history):
            maker = self._makers.get((str(table), state.snapshot))
            newest = newest or maker
            if maker is None and not state.is_own:
                unrecorded += 1
            if maker is None or maker.attempt.run_id in undone:
                continue
            if reverted := maker.reverts:
                undone.add(reverted)
                continue
            computed_by = computed_by or maker
            if maker.attempt.record["writes"][str(table)].get("mode") == WriteMode.REPLACE:
                break  # no earlier rows are left
        inputs = tuple(
            self.node(name, source, above | {table})
            for name, source in (_inputs_of(table, computed_by.attempt) if computed_by else ())
        )
        return LineageNode(
            table=table,
            snapshot_id=snapshot,
            run=newest,
            inputs=inputs,
            files=self._files(table, snapshot, history),
            made_by_run=(str(table), snapshot) in self._makers,
            unrecorded=unrecorded,
            keys=self._entity_keys(table, history),
            computed_by=computed_by,
            foreign=self._foreign(table, snapshot),
        )

    def _foreign(self, table: TableName, snapshot: int) -> ForeignHead | None:
        if table not in self._heads:
            self._heads[table] = _current_head(self._lake, self._at, table)
        head = self._heads[table]
        return head if head and head.snapshot == snapshot else None

    def _history(self, table: TableName, snapshot: int) -> list[tuple[LogEntry, Content]]:
        """The table's commits, newest first, from the newest with the snapshot on; none if no commit has it."""
        publishes: list[tuple[LogEntry, Content]] = []
        for entry, content in self._lake.nessie.history(str(self._at), table):
            if content is None or not content.is_table:  # it was dropped: earlier commits are of another table
                break
            if publishes or content.snapshot_id == snapshot:
                publishes.append((entry, content))
        return publishes

    def _states(self, table: TableName, snapshot: int, history: Sequence[tuple[LogEntry, Content]]) -> Iterator[_State]:
        """A snapshot and its ancestors, newest first: those in the metadata, then those that only the history lists."""
        state = self._state(history)
        seen: set[int] = set()
        if state is not None:
            for each in reversed(state.ancestors(snapshot)):
                seen.add(each)
                yield _State(each, _RUN in state.summaries[each])
        for entry, content in history:
            if content.snapshot_id not in seen and content.snapshot_id > 0:
                seen.add(content.snapshot_id)
                yield _State(content.snapshot_id, _RUN in entry.properties)
        if not seen:
            yield _State(snapshot, is_own=False)

    def _state(self, history: Sequence[tuple[LogEntry, Content]]) -> TableState | None:
        try:
            return TableState.load(history[0][1].metadata_location, self._lake.settings) if history else None
        except AsgardError:
            return None

    def _files(self, table: TableName, snapshot: int, history: Sequence[tuple[LogEntry, Content]]) -> tuple[str, ...]:
        """The source files of a bronze table at a snapshot, oldest first: from its ledger at the same commit."""
        if table.layer != "bronze":
            return ()
        ledger = ledger_name(table)
        commit = f"{self._at.reference}@{history[0][0].hash}" if history else str(self._at)
        content = self._lake.nessie.content(commit, ledger)
        if content is not None and content.is_table:
            rows = TableState.load(content.metadata_location, self._lake.settings).rows(_LEDGER_COLUMNS)
            return tuple(dict.fromkeys(str(row["source"]) for row in standing_rows(rows)))
        makers = [self._makers.get((str(table), each.snapshot)) for each in self._states(table, snapshot, history)]
        recorded = [maker.attempt.record.get("details", {}).get("files", ()) for maker in reversed(makers) if maker]
        return tuple(dict.fromkeys(str(file["path"]) for files in recorded for file in files))

    def _entity_keys(self, table: TableName, history: Sequence[tuple[LogEntry, Content]]) -> tuple[str, ...]:
        if not table.name.endswith("_predictions"):
            return ()
        state = self._state(history)
        return tuple(filter(None, state.properties.get("asgard.keys", "").split(","))) if state else ()


def _current_head(lake: Lakehouse, at: At, table: TableName) -> ForeignHead | None:
    try:
        return foreign_head(lake, at, table)
    except AsgardError:  # it was dropped since
        return None


def _inputs_of(table: TableName, attempt: AttemptRecord) -> Iterator[tuple[TableName, int]]:
    """The tables that a run computed `table` from, read from the base or written by itself."""
    record = attempt.record
    steps: Sequence[Mapping[str, Any]] = record.get("params", {}).get("steps", ())
    names = next((step["reads"] for step in steps if step["table"] == str(table)), ())
    for name in names:
        source = record["writes"].get(name) or record["reads"].get(name)
        if source:
            yield TableName.parse(name), int(source["snapshot_id"])
    views = [view for version in _predictions(attempt) for view in version["views"]]
    yield from dict.fromkeys((TableName.parse(view["table"]), int(view["snapshot_id"])) for view in views)


def _predictions(attempt: AttemptRecord) -> Sequence[Mapping[str, Any]]:
    """The model versions that a run predicted with, as its record names them."""
    versions: Sequence[Mapping[str, Any]] = attempt.record.get("details", {}).get("prediction", {}).get("versions", ())
    return versions
