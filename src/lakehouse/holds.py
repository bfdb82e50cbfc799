"""Holds: tags that keep a published state, so that no collection takes its files while something needs it.

`hold_<kind>_<owner>_<suffix>` points at a commit of the target ref; everything that commit names is held. A tag
is made before what it holds is relied upon, and its predecessor is dropped after: there is no moment without one.
"""

from asgard.common.errors import ConflictError, UnknownReferenceError
from asgard.common.names import BranchName, CommitHash, check_reference
from asgard.lakehouse.lake import Lakehouse
from asgard.lakehouse.nessie import RefKind

_PREFIX = "hold"


def hold_name(kind: str, owner: str, suffix: str) -> BranchName:
    """The name of a hold's tag, e.g. `hold_view_customer_metrics_8251`."""
    return check_reference(f"{_PREFIX}_{kind}_{owner}_{suffix}")


def holds_of(lake: Lakehouse, kind: str) -> set[BranchName]:
    """The names of all holds of a kind."""
    return {reference.name for reference in lake.nessie.references(f"{_PREFIX}_{kind}_")}


def hold(lake: Lakehouse, name: BranchName, commit: CommitHash, ref: str = "") -> None:
    """Keep a commit; fine if this hold is there already.

    Args:
        lake: where.
        name: of the hold.
        commit: to keep.
        ref: branch or tag that has it; "" for the target ref.

    Raises:
        ConflictError: a hold of this name keeps another commit.
        UnknownReferenceError: the ref has no such commit.
    """
    try:
        lake.nessie.create(RefKind.TAG, name, commit, ref or lake.target)
    except ConflictError:
        try:
            held = lake.nessie.reference(name).hash
        except UnknownReferenceError:  # dropped since
            hold(lake, name, commit)
            return
        if held != commit:
            raise


def release(lake: Lakehouse, name: BranchName) -> None:
    """Drop a hold; fine if it is gone."""
    try:
        lake.nessie.delete(lake.nessie.reference(name))
    except UnknownReferenceError:
        return
