"""What a model's version keeps of the lakehouse: holds on the published states that it learned from.

A version holds the commits of its feature snapshots by tags `hold_model_<name>_<version>-<commit>` until it is
archived, and a grace after, in which a rollback finds everything there. Whoever moves a version of the model drops
those that are over.
"""

import re
from datetime import UTC, datetime, timedelta

from asgard.common.errors import AsgardError, UsageError
from asgard.common.names import BranchName, CommitHash, check_run_id
from asgard.features.pinned import PinnedTable
from asgard.lakehouse.history import list_runs
from asgard.lakehouse.holds import hold, hold_name, release
from asgard.lakehouse.lake import Lakehouse
from asgard.lakehouse.snapshots import At
from asgard.model.gates import PromotionRefusedError
from asgard.model.lifecycle import Ledger, Stage, Version
from asgard.model.registered import RegisteredModel
from asgard.model.versions import Binding, BoundView, ModelVersion

GRACE = timedelta(days=30)
"""How long an archived version's snapshots are held on."""
_KIND = "model"
_OWNED = re.compile(r"(\d+\.\d+\.\d+)-([0-9a-f]+)")


def hold_version(lake: Lakehouse, name: str, version: Version, binding: Binding) -> None:
    """Keep what a version learned from; fine if it is kept already.

    Raises:
        UnknownReferenceError: a commit is gone.
    """
    for commit in binding.commits:
        hold(lake, _hold_of(name, version, commit), commit)


def release_unneeded(lake: Lakehouse, model: RegisteredModel, now: datetime) -> list[BranchName]:
    """Drop the holds of versions that were archived longer than the grace ago, and of failed registrations.

    A hold of a version that is not registered yet stays: it is somebody's who is about to.

    Returns:
        The names of the tags that were dropped.
    """
    wanted = {
        _hold_of(model.name, each.version, commit)
        for each in model.versions
        if not is_over(model.ledger, each.version, now)
        for commit in each.binding.commits
    }
    prefix = hold_name(_KIND, model.name, "")
    dropped = []
    for reference in list(lake.nessie.references(prefix)):
        owned = _OWNED.fullmatch(reference.name.removeprefix(prefix))
        if owned and Version.parse(owned[1]) in model.ledger.stages and reference.name not in wanted:
            release(lake, reference.name)
            dropped.append(reference.name)
    return dropped


def is_over(ledger: Ledger, version: Version, now: datetime) -> bool:
    """Whether a version was archived longer than the grace ago."""
    last = ledger.steps_of(version)[-1]
    archived = datetime.fromisoformat(last.transition.when)
    return last.after is Stage.ARCHIVED and now.astimezone(UTC) - archived > GRACE


def problems_with_data(lake: Lakehouse, binding: Binding) -> list[str]:
    """What is wrong with the published states that a version learned from; nothing, most of the time.

    Each is looked up at its commit of the target ref, where only audited runs publish; its files have to be there.
    """
    return [problem for each in binding.views if (problem := _problem(lake, each)) is not None]


def require_data(lake: Lakehouse, version: ModelVersion) -> None:
    """Hold a version's snapshots again, and make sure that they can be read.

    Raises:
        PromotionRefusedError: they can't; the message names each.
    """
    try:
        hold_version(lake, version.name, version.version, version.binding)
        problems = problems_with_data(lake, version.binding)
    except UsageError as error:  # no such commit any more
        problems = [error.message]
    if problems:
        raise PromotionRefusedError(
            f"What {version} learned from is not there any more: nothing was moved.",
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
        io = pinned.state.table.io
        gone = [path for path in pinned.files if not io.new_input(path).exists()]
    except AsgardError as error:
        return f"{what}: {error.message}"
    if gone:
        return f"{what}: {len(gone)} of {len(pinned.files)} data files are gone, {gone[0]} first"
    run_id = pinned.state.summary("asgard.run-id")
    if run_id and not _is_published(lake, run_id):
        return (
            f"{what}: run {run_id}, which made it, has no audited publish on {lake.target}, or its record was changed"
        )
    return None


def _is_published(lake: Lakehouse, run_id: str) -> bool:
    runs = list_runs(lake, run_id=check_run_id(run_id))
    return any(each.status == "published" and each.intact is not False for each in runs)


def _hold_of(name: str, version: Version, commit: CommitHash) -> BranchName:
    return hold_name(_KIND, name, f"{version}-{commit[:16]}")
