"""Publish: one Nessie commit of exactly what was audited, even if Nessie's answers get lost."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from asgard.common.errors import ConflictError, RunError, ServiceUnreachableError, UnknownReferenceError
from asgard.common.failpoints import failpoint
from asgard.common.names import LOG_MARGIN, CommitHash, RunId, run_id_time
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import DiffEntry, LogEntry, NessieConflictError, drop, put, unchanged
from asgard.lakehouse.catalog.publications import Reverts
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.audit import Verdict

PUBLISH = "publish"
_PATIENCE_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)


@dataclass(frozen=True)
class Publication:
    """The publish commit of a run, and the attempt that made it."""

    commit: CommitHash
    attempt: int


def changes_of(attempt: Attempt) -> tuple[DiffEntry, ...]:
    """The differences between the attempt's branch and its base; empty if no table differs."""
    changes = attempt.lake.nessie.diff(attempt.at_base, f"{attempt.branch}@{attempt.sealed}")
    return changes if any(len(change.key) > 1 for change in changes) else ()


def find_publish(lake: Lakehouse, run_id: RunId, since: CommitHash | None = None) -> Publication | None:
    """Look for a run in the target ref's log: its newest publish, unless that was reverted.

    Args:
        lake: the lakehouse that has the target ref.
        run_id: the run.
        since: look only at commits after this one, whether they were reverted or not: did this run publish? None: look
            back to an hour before the run id's time.

    Raises:
        ConflictError: the target ref no longer contains `since`.
    """
    if since is None:
        log: Iterable[LogEntry] = lake.nessie.log(lake.target, since=run_id_time(run_id) - LOG_MARGIN)
    elif lake.nessie.head(lake.target) == since:
        return None
    else:
        log = _log_after(lake, since)
    reverts = Reverts()
    for entry in log:
        reverts.note(entry)
        if entry.properties.get("asgard.run-id") == run_id:
            is_undone = since is None and reverts.of(entry.hash) is not None
            return None if is_undone else Publication(entry.hash, int(entry.properties.get("asgard.attempt", "0")))
    return None


def publish(attempt: Attempt, verdict: Verdict, record_digest: str) -> Publication:
    """Commit the audited tables to the target ref, if neither they nor the read keys changed there.

    Args:
        attempt: a sealed and audited attempt.
        verdict: the passed verdict of this attempt.
        record_digest: SHA-256 of the attempt's record.

    Returns:
        The publish commit; that of another process's attempt, if it published this run first.

    Raises:
        RunError: the verdict failed, or the branch moved after the audit.
        ConflictError: a written or guarded table changed on the target ref, or the target ref was moved back.
        ServiceUnreachableError: Nessie did not answer; running again with the same run id finds out what happened.
    """
    if not verdict.passed or verdict.branch != attempt.branch:
        raise RunError(f"Run {attempt.run_id} has no passed verdict for {attempt.branch}.", hint="This is a defect.")
    changes = changes_of(attempt)
    skipped: set[tuple[str, ...]] = set()
    for patience in (*_PATIENCE_SECONDS, None):
        try:
            publication = find_publish(attempt.lake, attempt.run_id, since=attempt.base)
            if publication is not None:
                return publication
            _refuse_if_moved(attempt, verdict)
            failpoint("before-publish")
            return _commit(attempt, verdict, changes, skipped, record_digest)
        except NessieConflictError as conflict:
            namespaces = {change.key for change in changes if len(change.key) == 1}
            if not conflict.keys or not conflict.keys <= namespaces:
                raise _conflict(attempt, conflict) from conflict
            skipped |= conflict.keys  # another run made the same namespace first: that is fine
        except ServiceUnreachableError as error:
            if patience is None:
                raise ServiceUnreachableError(
                    f"Nessie did not say whether run {attempt.run_id} was published: {error.message}",
                    hint=f"Run again with --run-id {attempt.run_id}: it finds out, and publishes at most once.",
                ) from error
            time.sleep(patience)
    raise _conflict(attempt, None)


def moved_back(lake: Lakehouse, base: CommitHash) -> ConflictError:
    """The error of a run whose base is no longer in the target ref, because someone assigned the ref elsewhere.

    Raises:
        UnknownReferenceError: the target ref itself is gone.
    """
    head = lake.nessie.head(lake.target)
    return ConflictError(
        f"{lake.target} was moved back: it is at {head[:12]}, which does not contain {base[:12]}, where this run began",
        hint="The run starts again by itself.",
    )


def _log_after(lake: Lakehouse, commit: CommitHash) -> Iterator[LogEntry]:
    last = None
    for entry in lake.nessie.log(lake.target):
        if entry.hash == commit:
            return
        yield entry
        last = entry
    if last is None or last.parent != commit:  # a repository's first commit has a parent that no log lists
        raise moved_back(lake, commit)


def _commit(
    attempt: Attempt,
    verdict: Verdict,
    changes: tuple[DiffEntry, ...],
    skipped: set[tuple[str, ...]],
    record_digest: str,
) -> Publication:
    tables = [".".join(change.key) for change in changes if len(change.key) > 1]
    try:
        commit = attempt.lake.nessie.commit(
            attempt.lake.target,
            attempt.base,
            [*_writes(changes, skipped), *_guards(attempt, verdict, changes)],
            f"{attempt.provenance['asgard.job']}: publish {', '.join(tables)} (run {attempt.run_id})",
            properties={**attempt.provenance, "asgard.kind": PUBLISH, "asgard.record-sha256": record_digest},
            author=attempt.provenance["asgard.user"],
        )
    except UnknownReferenceError as error:
        raise moved_back(attempt.lake, attempt.base) from error
    return Publication(commit, attempt.number)


def _writes(changes: tuple[DiffEntry, ...], skipped: set[tuple[str, ...]]) -> Iterator[Mapping[str, Any]]:
    for change in changes:
        if change.key in skipped:
            continue
        if change.after is None:
            yield drop(change.key)
        else:
            yield put(change.key, change.after, is_new=change.before is None)


def _guards(attempt: Attempt, verdict: Verdict, changes: tuple[DiffEntry, ...]) -> Iterator[Mapping[str, Any]]:
    """Operations by which Nessie refuses the commit if a read key, or a written but unchanged table, has changed."""
    written = {change.key for change in changes}
    for name in sorted({*verdict.read_keys, *attempt.writes}):
        key = (name.layer, name.name)
        if key not in written:
            yield unchanged(key)


def _refuse_if_moved(attempt: Attempt, verdict: Verdict) -> None:
    head = attempt.lake.nessie.head(attempt.branch)
    if head != verdict.branch_hash:
        raise RunError(
            f"Branch {attempt.branch} moved from {verdict.branch_hash[:12]} to {head[:12]} after its audit, so its "
            "present state was never audited: nothing was published.",
            hint="Only its own run may write to an audit branch. Run again.",
        )


def _conflict(attempt: Attempt, conflict: NessieConflictError | None) -> ConflictError:
    keys = sorted(".".join(key) for key in conflict.keys) if conflict else []
    what = ", ".join(keys) or "a table of this run"
    return ConflictError(
        f"{what} changed on {attempt.lake.target} since {attempt.base[:12]}", hint="The run starts again by itself."
    )
