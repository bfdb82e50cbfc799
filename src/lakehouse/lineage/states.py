"""What is known of tables at a commit, and of earlier states of them that others read; each is read once."""

from collections.abc import Iterable

from asgard.common.errors import AsgardError
from asgard.common.names import TableName
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import At
from asgard.lakehouse.freshness.facts import facts_of
from asgard.lakehouse.freshness.staleness import TableFacts


class States:
    """The states of tables, as a commit's history has them.

    Args:
        lake: whose tables.
        at: the commit.
    """

    def __init__(self, lake: Lakehouse, at: At) -> None:
        self.lake, self.at = lake, at
        self._now: dict[TableName, TableFacts] = {}
        self._then: dict[tuple[TableName, int], tuple[str, TableFacts] | None] = {}

    def read(self, names: Iterable[TableName]) -> None:
        """Read several tables at once; those that can't be read count as not there."""
        missing = [name for name in dict.fromkeys(names) if name not in self._now]
        try:
            self._now |= facts_of(self.lake, missing, str(self.at))
        except AsgardError:
            for name in missing:
                self._read_one(name)

    def _read_one(self, name: TableName) -> None:
        try:
            self._now |= facts_of(self.lake, [name], str(self.at))
        except AsgardError:
            self._now[name] = TableFacts()

    def now(self, name: TableName) -> TableFacts:
        """What is known of a table at the commit; `exists` is False if it is not there, or can't be read."""
        self.read([name])
        return self._now[name]

    def then(self, name: TableName, snapshot: int) -> tuple[str, TableFacts] | None:
        """The reference at which a table had a snapshot, and what was known of it then; None if no commit has it."""
        key = (name, snapshot)
        if key not in self._then:
            try:
                self._then[key] = self._find(name, snapshot)
            except AsgardError:  # its metadata or its manifests are gone
                self._then[key] = None
        return self._then[key]

    def _find(self, name: TableName, snapshot: int) -> tuple[str, TableFacts] | None:
        for entry, content in self.lake.nessie.history(str(self.at), name):
            if content is not None and content.is_table and content.snapshot_id == snapshot:
                ref = f"{self.at.reference}@{entry.hash}"
                return ref, facts_of(self.lake, [name], ref)[name]
        return None

    def table(self, name: TableName, ref: str) -> TableState:
        """A table's metadata at a reference.

        Raises:
            UnknownTableError: it is not there.
            ServiceError: it can't be read.
        """
        return TableState.load(self.lake.content(name, ref).metadata_location, self.lake.settings)
