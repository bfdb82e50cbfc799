"""Registration: which snapshot of its table each feature view reads. Nothing is copied; a hold keeps it readable."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from asgard.common.aliases import Say
from asgard.common.errors import ConflictError, UnknownReferenceError, UsageError
from asgard.common.failpoints import failpoint
from asgard.common.git_utils import code_version
from asgard.common.names import BranchName, CommitHash, TableName
from asgard.features.joins import duck
from asgard.features.pinned import PinnedTable, PinnedView, RowFacts, require_columns
from asgard.features.views import FeatureView, lasting
from asgard.lakehouse.catalog.holds import (
    adopt,
    base_name,
    foreign_to,
    foreign_words,
    hold,
    hold_name,
    holds_of,
    is_foreign,
    release,
)
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import Content, RefKind
from asgard.lakehouse.catalog.registrations import Registration, Registrations
from asgard.lakehouse.catalog.snapshots import At

KIND = "view"
_HOLD = re.compile(r"hold_view_(?P<view>\w+)_(?P<number>\d+)-[0-9a-f]+")
_Held = tuple[str, int, CommitHash]
"""What a hold is for: view, number of the registration, commit."""


class Action(StrEnum):
    """What an apply does to a view."""

    ADD = "add"
    CHANGE = "change"
    REPOINT = "re-point"
    KEEP = "keep"
    REMOVE = "remove"


@dataclass(frozen=True)
class ViewChange:
    """One view of a plan.

    Attributes:
        number: of the new registration; it is already taken if another apply changed the view meanwhile.
        before: the view as registered; None for a new one.
        after: the view as it will be; None for one that is removed.
        differences: in words.
    """

    name: str
    number: int
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


def plan(
    lake: Lakehouse, views: Sequence[FeatureView], at: At, *, prune: Sequence[str] = (), pipeline: str = ""
) -> list[ViewChange]:
    """What an apply would change.

    Args:
        lake: where they are registered.
        views: as declared.
        at: commit whose tables they will read.
        prune: names of registered views to remove.
        pipeline: that declares them; "": any pipeline.

    Raises:
        UnknownTableError: a view's table is not published.
        ContractError: a table does not fit what its view declares.
    """
    newest = Registrations(lake.storage).newest(KIND)
    registered = {name: each for name, each in newest.items() if not each.removed}
    numbers = {name: each.number + 1 for name, each in newest.items()}
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
        if before is not None and _is_foreign(before, pipeline):
            declared = (f"pipeline {before.pipeline} -> {pipeline}", *declared)
        moved = () if same or before is None else (_moved(before, table),)
        action = (
            Action.ADD if before is None else Action.CHANGE if declared else Action.REPOINT if moved else Action.KEEP
        )
        after, number = PinnedView(view, table), numbers.get(view.name, 1)
        changes.append(ViewChange(view.name, number, action, before, after, (*declared, *moved)))
    changes += [
        ViewChange(name, numbers[name], Action.REMOVE, registered[name], None, ())
        for name in prune
        if name in registered
    ]
    return changes


def split_waiting(
    lake: Lakehouse, views: Sequence[FeatureView]
) -> tuple[tuple[FeatureView, ...], tuple[FeatureView, ...]]:
    """Views that can be registered, and views of predictions that are not published yet."""
    published = lake.nessie.contents(lake.target, {view.table for view in views if view.model})
    waiting = tuple(view for view in views if view.model and view.table not in published)
    return tuple(view for view in views if view not in waiting), waiting


def what_it_waits_for(view: FeatureView) -> str:
    """What to do before a view of predictions can be registered."""
    return f"{view.name} waits for {view.table}: `asgard batch-predict --model {view.model}` makes it; then apply again"


def apply(
    lake: Lakehouse, pipeline: str, changes: Sequence[ViewChange], say: Say = lambda _line: None
) -> list[Registration]:
    """Carry out a plan: measure, hold and register each view, then release the holds of earlier registrations.

    Args:
        lake: where the views are registered.
        pipeline: that declares the views.
        changes: the plan.
        say: called with one line about each step.

    Raises:
        ConflictError: another apply registered one of the views meanwhile.
        AsgardError: a table can't be read.
    """
    registrations = Registrations(lake.storage)
    done = []
    try:
        with duck.connect(lake.settings) as connection:
            for change in changes:
                if change.before is not None and change.after is None:
                    registrations.add(replace(change.before, number=change.number, removed=True))
                    failpoint("after-registration")
                    say(f"{change.name}: removed")
                elif change.after is not None and change.action is not Action.KEEP:
                    say(f"{change.name}: measuring {change.after.table.rows:,} rows of {change.after.table.name}")
                    facts = duck.measure(connection, change.after.view, change.after.table)
                    _warn(change.after.view, facts, say)
                    fresh = _registration(lake, pipeline, change.after, facts, change.number)
                    hold(lake, _hold_of(fresh), fresh.commit, say=say)
                    failpoint("after-hold")
                    registrations.add(fresh)
                    failpoint("after-registration")
                    done.append(fresh)
                    say(f"{change.name}: {change.action} at snapshot {fresh.snapshot_id}")
    except ConflictError:
        tidy_holds(lake, say)
        raise
    tidy_holds(lake, say)
    return done


def tidy_holds(lake: Lakehouse, say: Say = lambda _line: None) -> None:
    """Create missing holds of what is registered, and release those that killed or conflicting applies left.

    Holds with a higher number than the latest registration are kept: an apply may be about to register them.
    References that others created under the name of a hold are kept too, and reported.
    """
    registrations = Registrations(lake.storage)
    _tell_foreign(lake, registrations, say)
    held_registrations = {
        name: held for name, commit in holds_of(lake, KIND).items() if (held := _held_by(name, commit))
    }
    newest = registrations.newest(KIND)  # read after the holds, so that it contains what they hold
    kept = {(each.name, each.number, each.commit): each for each in newest.values() if not each.removed}
    for name, held in held_registrations.items():
        view, number, _ = held
        if held not in kept and view in newest and number <= newest[view].number:
            release(lake, name, say)
    for held in kept.keys() - held_registrations.values():
        if kept[held].target != lake.target:
            continue
        try:
            hold(lake, _hold_of(kept[held]), kept[held].commit, say=say)
        except UnknownReferenceError:
            say(f"{kept[held].name}: the commit that it reads is gone; apply it again")


def _tell_foreign(lake: Lakehouse, registrations: Registrations, say: Say) -> None:
    """Report references that have the name of a view's hold but are not holds.

    A tag without the record of a hold, but with exactly the name and the commit of a registration's hold, is older than
    such records: it gets one.
    """
    for each in foreign_to(lake, KIND):
        held = _held_by(each.name, each.hash)
        if held is None:
            continue
        known = {_hold_of(one): one.commit for one in registrations.history(KIND, held[0])}
        if each.kind is RefKind.TAG and known.get(each.name) == each.hash:
            adopt(lake, each.name, each.hash)
        elif known and is_foreign(lake, each):
            say(foreign_words(each))


def _held_by(name: str, commit: CommitHash) -> _Held | None:
    """What a hold of this name is for; None if it is not the name of a view's hold."""
    held = _HOLD.fullmatch(base_name(name))
    return (held["view"], int(held["number"]), commit) if held else None


def require_own(registered: Iterable[Registration], names: Iterable[str], pipeline: str) -> None:
    """Refuse names of views that another pipeline registered.

    Raises:
        UsageError: the message names each, and its pipeline.
    """
    wanted = set(names)
    foreign = [each for each in registered if each.name in wanted and _is_foreign(each, pipeline)]
    if foreign:
        raise UsageError(
            f"Pipeline {pipeline} declares views that another one registered: "
            + ", ".join(f"{each.name} of {each.pipeline}" for each in foreign)
            + ".",
            hint="Choose another name; or say `asgard features apply --take-over`, if the pipeline was renamed.",
        )


class ViewFreshness(StrEnum):
    """Whether a view reads the snapshot of its table that the target ref has now."""

    NEWEST = "newest"
    BEHIND = "behind"
    GONE = "table gone"

    @classmethod
    def of(cls, registered: Registration, published: Mapping[TableName, Content]) -> "ViewFreshness":
        """The freshness of one view; `published` are the tables of the target ref."""
        if registered.table not in published:
            return cls.GONE
        return cls.NEWEST if published[registered.table].snapshot_id == registered.snapshot_id else cls.BEHIND


def registered_views(lake: Lakehouse, names: Sequence[str] = ()) -> tuple[PinnedView, ...]:
    """Registered views, pinned as registered. Without names: all views of features, but none of predictions.

    Raises:
        UsageError: a view is not registered.
    """
    current = Registrations(lake.storage).current(KIND)
    unknown = [name for name in names if name not in current]
    if unknown:
        raise UsageError(
            f"There is no registered feature view {', '.join(map(repr, unknown))}.",
            hint=f"Registered views: {', '.join(current) or 'none'}. `asgard features apply` registers views.",
        )
    features = [name for name, each in current.items() if not FeatureView.from_json(each.declared).model]
    return tuple(PinnedView.registered(lake, current[name]) for name in (names or features))


def older_views(lake: Lakehouse, views: Iterable[PinnedView]) -> tuple[str, ...]:
    """One line for each view that does not read what the target ref has of its table now, and what to do."""
    return _older(lake, {each.name: (each.table.name, each.table.snapshot_id) for each in views})


def older_registrations(lake: Lakehouse, pipeline: str) -> tuple[str, ...]:
    """The same, for the registered feature views of a pipeline; views of predictions are left out."""
    current = Registrations(lake.storage).current(KIND)
    mine = {name: each for name, each in current.items() if each.pipeline == pipeline}
    features = {name: each for name, each in mine.items() if not FeatureView.from_json(each.declared).model}
    return _older(lake, {name: (each.table, each.snapshot_id) for name, each in features.items()})


def views_behind(lake: Lakehouse, registered: Mapping[str, Registration]) -> dict[str, TableName]:
    """Of registered views, those whose table has another snapshot on the target ref, or is gone; with their tables."""
    published = lake.nessie.contents(lake.target, {each.table for each in registered.values()})
    return {
        name: each.table
        for name, each in registered.items()
        if ViewFreshness.of(each, published) is not ViewFreshness.NEWEST
    }


def _older(lake: Lakehouse, read: Mapping[str, tuple[TableName, int]]) -> tuple[str, ...]:
    published = lake.nessie.contents(lake.target, {table for table, _ in read.values()})
    lines = []
    for view, (table, snapshot) in read.items():
        content = published.get(table)
        if content is None:
            lines.append(f"{view} reads {table}, which {lake.target} no longer has")
        elif content.snapshot_id != snapshot:
            newer = "`asgard features apply` registers it"
            lines.append(f"{view} reads snapshot {snapshot} of {table}; {lake.target} has a newer one: {newer}")
    return tuple(lines)


def _is_foreign(registered: Registration, pipeline: str) -> bool:
    return bool(pipeline and registered.pipeline) and registered.pipeline != pipeline


def _registration(lake: Lakehouse, pipeline: str, pinned: PinnedView, facts: RowFacts, number: int) -> Registration:
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


def _warn(view: FeatureView, facts: RowFacts, say: Say) -> None:
    if facts.ties and not (view.created_timestamp and view.tie_break):
        say(
            f"{view.name}: {facts.ties:,} rows have the same keys and event timestamp as another; "
            f"{'the greater created timestamp counts' if view.created_timestamp else 'declare tie_break'}"
        )
    if facts.unusable:
        say(f"{view.name}: {facts.unusable:,} rows lack a key or a timestamp, so they never count")


def _hold_of(registration: Registration) -> BranchName:
    """The hold's name. It contains the commit, so that the hold of a killed apply does not block another apply."""
    return hold_name(KIND, registration.name, f"{registration.number}-{registration.commit[:16]}")


def _moved(before: Registration, table: PinnedTable) -> str:
    if before.snapshot_id == table.snapshot_id:
        return "same snapshot, changed table"
    return f"snapshot {before.snapshot_id} -> {table.snapshot_id}"


def _differences(before: FeatureView, after: FeatureView) -> tuple[str, ...]:
    """How two declarations differ, in words."""
    old, new = _in_words(before), _in_words(after)
    differences = [f"{name} {old[name]} -> {new[name]}" for name in new if old[name] != new[name]]
    had, has = {each.name: each for each in before.features}, {each.name: each for each in after.features}
    differences += [f"feature {name} added" for name in has if name not in had]
    differences += [f"feature {name} removed" for name in had if name not in has]
    differences += [
        f"feature {name} {had[name].type} -> {has[name].type}"
        for name in has
        if name in had and had[name].type != has[name].type
    ]
    if before.features != after.features and list(had) != list(has) and set(had) == set(has):
        differences.append("order of features")
    described = [name for name in has if name in had and had[name].description != has[name].description]
    differences += [f"description of {', '.join(described)}"] if described else []
    differences += ["description"] if before.description != after.description else []
    return tuple(differences)


def _in_words(view: FeatureView) -> dict[str, str]:
    """A view's properties in words, except its features and its description."""
    return {
        "table": str(view.table),
        "keys": ", ".join(view.keys),
        "event timestamp": view.event_timestamp,
        "created timestamp": view.created_timestamp or "none",
        "tie break": view.tie_break or "none",
        "a row counts": lasting(view.ttl),
        "online": "yes" if view.online else "no",
        "codec": str(view.codec),
        "owner": view.owner or "none",
        "tags": ", ".join(view.tags) or "none",
        "version": str(view.version),
        "predictions of": view.model or "none",
    }
