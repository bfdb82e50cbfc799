"""What reads published tables without being computed by a pipeline: feature views, models, and their predictions."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from asgard.common.errors import AsgardError
from asgard.common.names import RunId, TableName
from asgard.lakehouse.catalog.registrations import Registrations
from asgard.lakehouse.lineage.states import States
from asgard.lakehouse.runs.records import RunRecords

_PREDICTIONS = "_predictions"


@dataclass(frozen=True)
class Consumer:
    """Something that reads a table at one snapshot.

    Attributes:
        kind: `view`, `model` or `predictions`.
        name: of the view; the table of predictions, with the model that predicted.
        is_current: whether that is the table's snapshot now.
    """

    kind: str
    name: str
    table: TableName
    snapshot: int
    is_current: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "kind": self.kind,
            "name": self.name,
            "table": str(self.table),
            "snapshot_id": self.snapshot,
            "current": self.is_current,
        }


def consumers(states: States, tables: Iterable[TableName], published: Iterable[TableName]) -> tuple[Consumer, ...]:
    """What reads some tables.

    Args:
        states: of tables at a commit.
        tables: that may be read.
        published: all tables at that commit.
    """
    read = set(tables)
    found = [
        (each.kind, each.name, each.table, int(each.snapshot_id))
        for each in Registrations(states.lake.storage).of_every_kind()
        if each.table in read and each.target == states.at.reference
    ]
    for name in published:
        if name.name.endswith(_PREDICTIONS):
            found.extend(each for each in _predicted(states, name) if each[2] in read)
    return tuple(
        Consumer(*each, is_current=states.now(each[2]).snapshot == each[3]) for each in sorted(dict.fromkeys(found))
    )


def _predicted(states: States, name: TableName) -> Iterator[tuple[str, str, TableName, int]]:
    """What the newest run of a table of predictions predicted from, as its record names it."""
    try:
        run = states.table(name, str(states.at)).summary("asgard.run-id")
        attempts = RunRecords(states.lake.storage).attempts(RunId(run)) if run else []
    except AsgardError:
        return
    for attempt in attempts:
        for version in attempt.record.get("details", {}).get("prediction", {}).get("versions", ()):
            for view in version["views"]:
                label = f"{name} by {version['model']}"
                yield "predictions", label, TableName.parse(view["table"]), int(view["snapshot_id"])
