"""Registration: which snapshot of its table each feature view reads. Nothing is copied; a hold keeps it there."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from asgard.common.errors import UsageError
from asgard.common.git import code_version
from asgard.common.names import BranchName, CommitHash
from asgard.features import duck
from asgard.features.pinned import Facts, PinnedTable, PinnedView, require_columns
from asgard.features.views import FeatureView
from asgard.lakehouse.holds import hold, hold_name, release
from asgard.lakehouse.lake import Lakehouse
from asgard.lakehouse.registrations import Registration, Registrations
from asgard.lakehouse.snapshots import At

Say = Callable[[str], None]
KIND = "view"


class Action(StrEnum):
    """What an apply does to a view."""

    ADD = "add"
    CHANGE = "change"
    REPOINT = "re-point"
    KEEP = "keep"
    REMOVE = "remove"


@dataclass(frozen=True)
class Change:
    """One view of a plan.

    Attributes:
        before: as it is registered; None for a new one.
        after: as it will be; None for one that goes.
        differences: in words.
    """

    name: str
    action: Action
    before: Registration | None
    after: PinnedView | None
    differences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        table = self.after.table if self.after else None
        return {
            "view": self.name,
            "action": str(self.action),
            "table": str(table.name) if table else str(self.before.table) if self.before else None,
            "snapshot_before": self.before.snapshot_id if self.before else None,
            "snapshot_after": table.snapshot_id if table else None,
            "differences": list(self.differences),
        }


def plan(lake: Lakehouse, views: Sequence[FeatureView], at: At, *, prune: Sequence[str] = ()) -> list[Change]:
    """What an apply would change.

    Args:
        lake: where they are registered.
        views: as declared.
        at: commit whose tables they will read.
        prune: names of registered views to take out.

    Raises:
        UnknownTableError: a view's table is not published.
        ContractError: a table does not have what its view declares.
    """
    registered = Registrations(lake.storage).current(KIND)
    changes = []
    for view in views:
        table = PinnedTable.load(lake, view.table, at)
        require_columns(view, table)
        before = registered.get(view.name)
        same = before is not None and (before.snapshot_id, before.metadata_location) == (
            table.snapshot_id,
            table.metadata_location,
        )
        declared = _differences(FeatureView.from_json(before.declared), view) if before else ()
        moved = () if same or before is None else (f"snapshot {before.snapshot_id} -> {table.snapshot_id}",)
        action = (
            Action.ADD if before is None else Action.CHANGE if declared else Action.REPOINT if moved else Action.KEEP
        )
        changes.append(Change(view.name, action, before, PinnedView(view, table), (*declared, *moved)))
    changes += [Change(name, Action.REMOVE, registered[name], None, ()) for name in prune if name in registered]
    return changes


def apply(
    lake: Lakehouse, pipeline: str, changes: Sequence[Change], say: Say = lambda _line: None
) -> list[Registration]:
    """Make a plan true: measure, hold, register, then let go of what was held before.

    Args:
        lake: where.
        pipeline: that declares the views.
        changes: the plan.
        say: called with one line about each step.

    Raises:
        ConflictError: somebody else registered one of the views meanwhile.
        AsgardError: a table can't be read.
    """
    registrations = Registrations(lake.storage)
    done = []
    with duck.connect(lake.settings) as connection:
        for change in changes:
            if change.action is Action.KEEP:
                continue
            number = change.before.number + 1 if change.before else _next_number(registrations, change.name)
            if change.after is None:
                assert change.before is not None  # noqa: S101 - only what is registered is removed
                gone = {**change.before.__dict__, "number": number, "removed": True}
                registrations.add(Registration(**gone))
                say(f"{change.name}: taken out")
            else:
                say(f"{change.name}: measuring {change.after.table.rows:,} rows of {change.after.table.name}")
                facts = duck.measure(connection, change.after.view, change.after.table)
                _warn(change.after.view, facts, say)
                commit = change.after.table.at.commit
                hold(lake, _hold_of(change.name, number, commit), commit)
                fresh = _registration(lake, pipeline, change.after, facts, number)
                registrations.add(fresh)
                done.append(fresh)
                say(f"{change.name}: {change.action} at snapshot {change.after.table.snapshot_id}")
            commit_now = change.after.table.at.commit if change.after else None
            _release_others(lake, change.name, number, commit_now)
    return done


def registered_views(lake: Lakehouse, names: Sequence[str] = ()) -> tuple[PinnedView, ...]:
    """Registered views, pinned as they are registered; all of them for no name.

    Raises:
        UsageError: a view is not registered.
    """
    current = Registrations(lake.storage).current(KIND)
    unknown = [name for name in names if name not in current]
    if unknown:
        raise UsageError(
            f"There is no registered feature view {', '.join(map(repr, unknown))}.",
            hint=f"Registered are {', '.join(current) or 'none'}; `asgard features apply` registers.",
        )
    return tuple(PinnedView.registered(lake, current[name]) for name in (names or current))


def _next_number(registrations: Registrations, name: str) -> int:
    history = registrations.history(KIND, name)
    return history[-1].number + 1 if history else 1


def _registration(lake: Lakehouse, pipeline: str, pinned: PinnedView, facts: Facts, number: int) -> Registration:
    view, table = pinned.view, pinned.table
    return Registration(
        kind=KIND,
        name=view.name,
        number=number,
        table=table.name,
        columns={name: table.columns[name].type for name in view.columns},
        online=view.online,
        target=lake.target,
        commit=table.at.commit,
        metadata_location=table.metadata_location,
        snapshot_id=table.snapshot_id,
        declared=view.to_json(),
        facts=asdict(facts),
        pipeline=pipeline,
        registered=datetime.now(UTC).isoformat(timespec="seconds"),
        user=lake.settings.user,
        code_version=code_version(lake.settings).version,
    )


def _warn(view: FeatureView, facts: Facts, say: Say) -> None:
    if facts.ties and not (view.created_timestamp and view.tie_break):
        say(
            f"{view.name}: {facts.ties:,} rows share their keys and event timestamp with another; "
            f"{'then the greater created timestamp counts' if view.created_timestamp else 'declare tie_break'}"
        )
    if facts.unusable:
        say(f"{view.name}: {facts.unusable:,} rows lack a key or a timestamp, and never count")


def _hold_of(name: str, number: int, commit: str) -> BranchName:
    """The commit is in it, so that a hold of an apply that died is in nobody's way."""
    return hold_name(KIND, name, f"{number}-{commit[:16]}")


def _release_others(lake: Lakehouse, name: str, number: int, commit: CommitHash | None) -> None:
    """Let go of what earlier registrations held, and applies that died; never of a later one's."""
    prefix = hold_name(KIND, name, "")
    kept = _hold_of(name, number, commit) if commit else None
    for reference in list(lake.nessie.references(prefix)):
        held = re.fullmatch(r"(\d+)-[0-9a-f]+", reference.name.removeprefix(prefix))
        if held and int(held[1]) <= number and reference.name != kept:
            release(lake, reference.name)


def _differences(before: FeatureView, after: FeatureView) -> tuple[str, ...]:
    """How two declarations differ, in words."""
    old, new = before.to_json(), after.to_json()
    found = [f"{name} {old[name]} -> {new[name]}" for name in new if name != "features" and old[name] != new[name]]
    had, has = {each.name: each for each in before.features}, {each.name: each for each in after.features}
    found += [f"feature {name} added" for name in has if name not in had]
    found += [f"feature {name} taken out" for name in had if name not in has]
    found += [
        f"feature {name} {had[name].type} -> {has[name].type}"
        for name in has
        if name in had and had[name].type != has[name].type
    ]
    if not found and before != after:
        found.append("descriptions or order of features")
    return tuple(found)
