"""The sync of one view: Redis becomes equal to what the target ref has now. `docs/online.md` argues why it does.

1. Take the view's next token. From here on no earlier sync can write.
2. Read the target ref's head, hold it, and note it in Redis as unfinished.
3. Find the entities that differ between the head and each state that Redis may be of: its watermark, and the targets
   of syncs that did not end. Write their rows of the head, delete those that have none.
4. Move the watermark under the same token; let go of what was held for the states before.

Where a state that Redis may be of is unknown, or gone, every entity is compared. Where the layout is another one, a new
generation is built beside the old, and lookups change over in one step.
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
        lake: where the view's table is.
        store: the Redis.
        view: that is online.
        full: build it anew, whatever Redis has.
        engine: what reads the view's rows; `auto` chooses by size.
        say: called with one line about each step.

    Raises:
        ConflictError: another sync of the view began meanwhile; this one wrote no more.
        UsageError: Redis has the view of another ref.
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
    before, rows = fenced.synced, SnapshotRows(pinned, fenced.synced.fields)
    left_over = [each for each in before.left_over if each != rows.codec.generation]
    sweep(store, fenced, before.generation, left_over)
    whole = Plan(whole_mode(rows.codec), "asked for")
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
    # Those of a sync that begins later are not among them: it would have begun before this one moves the watermark,
    # and then this one can't.
    earlier = [name for name in holds_of(lake, KIND) if _owner(name) == _owner(own) and name != own]
    head = Head.of(view, pinned.table, target, generation, equal_at)
    looked_at_all = counted.entities if mode in (Mode.COMPARE, Mode.REBUILD) else None
    fields = view.feature_names if rows.codec.generation else ()
    fenced.finish(generation, target, head.to_text(), looked_at_all, fields)
    failpoint("after-watermark")
    for name in earlier:
        release(lake, name, say)
    with suppress(ConflictError):  # a sync that began since does it
        if before.generation != generation:  # "": what is there is of nobody knows which
            sweep(store, fenced, generation, (before.generation,))
    count = store.synced(view.name).rows
    say(f"{view.name}: {count:,} entities in Redis; {counted.written:,} written, {counted.deleted:,} deleted")
    return SyncResult(view.name, mode, planned.why, target, before.watermark, counted, count, equal_at)


def preview(lake: Lakehouse, store: Store, view: FeatureView) -> Preview:
    """What a sync would do; nothing is written, not even a token is taken.

    Raises:
        AsgardError: as `sync`.
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
    """The Redis is in it, and the number of the sync there: no two share a hold."""
    return hold_name(KIND, view.name, f"{store.owner}-{target.commit[:12]}n{number}")


def _owner(name: str) -> str:
    return name.rpartition("-")[0]
