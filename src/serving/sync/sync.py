"""The sync of one view: Redis becomes equal to the current state of the target ref. `docs/online.md` explains why.

1. Take the view's next token. From here on no earlier sync can write.
2. Read the target ref's head, hold it, and record it in Redis as unfinished.
3. Find the entities that differ between the head and each state that rows in Redis may come from: the watermark, and
   the targets of unfinished syncs. Write the head's rows of these entities; delete the entities without a row.
4. Move the watermark under the same token; release the holds of the earlier states.

If one of these states is unknown or was collected, every entity is compared. If the layout changed, a new generation is
built beside the old one, and lookups switch to it in one step.
"""

from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from asgard.common.aliases import Say
from asgard.common.errors import ConflictError
from asgard.common.failpoints import failpoint
from asgard.common.names import BranchName
from asgard.features.joins import duck
from asgard.features.joins.engines import Engine, choose
from asgard.features.views import FeatureView
from asgard.lakehouse.catalog.holds import hold, hold_name, holds_of, release
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.serving.lookup.view_header import Head
from asgard.serving.redis_access.state import Target
from asgard.serving.redis_access.store import Store
from asgard.serving.sync import changes
from asgard.serving.sync.plan import Mode, Plan, load_target, plan, whole_mode
from asgard.serving.sync.rows import SnapshotRows
from asgard.serving.sync.writing import Counted, Writing, sweep

KIND = "online"


@dataclass(frozen=True)
class Preview:
    """What a sync would do now.

    Attributes:
        entities: number of entities that it would examine; None: all.
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
class SyncResult:
    """What a sync did.

    Attributes:
        before: the previous state of Redis; None if the view was not in Redis.
        rows: entities in Redis now.
        equal_at: the latest moment at which Redis is known to equal the target ref.
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


def sync(
    lake: Lakehouse,
    store: Store,
    view: FeatureView,
    *,
    full: bool = False,
    engine: Engine = Engine.AUTO,
    say: Say = print,
) -> SyncResult:
    """Make Redis equal to the target ref's head, for one view.

    Args:
        lake: the lakehouse with the view's table.
        store: the Redis.
        view: the online view.
        full: rebuild the view, whatever Redis contains.
        engine: the engine that reads the view's rows; `auto` chooses by size.
        say: called with one line for each step.

    Raises:
        ConflictError: another sync of the view began meanwhile; this one stopped writing.
        UsageError: Redis contains the view of another ref.
        UnknownTableError, ContractError: the view's table does not exist, or does not fit the view.
        ServiceError: Redis is read-only, full, evicts keys, or refuses for another reason; the watermark did not move.
        ServiceUnreachableError: Redis or Nessie does not answer.
    """
    server = store.require_fit()
    # Before taking a token: a sync that can't succeed must not stop another one.
    pinned, target = load_target(lake, view)
    fenced = store.fenced(view.name, server)
    failpoint("after-token")
    equal_at = datetime.now(UTC)
    if lake.nessie.head(lake.target) != target.commit:
        pinned, target = load_target(lake, view)
    before, rows = fenced.synced, SnapshotRows(pinned, fenced.synced.fields)
    left_over = [each for each in before.left_over if each != rows.codec.generation]
    sweep(store, fenced, before.generation, left_over)
    whole = Plan(whole_mode(rows.codec), "a full sync was requested")
    planned = whole if full else plan(lake, pinned, target, before, server)
    used, why = choose(lake.settings, engine, pinned.table.rows)
    say(f"{view.name}: {planned.mode}, {planned.why}" + (f"; by {used}: {why}" if used is Engine.SPARK else ""))
    own = hold(lake, _hold_of(view, store, target, before.syncs), target.commit, say=say)
    failpoint("after-hold")
    generation, mode, counted = before.generation, planned.mode, Counted()
    if planned.mode is not Mode.NOTHING:
        same = None if planned.mode is Mode.REBUILD else rows.codec.generation or before.generation
        generation = fenced.begin(target, same, view.feature_names if rows.codec.generation else ())
        failpoint("after-target")
        mode, counted = Writing(lake, store, fenced, generation, rows, used).run(planned, say)
        failpoint("after-rows")
    # The holds of a later sync are never released here: if one began before this line, this sync's token is outdated,
    # and the watermark below can't move.
    earlier = [name for name in holds_of(lake, KIND) if _owner(name) == _owner(own) and name != own]
    head = Head.of(view, pinned.table, target, generation, equal_at)
    looked_at_all = counted.entities if mode in (Mode.COMPARE, Mode.REBUILD) else None
    fields = view.feature_names if rows.codec.generation else ()
    fenced.finish(generation, target, head.to_text(), looked_at_all, fields)
    failpoint("after-watermark")
    for name in earlier:
        release(lake, name, say)
    with suppress(ConflictError):  # a sync that began meanwhile will sweep
        if before.generation != generation:  # "": the generation of the existing rows is unknown
            sweep(store, fenced, generation, (before.generation,))
    count = store.synced(view.name).rows
    say(f"{view.name}: {count:,} entities in Redis; {counted.written:,} written, {counted.deleted:,} deleted")
    return SyncResult(view.name, mode, planned.why, target, before.watermark, counted, count, equal_at)


def preview(lake: Lakehouse, store: Store, view: FeatureView) -> Preview:
    """Compute what a sync would do; nothing is written, and no token is taken.

    Raises:
        AsgardError: the same errors as `sync`.
    """
    server = store.require_fit()
    pinned, target = load_target(lake, view)
    planned = plan(lake, pinned, target, store.synced(view.name), server)
    entities: int | None = 0 if planned.mode is Mode.NOTHING else None
    if planned.mode is Mode.CHANGES:
        with duck.connect(lake.settings) as connection:
            entities = changes.touched(connection, view, planned.before, pinned.table).entities
    return Preview(view.name, planned.mode, planned.why, target, entities)


def _hold_of(view: FeatureView, store: Store, target: Target, number: int) -> BranchName:
    """Name a sync's hold; the name has the Redis and the sync's number, so no two syncs share a hold."""
    return hold_name(KIND, view.name, f"{store.owner}-{target.commit[:12]}n{number}")


def _owner(name: str) -> str:
    return name.rpartition("-")[0]
