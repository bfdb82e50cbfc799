"""Removal of a view that is no longer online: its keys in Redis, and its holds.

1. Take the view's token. From here on no running sync can write.
2. Delete the head and the watermark: lookups find no view, and a sync would rebuild it.
3. Delete the rows, then the state, then release the holds.

If the removal is killed between any two steps, running it again completes it.
"""

from collections.abc import Collection
from dataclasses import dataclass

from asgard.common.aliases import Say
from asgard.common.errors import ConflictError, UsageError
from asgard.common.failpoints import failpoint
from asgard.common.names import BranchName
from asgard.lakehouse.catalog.holds import holds_of, release
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.serving.redis_access.state import Synced
from asgard.serving.redis_access.store import Store
from asgard.serving.sync.status import registered_online
from asgard.serving.sync.sync import KIND
from asgard.serving.sync.writing import sweep

_START = f"hold_{KIND}_"


@dataclass(frozen=True)
class Removed:
    """What was removed.

    Attributes:
        rows: entities that Redis contained, as counted in the state.
        holds: the released holds.
        elsewhere: holds of the view for another Redis or prefix; they are kept.
    """

    view: str
    rows: int
    holds: tuple[str, ...]
    elsewhere: tuple[str, ...]


def left_behind(lake: Lakehouse, store: Store) -> tuple[str, ...]:
    """Views that were synced to this Redis, according to their holds, and that are no longer online."""
    online = {each.name for each in registered_online(lake)}
    own = (_view_of(name, store) for name in holds_of(lake, KIND))
    return tuple(sorted({view for view in own if view is not None} - online))


def remove(lake: Lakehouse, store: Store, view: str, say: Say = print) -> Removed:
    """Remove a view that is not online from Redis, and release its holds.

    Raises:
        UsageError: the view is online, or nothing of it exists.
        ConflictError: a sync of the view began meanwhile.
        ServiceError: Redis refuses, or does not answer; running the removal again completes it.
    """
    if view in {each.name for each in registered_online(lake)}:
        raise UsageError(
            f"Feature view {view} is online: the next sync would write it again.",
            hint="Declare it with online=False, run `asgard features apply`, then drop it.",
        )
    kept = sorted(holds_of(lake, KIND))
    holds = [name for name in kept if _view_of(name, store) == view]
    synced, keys = store.synced(view), store.keys(view)
    if synced == Synced() and not holds and store.values([keys.head.encode()]) == [None]:
        others = ", ".join(left_behind(lake, store)) or "none"
        raise UsageError(f"Redis has no view {view}.", hint=f"Views in Redis that are no longer online: {others}.")
    _empty(store, view)
    say(f"{view}: {synced.rows:,} entities removed from Redis")
    _let_go(lake, store, view, holds, say)
    elsewhere = tuple(name for name in kept if name.startswith(f"{_START}{view}_") and _is_elsewhere(name, view, store))
    return Removed(view, synced.rows, tuple(holds), elsewhere)


def _empty(store: Store, view: str) -> None:
    fenced = store.fenced(view, store.server())
    failpoint("drop-after-token")
    fenced.hide()
    failpoint("drop-after-head")
    now = fenced.synced
    sweep(store, fenced, "", (*now.left_over, now.generation))
    failpoint("drop-after-rows")
    fenced.drop([fenced.keys.state.encode()])
    failpoint("drop-after-state")


def _let_go(lake: Lakehouse, store: Store, view: str, holds: Collection[BranchName], say: Say) -> None:
    for name in holds:
        if store.synced(view) != Synced():
            raise ConflictError(
                f"A sync of {view} began meanwhile: its holds are kept.",
                hint="If the view is still not online, drop it again.",
            )
        release(lake, name, say)
        failpoint("drop-after-hold")


def _view_of(name: str, store: Store) -> str | None:
    """The view that a hold is for, if it is for this Redis."""
    owner = name.rpartition("-")[0]
    ours = f"_{store.owner}"
    return owner.removeprefix(_START).removesuffix(ours) if owner.endswith(ours) else None


def _is_elsewhere(name: str, view: str, store: Store) -> bool:
    owner = name.removeprefix(f"{_START}{view}_").rpartition("-")[0]
    return "_" not in owner and owner != store.owner
