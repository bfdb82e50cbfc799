"""Plan to undo one published run: find its publish, and what its tables were before it, after it, and are now.

Metadata only: no row of a table is read (the rows of small ledgers are), and Spark does not start.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from asgard.common.errors import ServiceError, UsageError
from asgard.common.names import LOG_MARGIN, CommitHash, RunId, TableName, run_id_time
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import DiffEntry, LogEntry
from asgard.lakehouse.catalog.publications import Reverts
from asgard.lakehouse.catalog.registrations import Registrations
from asgard.lakehouse.catalog.snapshots import At
from asgard.lakehouse.freshness.facts import facts_of
from asgard.lakehouse.freshness.file_index import changes_of, file_number
from asgard.lakehouse.freshness.staleness import TableFacts
from asgard.lakehouse.runs.history import list_runs
from asgard.lakehouse.runs.ledger_rows import undo_clashes
from asgard.lakehouse.runs.undoing import Clash, TableStates, TableUndo, clash_of, undo_of

_READERS = 16
_SHOWN = 5
_LEDGER_COLUMNS = ("kind", "source", "digest", "rows", "cursor_column", "cursor_value", "ingested_at", "run_id")


@dataclass(frozen=True)
class Published:
    """The publish of a run on one ref.

    Attributes:
        entry: its commit.
        later: the commits after it, newest first.
        revert: the commit by which it was undone; None if it stands.
        undone: commits among `later` that were undone themselves.
    """

    entry: LogEntry
    later: tuple[LogEntry, ...]
    revert: LogEntry | None
    undone: frozenset[CommitHash] = frozenset()

    @property
    def job(self) -> str:
        """The run's job."""
        return self.entry.properties.get("asgard.job", "")


@dataclass(frozen=True)
class TablePlan:
    """What undoes a run in one table, and the table's states that this needs.

    Attributes:
        before: None if the run created the table.
        registered: views that read the table.
    """

    undo: TableUndo
    facts: TableFacts
    before: TableState | None
    now: TableState
    registered: tuple[str, ...] = ()


@dataclass(frozen=True)
class RevertPlan:
    """How to undo a run.

    Attributes:
        at: the state that it was planned from.
        tables: each that the run wrote.
    """

    run_id: RunId
    published: Published
    at: At
    tables: tuple[TablePlan, ...] = field(default=())


def published(lake: Lakehouse, run_id: RunId, at: At) -> Published:
    """Find the newest publish of a run.

    Raises:
        UsageError: there is none; the message says what became of the run.
    """
    later: list[LogEntry] = []
    reverts = Reverts()
    for entry in lake.nessie.log(at.reference, at=at.commit, since=run_id_time(run_id) - LOG_MARGIN):
        reverts.note(entry)
        if entry.properties.get("asgard.run-id") == run_id:
            undone = frozenset(each.hash for each in later if reverts.of(each.hash) is not None)
            return Published(entry, tuple(later), reverts.of(entry.hash), undone)
        later.append(entry)
    raise _not_published(lake, run_id, later)


def _not_published(lake: Lakehouse, run_id: RunId, log: Iterable[LogEntry]) -> UsageError:
    chunks = [each for entry in log if (each := entry.properties.get("asgard.run-id", "")).startswith(f"{run_id}-")]
    if chunks:
        names = ", ".join(dict.fromkeys(chunks[:_SHOWN]))
        return UsageError(
            f"{run_id} is not one run: it was published in {len(set(chunks))} runs, the newest first: {names}.",
            hint="Revert them one by one, newest first.",
        )
    runs = list_runs(lake, run_id=run_id)
    if not runs:
        return UsageError(f"There is no run {run_id}.", hint="`asgard runs` lists the existing runs.")
    status = runs[0].status
    if "published to" in status:
        target = runs[0].attempt.start.get("target")
        return UsageError(
            f"Run {run_id} was {status}, not to {lake.target}.",
            hint=f"Revert it there: --set nessie_ref={target}. A merge is undone by reverting on {target} and merging.",
        )
    what = "wrote nothing" if status == "unchanged" else f"published nothing on {lake.target} (status: {status})"
    return UsageError(f"Run {run_id} {what}, so there is nothing to revert.", hint="`asgard runs` shows its status.")


def plan_revert(lake: Lakehouse, run_id: RunId, at: At) -> RevertPlan:
    """Plan to undo a run.

    Args:
        lake: whose run.
        run_id: of the run.
        at: the state to undo it in.

    Raises:
        UsageError: the run was not published, can't be undone, or later changes build on it; the message names them.
        ServiceError: metadata can't be read, or a file that must come back is gone.
    """
    found = published(lake, run_id, at)
    if found.revert is not None:
        by = found.revert.properties.get("asgard.run-id")
        raise UsageError(
            f"Run {run_id} was reverted already, by run {by}.", hint=f"`asgard revert {by}` brings its rows back."
        )
    if found.job == "accept":
        raise UsageError(
            f"Run {run_id} accepted what others wrote: it wrote no row.", hint="There is nothing to revert."
        )
    changes = _changes(lake, found, at)
    names = [name for name, _ in changes]
    commits = (found.entry.parent, found.entry.hash, at.commit)
    before, after, now = (facts_of(lake, names, f"{at.reference}@{commit}") for commit in commits)
    contents = lake.nessie.contents(str(at), names)
    registrations = [each for each in Registrations(lake.storage).of_every_kind() if each.target == lake.target]
    tables, problems = [], []
    for name, change in changes:
        states = TableStates(name, before[name], after[name], now[name])
        content = contents.get(name)
        then = TableState.load(change.after.metadata_location, lake.settings) if change.after else None
        present = TableState.load(content.metadata_location, lake.settings) if content else None
        problem = _problem(states, then, present)
        if problem or then is None or present is None:
            problems.append(f"{name}: {problem}")
            continue
        old = TableState.load(change.before.metadata_location, lake.settings) if change.before else None
        views = tuple(f"{each.kind} {each.name}" for each in registrations if each.table == name)
        since = _is_written_since(lake, name, found, at)
        undo = undo_of(states, written_since=since, is_registered=bool(views))
        columns = tuple(column for column in then.columns if old is not None and column not in old.columns)
        _require_there(name, old, undo)
        problems.extend(_ledger_problems(name, undo, then, old, present))
        tables.append(TablePlan(undo.with_columns(columns), now[name], old, present, views))
    if problems:
        raise _refused(run_id, problems)
    return RevertPlan(run_id, found, at, tuple(tables))


def _refused(run_id: RunId, problems: Sequence[str]) -> UsageError:
    return UsageError(
        f"Run {run_id} can't be reverted alone: others have changed what it wrote since. Nothing was changed.",
        hint="Revert the named runs first, newest first; or compute the intervals again with `asgard backfill`.",
        details=tuple(problems),
    )


def _changes(lake: Lakehouse, found: Published, at: At) -> list[tuple[TableName, DiffEntry]]:
    """The tables that a publish changed."""
    around = (f"{at.reference}@{commit}" for commit in (found.entry.parent, found.entry.hash))
    changes = [each for each in lake.nessie.diff(*around) if len(each.key) == 2]
    dropped = [".".join(each.key) for each in changes if each.after is None]
    if dropped:
        undone = found.entry.properties.get("asgard.reverts", "")
        raise UsageError(
            f"The run dropped {', '.join(dropped)}, which can't come back as it was.",
            hint=f"Run the work of {undone or 'that table'} again: it makes the table anew.",
        )
    return [(TableName(*each.key), each) for each in sorted(changes, key=lambda each: each.key)]


def _problem(states: TableStates, then: TableState | None, now: TableState | None) -> str:
    """Why a run can't be undone in a table, in words; "" if it can."""
    if now is None or then is None:
        return "the table was dropped since"
    if now.table.metadata.table_uuid != then.table.metadata.table_uuid:
        return "the table was dropped and made anew since"
    if states.has_delete_files:
        return (
            "another engine deleted rows by delete files, which files that leave or come back would not agree with; "
            "rewrite the table without them first"
        )
    clash = clash_of(states)
    return _clash_words(clash, states, now) if clash else ""


def _clash_words(clash: Clash, states: TableStates, now: TableState) -> str:
    by = _changed_by(now, states.after.snapshot, clash.gone, clash.returned)
    words = [f"files of the run were changed since by {', '.join(by)}"] if by else []
    again = [name for each in clash.computed_by if (name := f"run {each}") not in by]
    if again:
        words.append(f"what the run computed was computed again since by {', '.join(again)}")
    return "; ".join(words) or "nothing is known any more of what the run computed"


def _changed_by(now: TableState, since: int, gone: frozenset[int], returned: frozenset[int]) -> list[str]:
    """Who changed files last, newest first."""
    if not gone and not returned:
        return []
    chain = now.ancestors(now.snapshot_id or 0)
    names, left = [], [set(gone), set(returned)]
    for snapshot in reversed(chain[chain.index(since) + 1 :] if since in chain else chain):
        change = changes_of(now, snapshot)
        found = (left[0] & change.removed.keys(), left[1] & change.added.keys())
        if any(found):
            operation = "compaction " if now.operation(snapshot) == "replace" else ""
            names.append(f"run {change.run}" if change.run else f"{operation}snapshot {snapshot} of no recorded run")
            left = [mine - theirs for mine, theirs in zip(left, found, strict=True)]
        if not any(left):
            break
    if any(left):
        names.append("a change that the table's metadata no longer lists")
    return list(dict.fromkeys(names))


def _is_written_since(lake: Lakehouse, name: TableName, found: Published, at: At) -> bool:
    """Whether a later run that stands wrote to a table."""
    if not found.later:
        return False
    later = {entry.hash: entry for entry in found.later}
    for entry, _ in lake.nessie.history(str(at), name):
        if entry.hash not in later:
            return False
        is_revert = "asgard.reverts" in entry.properties
        if "asgard.run-id" in entry.properties and entry.hash not in found.undone and not is_revert:
            return True
    return False


def _require_there(name: TableName, before: TableState | None, undo: TableUndo) -> None:
    """Refuse to put files back that are not in the storage any more.

    Raises:
        ServiceError: one is missing; the message says how many are.
    """
    if before is None or not undo.back:
        return
    paths = _paths(before, undo.back)
    with ThreadPoolExecutor(_READERS) as readers:
        there = list(readers.map(lambda path: before.table.io.new_input(path).exists(), paths))
    missing = [path for path, is_there in zip(paths, there, strict=True) if not is_there]
    if missing:
        raise ServiceError(
            f"{len(missing)} of {len(paths)} files of {name} that would come back are gone, {missing[0]} first: they "
            "were collected, or removed. Nothing was changed.",
            hint="Compute the intervals again with `asgard backfill`, or restore the files from a backup.",
        )


def _paths(state: TableState, numbers: Mapping[int, Any]) -> list[str]:
    paths = (entry.data_file.file_path for entry in state.live_entries())
    return [path for path in paths if file_number(path) in numbers]


def _ledger_problems(
    name: TableName, undo: TableUndo, after: TableState, before: TableState | None, now: TableState
) -> Iterator[str]:
    """Why the rows of a ledger can't be changed back, because of what landed since."""
    if name.layer != "ledger":
        return
    out = after.rows_of(_paths(after, undo.out), _LEDGER_COLUMNS)
    back = before.rows_of(_paths(before, undo.back), _LEDGER_COLUMNS) if before is not None else []
    for run_id, why in undo_clashes(now.rows(_LEDGER_COLUMNS), out, back).items():
        yield f"{name}: run {run_id} {why}"
