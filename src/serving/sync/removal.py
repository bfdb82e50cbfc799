"""Taking a view out of Redis: what a view that is not online any more left behind, and how it goes.

1. Take the view's token. From here on no running sync can write.
2. Take the head, and with it the watermark: lookups say that the view is not there, and a sync would build it anew.
3. Delete the rows, then the state, then let go of what was held.

Killed between any two steps, it is ended by doing it again.
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
    """What was taken out.

    Attributes:
        rows: entities that Redis had, as the state counted them.
        holds: that were let go.
        elsewhere: holds of the view for another Redis or prefix; they stay.
    """

    view: str
    rows: int
    holds: tuple[str, ...]
    elsewhere: tuple[str, ...]


def left_behind(lake: Lakehouse, store: Store) -> tuple[str, ...]:
    """Views that this Redis was filled with, as the holds for it say, and that are not online any more."""
    online = {each.name for each in registered_online(lake)}
    own = (_view_of(name, store) for name in holds_of(lake, KIND))
    return tuple(sorted({view for view in own if view is not None} - online))


def remove(lake: Lakehouse, store: Store, view: str, say: Say = print) -> Removed:
    """Take a view that is not online out of Redis, and let go of what was held for it.

    Raises:
        UsageError: it is online, or nothing of it is there.
        ConflictError: a sync of it began meanwhile.
        ServiceError: Redis refuses, or does not answer; what was begun is ended by doing it again.
    """
    if view in {each.name for each in registered_online(lake)}:
        raise UsageError(
            f"Feature view {view} is online: the next sync would bring it back.",
            hint="Declare it with online=False, say `asgard features apply`, then drop it.",
        )
    kept = sorted(holds_of(lake, KIND))
    holds = [name for name in kept if _view_of(name, store) == view]
    synced, keys = store.synced(view), store.keys(view)
    if synced == Synced() and not holds and store.values([keys.head.encode()]) == [None]:
        others = ", ".join(left_behind(lake, store)) or "none"
        raise UsageError(f"Redis has no view {view}.", hint=f"Not online any more, and still there: {others}.")
    _empty(store, view)
    say(f"{view}: {synced.rows:,} entities are out of Redis")
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
                f"A sync of {view} began meanwhile: what it holds stays.",
                hint="Is the view online again? Else drop it again.",
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
