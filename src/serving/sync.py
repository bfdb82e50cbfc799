"""The sync of one view: Redis becomes equal to what the target ref has now. `docs/online.md` argues why it does.

1. Take the view's next token. From here on no earlier sync can write.
2. Read the target ref's head, hold it, and note it in Redis as unfinished.
3. Find the entities that differ between the head and each state that Redis may be of: its watermark, and the targets
   of syncs that did not end. Write their rows of the head, delete those that have none.
4. Move the watermark under the same token; let go of what was held for the states before.

Where a state that Redis may be of is unknown, or gone, every entity is compared. Where the layout is another one, a new
generation is built beside the old, and lookups change over in one step.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from asgard.common.errors import AsgardError, ConflictError, ContractError, ServiceError, UsageError
from asgard.common.failpoints import failpoint
from asgard.common.names import BranchName
from asgard.features import duck
from asgard.features.pinned import PinnedTable, PinnedView, require_columns
from asgard.features.views import Codec, FeatureView
from asgard.lakehouse.holds import hold, hold_name, holds_of, release
from asgard.lakehouse.lake import Lakehouse
from asgard.lakehouse.snapshots import At
from asgard.serving import changes, packed
from asgard.serving.head import FORMAT, Head
from asgard.serving.rows import ViewRows
from asgard.serving.state import Fenced, Synced, Target
from asgard.serving.store import Store

if TYPE_CHECKING:
    pass

Say = Callable[[str], None]
KIND = "online"
_MOST_UNFINISHED = 5
"""Targets that did not come about, beyond which comparing everything is cheaper."""
_KEY_FORMAT = 1
"""How entities are named; see `entities`."""


class Mode(StrEnum):
    """How much of a view a sync looks at."""

    NOTHING = "nothing"
    CHANGES = "changes"
    COMPARE = "compare"
    REBUILD = "rebuild"


@dataclass(frozen=True)
class Plan:
    """What a sync will do, and why.

    Attributes:
        before: states that Redis may be of.
    """

    mode: Mode
    why: str
    before: tuple[PinnedTable, ...] = ()


@dataclass(frozen=True)
class Preview:
    """What a sync would do now.

    Attributes:
        entities: that it would look at; None: all.
    """

    view: str
    mode: Mode
    why: str
    target: Target
    entities: int | None

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "view": self.view,
            "mode": str(self.mode),
            "why": self.why,
            "table": str(self.target.table),
            "snapshot": self.target.snapshot_id,
            "entities": self.entities,
        }


@dataclass(frozen=True)
class Counted:
    """What was done to the entities of a view.

    Attributes:
        entities: that were looked at.
        written: of them, those whose row was written.
        deleted: entities that Redis has no more.
    """

    entities: int = 0
    written: int = 0
    deleted: int = 0


@dataclass(frozen=True)
class SyncResult:
    """What a sync did.

    Attributes:
        before: what Redis had; None if it did not know the view.
        rows: entities in Redis now.
        equal_at: the moment as of which Redis equals the target ref.
    """

    view: str
    mode: Mode
    why: str
    target: Target
    before: Target | None
    counted: Counted
    rows: int
    equal_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "view": self.view,
            "mode": str(self.mode),
            "why": self.why,
            "table": str(self.target.table),
            "snapshot_before": self.before.snapshot_id if self.before else None,
            "snapshot": self.target.snapshot_id,
            "commit": self.target.commit,
            **asdict(self.counted),
            "rows": self.rows,
            "equal_at": self.equal_at.isoformat(timespec="milliseconds"),
        }


def sync(lake: Lakehouse, store: Store, view: FeatureView, *, full: bool = False, say: Say = print) -> SyncResult:
    """Make Redis equal to the target ref's head, for one view.

    Args:
        lake: where the view's table is.
        store: the Redis.
        view: that is online.
        full: build it anew, whatever Redis has.
        say: called with one line about each step.

    Raises:
        ConflictError: another sync of the view began meanwhile; this one wrote no more.
        UnknownTableError, ContractError: the view's table is not there, or does not fit the view.
        ServiceError: Redis is read-only, full, evicts keys, or refuses otherwise; the watermark did not move.
        ServiceUnreachableError: Redis or Nessie does not answer.
    """
    server = store.require_fit()
    pinned, target = load_target(lake, view)  # what can't be synced takes no token, and so stops nobody else
    fenced = store.fenced(view.name, server)
    failpoint("after-token")
    equal_at = datetime.now(UTC)
    if lake.nessie.head(lake.target) != target.commit:
        pinned, target = load_target(lake, view)
    before = fenced.synced
    _sweep(store, fenced, before.generation, before.left_over)
    found = Plan(Mode.REBUILD, "asked for") if full else plan(lake, pinned, target, before, server)
    say(f"{view.name}: {found.mode}, {found.why}")
    own = _hold_of(view, store, target)
    hold(lake, own, target.commit)
    failpoint("after-hold")
    generation, counted = before.generation, Counted()
    if found.mode is not Mode.NOTHING:
        generation = fenced.begin(target, fresh=found.mode is Mode.REBUILD)
        failpoint("after-target")
        counted = _written(lake, store, fenced, generation, pinned, found, say)
        failpoint("after-rows")
    # Those of a sync that begins later are not among them: it would have begun before this one moves the watermark,
    # and then this one can't.
    earlier = [name for name in holds_of(lake, KIND) if _owner(name) == _owner(own) and name != own]
    head = Head.of(view, pinned.table, target, generation, equal_at)
    looked_at_all = counted.entities if found.mode in (Mode.COMPARE, Mode.REBUILD) else None
    fenced.finish(generation, target, head.to_text(), looked_at_all)
    failpoint("after-watermark")
    for name in earlier:
        release(lake, name)
    with suppress(ConflictError):  # a sync that began since does it
        if found.mode is Mode.REBUILD:
            _sweep(store, fenced, generation, (before.generation,))
    rows = store.synced(view.name).rows
    say(f"{view.name}: {rows:,} entities in Redis; {counted.written:,} written, {counted.deleted:,} deleted")
    return SyncResult(view.name, found.mode, found.why, target, before.watermark, counted, rows, equal_at)


def preview(lake: Lakehouse, store: Store, view: FeatureView) -> Preview:
    """What a sync would do; nothing is written, not even a token is taken.

    Raises:
        AsgardError: as `sync`.
    """
    server = store.require_fit()
    pinned, target = load_target(lake, view)
    found = plan(lake, pinned, target, store.synced(view.name), server)
    entities: int | None = 0 if found.mode is Mode.NOTHING else None
    if found.mode is Mode.CHANGES:
        with duck.connect(lake.settings) as connection:
            entities = changes.touched(connection, view, found.before, pinned.table).entities
    return Preview(view.name, found.mode, found.why, target, entities)


def _written(
    lake: Lakehouse, store: Store, fenced: Fenced, generation: str, pinned: PinnedView, found: Plan, say: Say
) -> Counted:
    """Write what a plan is about; where files of earlier states turn out to be gone, everything is compared."""
    try:
        return _write(lake, store, fenced, generation, pinned, found)
    except UsageError as error:
        if found.mode is not Mode.CHANGES:
            raise
        say(f"{pinned.name}: {error.message} Every entity is compared")
        return _write(lake, store, fenced, generation, pinned, Plan(Mode.COMPARE, error.message))
    except ServiceError:
        if found.mode is Mode.REBUILD:
            with suppress(AsgardError):  # what was built of it takes memory, and nobody will read it
                _sweep(store, fenced, fenced.synced.generation, (generation,))
        raise


def _write(lake: Lakehouse, store: Store, fenced: Fenced, generation: str, pinned: PinnedView, found: Plan) -> Counted:
    rows, written, deleted = ViewRows(pinned), 0, 0
    with duck.connect(lake.settings) as connection:
        if found.mode is Mode.COMPARE:
            batches = rows.differing(connection, store, fenced.keys.row(generation))
        elif found.mode is Mode.CHANGES:
            batches = rows.of(connection, changes.touched(connection, pinned.view, found.before, pinned.table))
        else:
            batches = rows.of(connection, changes.EVERY)
        for batch in batches:
            _, gone = fenced.write(generation, batch)
            written, deleted = written + len(batch.entities), deleted + gone
            failpoint("between-batches")
    return Counted(rows.seen, written, deleted)


def load_target(lake: Lakehouse, view: FeatureView) -> tuple[PinnedView, Target]:
    """A view's table as the target ref has it now.

    Raises:
        UnknownTableError: it is not there.
        ContractError: it does not have what the view declares.
    """
    if view.codec is not Codec.PACKED:
        raise UsageError(
            f"Feature view {view.name}: codec {view.codec} can't be synced yet.", hint=f"Declare {Codec.PACKED}."
        )
    at = At(lake.target, lake.nessie.head(lake.target))
    table = PinnedTable.load(lake, view.table, at)
    require_columns(view, table)
    snapshot = table.state.table.current_snapshot()
    written = datetime.fromtimestamp(snapshot.timestamp_ms / 1000 if snapshot else 0, UTC)
    return PinnedView(view, table), Target(
        table=view.table,
        uuid=str(table.state.table.metadata.table_uuid),
        reference=at.reference,
        commit=at.commit,
        metadata_location=table.metadata_location,
        snapshot_id=table.snapshot_id,
        written=written.isoformat(timespec="milliseconds"),
        rule=rule_of(view, table),
    )


def plan(lake: Lakehouse, pinned: PinnedView, target: Target, synced: Synced, server: Mapping[str, str]) -> Plan:
    """What has to be done so that Redis equals a target."""
    known = synced.watermark
    if known is None:
        return Plan(Mode.REBUILD, "Redis does not know the view")
    if known.rule != target.rule:
        return Plan(Mode.REBUILD, "the view or its columns changed")
    states = tuple(dict.fromkeys((known, *synced.unfinished)))
    if any(each.uuid != target.uuid for each in states):
        return Plan(Mode.COMPARE, "the table was made anew")
    if any(each.rule != target.rule for each in states):
        return Plan(Mode.COMPARE, "an unfinished sync was of another declaration")
    if synced.server != server.get("run_id", ""):
        return Plan(Mode.COMPARE, "Redis was restarted, or is another one")
    if len(synced.unfinished) > _MOST_UNFINISHED:
        return Plan(Mode.COMPARE, f"{len(synced.unfinished)} syncs did not end")
    if int(server.get("evicted_keys", 0)) != synced.evicted:
        return Plan(Mode.COMPARE, "Redis evicted keys")
    if all(each.snapshot_id == target.snapshot_id for each in states):
        return Plan(Mode.NOTHING, "Redis has this snapshot")
    try:
        before = tuple(pinned_table(lake, each) for each in states if each.snapshot_id != target.snapshot_id)
        for table in (*before, pinned.table):
            table.require_files()
    except UsageError:
        return Plan(Mode.COMPARE, "a snapshot that Redis may have was collected")
    except ContractError:
        return Plan(Mode.COMPARE, "the table has delete files")
    return Plan(Mode.CHANGES, f"since snapshot {known.snapshot_id}", before)


def pinned_table(lake: Lakehouse, target: Target) -> PinnedTable:
    """The table of a state that Redis was made equal to.

    Raises:
        UsageError: it was collected.
    """
    at = At(target.reference, target.commit)
    return PinnedTable.of(lake.settings, target.table, at, target.metadata_location, target.snapshot_id)


def _sweep(store: Store, fenced: Fenced, current: str, left_over: Sequence[str]) -> None:
    """Delete every row that is of no current generation: the one before, and those of syncs that did not end."""
    if not left_over:
        return
    keys = fenced.keys
    kept = (keys.state.encode(), keys.head.encode())
    for names in store.names(keys.start):
        fenced.drop([name for name in names if name not in kept and not name.startswith(keys.row(current))])
    fenced.drop([], left_over)


def rule_of(view: FeatureView, table: PinnedTable) -> str:
    """Digest of what decides a row: the view's rule and layout, and which columns they are."""
    declared = view.to_json()
    kept = ("keys", "event_timestamp", "created_timestamp", "tie_break", "ttl_seconds", "codec", "version")
    columns = [[name, table.columns[name].id, table.columns[name].type] for name in view.columns]
    formats = {"packed": packed.VERSION, "key": _KEY_FORMAT, "head": FORMAT}
    said = json.dumps([{name: declared[name] for name in kept}, view.feature_names, columns, formats], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _hold_of(view: FeatureView, store: Store, target: Target) -> BranchName:
    """The Redis is in it: another one has holds of its own."""
    return hold_name(KIND, view.name, f"{store.owner}-{target.commit[:16]}")


def _owner(name: str) -> str:
    return name.rpartition("-")[0]
