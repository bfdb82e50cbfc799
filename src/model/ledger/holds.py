"""The holds of a model's version on the published states of the lakehouse that it was trained on.

A version holds the commits of its feature snapshots by tags `hold_model_<name>_<version>-<commit>` until it is
archived, and for a grace period after (setting `model_hold_grace`), in which a rollback finds all of its data. Every
move of a version then adjusts the model's holds to the ledger.

A running reproduction holds the same commits by its own tags, `hold_reproduce_<name>_<version>-<moment>-...`.
"""

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from asgard.common.errors import AsgardError, UsageError
from asgard.common.names import BranchName, CommitHash, check_run_id
from asgard.features.aggregates import duration
from asgard.features.joins.labels import Labels
from asgard.features.pinned import PinnedTable
from asgard.lakehouse.catalog.holds import base_name, hold, hold_name, holds_of, release
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import At
from asgard.lakehouse.runs.history import list_runs
from asgard.model.gates import PromotionRefusedError
from asgard.model.ledger.registered import RegisteredModel
from asgard.model.lifecycle import Ledger, Stage, Version
from asgard.model.versions import Binding, BoundView, ModelVersion

ABANDONED_AFTER = timedelta(days=7)
"""Age after which a reproduction counts as dead, and its holds are dropped."""
_KIND, _REPRODUCTION = "model", "reproduce"
_OWNED = re.compile(r"(\d+\.\d+\.\d+)-([0-9a-f]+)")
_BEGAN = re.compile(r".*-(\d{8}t\d{6})-[0-9a-f]+-[0-9a-f]+")
_MOMENT = "%Y%m%dt%H%M%S"


@dataclass(frozen=True)
class Settled:
    """The changes that adjusted the holds of a model.

    Attributes:
        dropped: tags that were no longer needed.
        made: missing tags that were created.
        problems: what could not be held and why, in words.
    """

    dropped: tuple[BranchName, ...]
    made: tuple[BranchName, ...]
    problems: tuple[str, ...]


def hold_version(lake: Lakehouse, name: str, version: Version, binding: Binding) -> None:
    """Hold the data that a version was trained on; existing holds stay.

    Raises:
        UnknownReferenceError: a commit is gone.
    """
    for commit in binding.commits:
        hold(lake, _hold_of(name, version, commit), commit)


def settle_holds(
    lake: Lakehouse, model: RegisteredModel, read: Callable[[], RegisteredModel], now: datetime
) -> Settled:
    """Adjust the holds of a model's versions to its ledger. Every mover calls this after its transition.

    Drops holds of versions archived longer than the grace period ago, and of failed registrations; creates missing
    holds. A hold of a version that is not registered yet stays: its registration may be under way. All holds of a
    version whose binding can't be trusted stay too, until its grace period is over.

    Of two concurrent movers, one always sees the other's change, because each reads the ledger again after changing the
    holds, until the ledger no longer changes. Example: A rolls a version back; B, who read the ledger earlier, thinks
    that its grace period is over. If B drops its hold before A reads the holds, A creates it again. If B drops it
    later, that is after A's transition: B sees the transition when it reads the ledger again, and creates the hold
    itself. If a mover is killed between dropping and reading, the next mover repairs the holds.

    Args:
        lake: the lakehouse that contains the holds.
        model: the model as read after the move.
        read: reads the model again.
        now: the current time.
    """
    grace = duration(lake.settings.model_hold_grace)
    dropped: dict[BranchName, None] = {}
    made: dict[BranchName, None] = {}
    while True:
        problems = []
        wanted = {
            (each.version, commit): each
            for each in model.versions
            if not is_over(model.ledger, each.version, now, grace)
            for commit in each.binding.commits
        }
        unknown = {each.version for each in model.damaged if not is_over(model.ledger, each.version, now, grace)}
        current_holds = _holds_by_version(lake, model.name)
        for name, held in current_holds.items():
            if held[0] in model.ledger.stages and held[0] not in unknown and held not in wanted:
                release(lake, name)
                dropped[name] = None
                made.pop(name, None)
        for (version, commit), each in wanted.items():
            if (version, commit) in current_holds.values():
                continue
            try:
                name = hold(lake, _hold_of(model.name, version, commit), commit)
            except UsageError as error:  # the commit is gone, or is in another Nessie
                problems.append(f"{each}: its training data can't be held: {error.message}")
            else:
                made[name] = None
                dropped.pop(name, None)
        again = read()
        if again.ledger.next_number == model.ledger.next_number:
            return Settled(tuple(dropped), tuple(made), tuple(problems))
        model = again


def is_over(ledger: Ledger, version: Version, now: datetime, grace: timedelta) -> bool:
    """Whether a version was archived longer than the grace period ago."""
    last = ledger.steps_of(version)[-1]
    archived = datetime.fromisoformat(last.transition.when)
    return last.after is Stage.ARCHIVED and now.astimezone(UTC) - archived > grace


@contextmanager
def held_meanwhile(lake: Lakehouse, version: ModelVersion) -> Iterator[None]:
    """Hold the data that a version was trained on during a reproduction, even if the version is archived meanwhile.

    Raises:
        UnknownReferenceError: a commit is gone.
    """
    names: list[BranchName] = []
    began = f"{datetime.now(UTC):{_MOMENT}}-{secrets.token_hex(4)}"
    try:
        for commit in version.binding.commits:
            name = hold_name(_REPRODUCTION, version.name, f"{version.version}-{began}-{commit[:16]}")
            names.append(hold(lake, name, commit))
        yield
    finally:
        for name in names:
            release(lake, name)


def release_abandoned(lake: Lakehouse, now: datetime) -> list[BranchName]:
    """Drop the holds of killed reproductions: those that began too long ago to be still running.

    Returns:
        The names of the tags that were dropped.
    """
    dropped = []
    for name in sorted(holds_of(lake, _REPRODUCTION)):
        began = _BEGAN.fullmatch(base_name(name))
        if began and now - datetime.strptime(began[1], _MOMENT).replace(tzinfo=UTC) > ABANDONED_AFTER:
            release(lake, name)
            dropped.append(name)
    return dropped


def problems_with_data(lake: Lakehouse, binding: Binding) -> list[str]:
    """Problems with the published states that a version was trained on; usually none.

    Each state is looked up at its commit of the target ref, where only audited runs publish. Its files must exist, and
    so must those of a table of labels.
    """
    problems = [_problem(lake, each) for each in binding.views]
    return [problem for problem in (*problems, _problem_of_labels(lake, binding)) if problem is not None]


def require_data(lake: Lakehouse, version: ModelVersion) -> None:
    """Hold a version's snapshots again, and verify that they can be read.

    Raises:
        PromotionRefusedError: a snapshot can't be read; the details name each.
    """
    try:
        hold_version(lake, version.name, version.version, version.binding)
        problems = problems_with_data(lake, version.binding)
    except UsageError as error:  # the commit is gone
        problems = [error.message]
    if problems:
        raise PromotionRefusedError(
            f"What {version} was trained on is missing: nothing was moved.",
            hint="Roll back to a newer version, or train again.",
            details=tuple(problems),
        )


def _problem(lake: Lakehouse, bound: BoundView) -> str | None:
    what = f"{bound.view} ({bound.table} at snapshot {bound.snapshot_id})"
    at = At(bound.target, bound.commit)
    try:
        content = lake.content(bound.table, str(at))
        if content.snapshot_id != bound.snapshot_id:
            return f"{what}: {bound.target} had snapshot {content.snapshot_id} at commit {bound.commit[:12]}"
        pinned = PinnedTable.of(lake.settings, bound.table, at, bound.metadata_location, bound.snapshot_id)
        gone = _gone(pinned)
    except AsgardError as error:
        return f"{what}: {error.message}"
    if gone:
        return f"{what}: {gone}"
    run_id = pinned.state.summary("asgard.run-id")
    return f"{what}: {problem}" if run_id and (problem := _problem_of_run(lake, run_id)) else None


def _problem_of_labels(lake: Lakehouse, binding: Binding) -> str | None:
    """The problem with the table of labels; None if there is none, or for a file, which is never held."""
    labels = binding.details.get("labels", {})
    table, commit = Labels(labels.get("source", "")).table, labels.get("commit")
    if table is None or not commit:
        return None
    try:
        gone = _gone(PinnedTable.load(lake, table, At(lake.target, CommitHash(commit))))
    except AsgardError as error:
        return f"labels ({table}): {error.message}"
    return f"labels ({table}): {gone}" if gone else None


def _gone(pinned: PinnedTable) -> str:
    """How many of a table's data files are gone, in words; "" if all exist."""
    io = pinned.state.table.io
    gone = [path for path in pinned.files if not io.new_input(path).exists()]
    return f"{len(gone)} of {len(pinned.files)} data files are gone, {gone[0]} first" if gone else ""


def _problem_of_run(lake: Lakehouse, run_id: str) -> str:
    """Why the run that made a snapshot does not stand; "" if it does."""
    runs = list_runs(lake, run_id=check_run_id(run_id))
    if any(each.is_published and each.intact is not False for each in runs):
        return ""
    by = next((each.reverted_by for each in runs if each.reverted_by), "")
    if by:
        return f"run {run_id}, which made it, was reverted by run {by}"
    return f"run {run_id}, which made it, has no audited publish on {lake.target}, or its record was changed"


def _holds_by_version(lake: Lakehouse, model: str) -> dict[BranchName, tuple[Version, CommitHash]]:
    """The holds of a model's versions, each with its version and commit."""
    prefix, held = hold_name(_KIND, model, ""), {}
    for name, commit in holds_of(lake, _KIND, f"{model}_").items():
        owned = _OWNED.fullmatch(base_name(name).removeprefix(prefix))
        if owned:
            held[name] = (Version.parse(owned[1]), commit)
    return held


def _hold_of(name: str, version: Version, commit: CommitHash) -> BranchName:
    return hold_name(_KIND, name, f"{version}-{commit[:16]}")
