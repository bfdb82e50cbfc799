"""Holds: tags that keep a published state, so that garbage collection keeps its files while something needs it.

`hold_<kind>_<owner>_<suffix>` points at a commit of the target ref and keeps every table state in that commit. The new
tag is made before anything relies on its state, and the previous tag is dropped afterwards: one of them always exists.

Other tools may make branches and tags with such names. A tag in Nessie doesn't say who made it, so each hold has a
record, written before its tag and removed after it: `_asgard/holds/<kind>/<name>.<commit>`. Only a tag that points at
the recorded commit is Asgard's, and only such a tag is ever dropped. If another branch or tag has the name of a hold,
the hold is named `<name>.2`.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count

from asgard.common.aliases import Say
from asgard.common.errors import ConflictError, UnknownReferenceError
from asgard.common.names import BranchName, CommitHash, check_reference
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import Reference, RefKind

_PREFIX = "hold"
_ROOT = "holds"


def hold_name(kind: str, owner: str, suffix: str) -> BranchName:
    """The name of a hold's tag, e.g. `hold_view_customer_metrics_8251`."""
    return check_reference(f"{_PREFIX}_{kind}_{owner}_{suffix}")


def base_name(name: str) -> str:
    """A hold's name without the `.2` that it gets if another branch or tag has its name."""
    base, _, number = name.rpartition(".")
    return base if number.isdecimal() else name


def holds_of(lake: Lakehouse, kind: str, owner: str = "") -> dict[BranchName, CommitHash]:
    """The holds of a kind: name -> commit; without branches and tags of such names that Asgard did not make.

    Args:
        lake: the lakehouse.
        kind: the kind of hold.
        owner: only holds whose name starts with `hold_<kind>_<owner>`.
    """
    return {each.name: each.hash for each, is_own in _named_so(lake, kind, owner) if is_own}


def foreign_to(lake: Lakehouse, kind: str, owner: str = "") -> list[Reference]:
    """Branches and tags that are named like holds of a kind, but that Asgard did not make."""
    return [each for each, is_own in _named_so(lake, kind, owner) if not is_own]


def hold(
    lake: Lakehouse, name: BranchName, commit: CommitHash, ref: str = "", say: Say = lambda _line: None
) -> BranchName:
    """Keep a commit; does nothing if this hold exists already.

    Args:
        lake: the lakehouse.
        name: of the hold.
        commit: to keep.
        ref: branch or tag that contains the commit; "" for the target ref.
        say: called with a line about each other branch or tag that has the name.

    Returns:
        The name of the tag: `name`, or `<name>.2` and so on, if another branch or tag has that name.

    Raises:
        UnknownReferenceError: the ref has no such commit.
    """
    for number in count(1):
        own = name if number == 1 else check_reference(f"{name}.{number}")
        other = _held(lake, own, commit, ref or lake.target)
        if other is None:
            return own
        say(f"{foreign_words(other)} The hold is named {name}.{number + 1}.")
    raise AssertionError("count() never ends")


def release(lake: Lakehouse, name: BranchName, say: Say = lambda _line: None) -> None:
    """Drop a hold; does nothing if it is missing. A branch or tag that Asgard did not make is kept.

    Args:
        lake: the lakehouse.
        name: of the hold.
        say: called with a line about another branch or tag that has the name.
    """
    reference = _reference(lake, name)
    own = _path(name, CommitHash("")).removesuffix(".")
    recorded = [path for path in _recorded(lake, kind_of(name)) if path.rpartition(".")[0] == own]
    if reference is not None and _path_of(reference) not in recorded:
        say(foreign_words(reference))
    elif reference is not None:
        with suppress(UnknownReferenceError, ConflictError):  # dropped or moved in the meantime
            lake.nessie.delete(reference)
    for path in recorded:
        lake.storage.delete(path)
    again = _reference(lake, name)
    if again is not None and _path_of(again) in recorded:  # another process made it again in the meantime
        _record(lake, again.name, again.hash)


def is_foreign(lake: Lakehouse, other: Reference) -> bool:
    """Whether a branch or tag still exists and is not a hold: dropping a hold removes its tag before its record."""
    return _reference(lake, other.name) == other and _path_of(other) not in _recorded(lake, kind_of(other.name))


def adopt(lake: Lakehouse, name: BranchName, commit: CommitHash) -> None:
    """Record a tag as a hold: for a tag that other records than those of holds show to be Asgard's."""
    _record(lake, name, commit)


def foreign_words(other: Reference) -> str:
    """The line for people about a branch or tag that has the name of a hold."""
    return (
        f"{other.kind.lower()} {other.name} has the name of a hold, but Asgard has no record of making it, so "
        "it is kept. Rename or drop it if nobody needs it."
    )


def kind_of(name: str) -> str:
    """The kind of a hold, from its name."""
    return name.split("_")[1]


def _held(lake: Lakehouse, name: BranchName, commit: CommitHash, ref: str) -> Reference | None:
    """Make a hold unless it exists; returns the other branch or tag that has its name, if there is one."""
    while True:
        _record(lake, name, commit)
        try:
            lake.nessie.create(RefKind.TAG, name, commit, ref)
        except ConflictError:
            reference = _reference(lake, name)
            if reference is None:  # dropped in the meantime
                continue
            if reference.kind is RefKind.TAG and reference.hash == commit:
                return None
            lake.storage.delete(_path(name, commit))
            return reference
        except UnknownReferenceError:
            lake.storage.delete(_path(name, commit))
            raise
        _record(lake, name, commit)  # again: a concurrent release of the same hold may have removed it
        return None


def _named_so(lake: Lakehouse, kind: str, owner: str) -> Iterator[tuple[Reference, bool]]:
    """All references that are named like holds of a kind, and whether each is a hold."""
    references = list(lake.nessie.references(f"{_PREFIX}_{kind}_{owner}"))
    recorded = _recorded(lake, kind) if references else set()
    for each in references:
        yield each, _path_of(each) in recorded


def _reference(lake: Lakehouse, name: str) -> Reference | None:
    try:
        return lake.nessie.reference(name)
    except UnknownReferenceError:
        return None


def _recorded(lake: Lakehouse, kind: str) -> set[str]:
    return {entry.path for entry in lake.storage.list(f"{_ROOT}/{kind}")}


def _record(lake: Lakehouse, name: BranchName, commit: CommitHash) -> None:
    made = {"made": datetime.now(UTC).isoformat(timespec="seconds"), "user": lake.settings.user}
    lake.storage.create(_path(name, commit), json.dumps(made).encode())


def _path(name: str, commit: CommitHash) -> str:
    return f"{_ROOT}/{kind_of(name)}/{name}.{commit}"


def _path_of(reference: Reference) -> str:
    """The path of a tag's record, if the tag is a hold; "" for a branch, which is never a hold."""
    return _path(reference.name, reference.hash) if reference.kind is RefKind.TAG else ""
