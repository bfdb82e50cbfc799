"""Every commit of a branch is accounted for: random histories of a run and of strangers, told apart."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from asgard.common.names import CommitHash, TableName
from asgard.lakehouse.catalog.nessie import Content, LogEntry, Operation
from asgard.lakehouse.runs.own_commits import OwnCommits, Sealed, foreign_commits

A, B, STRANGE = TableName("silver", "a"), TableName("silver", "b"), TableName("gold", "strange")
MINE = {"asgard.run-id": "20240101t000000-me", "asgard.attempt": "2"}
OTHERS: tuple[dict[str, str], ...] = ({}, {**MINE, "asgard.attempt": "1"}, {**MINE, "asgard.run-id": "x"})
"""What a stranger's snapshot may carry; another attempt of the same run is a stranger too."""

OWN = ("append", "metadata", "namespace")
FOREIGN = ("append", "append-one-snapshot", "metadata", "roll-back", "stage", "drop", "other-table", "create-and-drop")


@dataclass
class Branch:
    """A branch with two tables, of which one is on the base already, as Nessie and Iceberg would have it."""

    commits: list[tuple[LogEntry, tuple[Operation, ...]]] = field(default_factory=list)
    own: OwnCommits = field(default_factory=OwnCommits)
    current: dict[TableName, int] = field(default_factory=lambda: {A: 10, B: -1})
    summaries: dict[TableName, dict[int, dict[str, str]]] = field(default_factory=lambda: {A: {9: {}, 10: {}}, B: {}})
    gone: set[TableName] = field(default_factory=set)
    number: int = 100

    def commit(self, *operations: tuple[str, TableName, int | None]) -> CommitHash:
        self.number += 1
        entry = LogEntry(CommitHash(f"{self.number:064x}"), CommitHash(""), "m", datetime.now(UTC), {})
        made = tuple(
            Operation(
                kind,
                (name.layer, name.name),
                None if at is None else Content("ICEBERG_TABLE", {"id": "1", "snapshotId": at}),
            )
            for kind, name, at in operations
        )
        self.commits.append((entry, made))
        return entry.hash

    def put(self, name: TableName, at: int) -> CommitHash:
        self.current[name] = at
        return self.commit(("PUT", name, at))

    def append(self, name: TableName, summary: dict[str, str]) -> None:
        self.number += 1
        self.summaries[name][self.number] = summary
        self.put(name, self.number)

    def mine(self, what: str, name: TableName) -> None:
        if what == "append":
            self.append(name, {**MINE, "added-records": "1"})
        elif what == "metadata":
            self.own.metadata[name] += 1
            self.put(name, self.current[name])
        else:
            self.own.hashes.add(self.commit(("PUT", TableName("gold", "namespace"), None)))

    def foreign(self, what: str, name: TableName, summary: dict[str, str]) -> None:
        match what:
            case "append":
                self.append(name, summary)
            case "append-one-snapshot":
                self.summaries[name].clear()
                self.append(name, summary)
            case "metadata":
                self.put(name, self.current[name])
            case "roll-back":
                self.put(name, min(self.summaries[name], default=-1))
            case "stage":
                self.number += 1
                self.summaries[name][self.number] = summary
                self.put(name, self.current[name])
            case "drop":
                self.gone.add(name)
                self.commit(("DELETE", name, None))
            case "other-table":
                self.commit(("PUT", STRANGE, 1))
            case _:
                self.commit(("PUT", STRANGE, 1))
                self.commit(("DELETE", STRANGE, None))

    def found(self) -> list[str]:
        tables = {
            name: Sealed(before, known, None if name in self.gone else self.summaries[name])
            for name, before, known in ((A, 10, frozenset({9, 10})), (B, -1, frozenset()))
        }
        return foreign_commits(self.commits, tables, self.own, MINE)


own_steps = st.tuples(st.just("mine"), st.sampled_from(OWN), st.sampled_from((A, B)))
foreign_steps = st.tuples(
    st.just("foreign"), st.sampled_from(FOREIGN), st.sampled_from((A, B)), st.sampled_from(OTHERS)
)


def played(steps: list[tuple[Any, ...]]) -> Branch:
    branch = Branch()
    for who, what, name, *summary in steps:
        if who == "mine":
            branch.mine(what, name)
        else:
            branch.foreign(what, name, *summary)
    return branch


@settings(deadline=None)
@given(st.lists(own_steps, max_size=12))
def test_what_only_the_run_did_is_its_own(steps: list[tuple[Any, ...]]) -> None:
    assert played(steps).found() == []


@settings(deadline=None)
@given(st.lists(own_steps, max_size=8), foreign_steps, st.lists(st.one_of(own_steps, foreign_steps), max_size=8))
def test_whatever_a_stranger_did_among_it_is_found(
    before: list[tuple[Any, ...]], foreign: tuple[Any, ...], after: list[tuple[Any, ...]]
) -> None:
    assert played([*before, foreign, *after]).found()


def test_the_words_name_table_snapshot_and_who() -> None:
    branch = played([("mine", "append", A), ("foreign", "append", A, {}), ("foreign", "metadata", B, {})])
    snapshot, metadata = branch.found()
    assert f"snapshot {branch.current[A]} of silver.a" in snapshot
    assert "1 commits changed only the metadata of silver.b, of which this run made 0" in metadata
    assert Counter(branch.own.metadata) == Counter()
