"""The run: Write-Audit-Publish, step by step, as one transaction over many tables.

    begin -> write (on a branch of its own) -> audit -> record -> publish (one commit) -> clean up

`execute` is the whole protocol; a job supplies only the `work` that writes. The steps and their reasons are
in docs/how-a-run-works.md.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from asgard.common.aliases import Say
from asgard.common.errors import (
    AsgardError,
    AuditFailedError,
    ConflictError,
    RunError,
    UnknownReferenceError,
    UsageError,
)
from asgard.common.failpoints import failpoint
from asgard.common.git_utils import CodeVersion, code_version
from asgard.common.logging import logger, redact
from asgard.common.names import LOG_MARGIN, BranchName, CommitHash, RunId, audit_branch, new_run_id, run_id_time
from asgard.common.spark_utils import explained
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import RefKind
from asgard.lakehouse.catalog.registrations import Registrations, refuse_breaking
from asgard.lakehouse.runs.attempt import Attempt, Isolation
from asgard.lakehouse.runs.audit import Verdict, audit
from asgard.lakehouse.runs.publish import Publication, changes_of, find_publish, moved_back, publish
from asgard.lakehouse.runs.records import RunRecords

_LOG = logger("run")


class Status(StrEnum):
    """How a run ended."""

    PUBLISHED = "published"
    ALREADY_PUBLISHED = "already published"
    UNCHANGED = "unchanged"
    AUDIT_FAILED = "audit failed"
    FAILED = "failed"


@dataclass(frozen=True)
class RunRequest:
    """What a job asks of a run.

    Attributes:
        job: its name, as recorded.
        run_id: given by the caller (a scheduler's restart gives the same one), or None to make one.
        params: of the job, as recorded; plain values, no secrets.
        isolation: whether the run starts again if inputs changed in the meantime.
        as_of: the moment that freshness is measured at; None: when the run begins.
        take_over: whether tables of other pipelines may be written; they then belong to this one.
        code: version of the pipeline's code; None: looked up.
        registered_next: registrations that the caller replaces right after the run: kind and name, with the columns
            that the new ones need (and types, or "" for any). This run may break the present ones.
        properties: further ones of every snapshot of the run, and of its publish commit.
    """

    job: str
    run_id: RunId | None = None
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)
    isolation: Isolation = Isolation.SNAPSHOT
    as_of: datetime | None = None
    take_over: bool = False
    code: CodeVersion | None = None
    registered_next: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict, hash=False)
    properties: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class RunResult:
    """How a run ended, and what it did.

    Attributes:
        commit: the publish commit, for a published run.
        branch: the branch of the last attempt, if it is kept.
        verdict: of the last audit, if there was one.
        tables: what was written, by table name, as in the record.
        seconds: by step.
    """

    run_id: RunId
    attempt: int
    status: Status
    commit: CommitHash | None = None
    branch: BranchName | None = None
    verdict: Verdict | None = None
    tables: Mapping[str, Any] = field(default_factory=dict, hash=False)
    seconds: Mapping[str, float] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "run_id": self.run_id,
            "attempt": self.attempt,
            "status": str(self.status),
            "commit": self.commit,
            "branch": self.branch,
            "tables": dict(self.tables),
            "warnings": self.verdict.outcome.warnings_json() if self.verdict else [],
            "audit": self.verdict.outcome.to_json() if self.verdict else None,
            "seconds": dict(self.seconds),
        }


class RunAuditFailedError(AuditFailedError):
    """A run's audit failed; `result` has the verdict and names the branch with the data."""

    def __init__(self, result: RunResult) -> None:
        verdict = result.verdict
        tables = verdict.outcome.tables if verdict else ()
        warnings = verdict.outcome.warnings if verdict else ()
        blocking = [check for table in tables for check in table.blocking]
        failed = [f"{table.table}: {check.name}" for table in tables for check in table.blocking]
        super().__init__(
            f"The audit of run {result.run_id} failed, so nothing was published: {'; '.join(failed)}.",
            hint=f"The rows are kept on branch {result.branch}; `asgard runs {result.run_id}` shows every check.",
            details=(
                *(line for check in blocking for line in check.told()),
                *(f"also a warning: {table}: {line}" for table, check in warnings for line in check.told()),
            ),
        )
        self.result = result


def execute(
    lake: Lakehouse, request: RunRequest, work: Callable[[Attempt], None], say: Say = lambda _line: None
) -> RunResult:
    """Run `work` as one Write-Audit-Publish transaction.

    Args:
        lake: where to publish, and to which target ref.
        request: what is run.
        work: writes through the attempt it is given; called once per attempt, so it must not have
            other side effects.
        say: called with one line about each step.

    Returns:
        How it ended: published, already published (an earlier process did it), or unchanged.

    Raises:
        RunAuditFailedError: the audit failed; the branch is kept, the target ref is unchanged.
        ConflictError: other runs published to the same tables, or the target ref was moved back, in each of the
            allowed attempts.
        AsgardError: anything else that went wrong; the branch is kept, the target ref is unchanged.
    """
    now = datetime.now(UTC)
    run_id = request.run_id or new_run_id(now)
    if run_id_time(run_id) > now + LOG_MARGIN:
        raise UsageError(
            f"Run id {run_id!r} starts with a time in the future, so no log can be searched for it.",
            hint=f"The time must be in UTC; it is now {now:%Y%m%dt%H%M%S}.",
        )

    def told(line: str) -> None:
        _LOG.info("%s: %s", run_id, line)
        say(line)

    runner = _Runner(lake, request, run_id, request.code or code_version(lake.settings), told)
    with runner.records.alive(run_id):
        return runner.run(work)


@dataclass
class _Runner:
    """One call of `execute`: the state that all its attempts share."""

    lake: Lakehouse
    request: RunRequest
    run_id: RunId
    code: CodeVersion
    say: Say
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    conflicts: int = 0

    def __post_init__(self) -> None:
        self.records = RunRecords(self.lake.storage)

    def run(self, work: Callable[[Attempt], None]) -> RunResult:
        limit, last = self.lake.settings.conflict_attempts, ""
        for _ in range(limit):
            base = self.lake.nessie.head(self.lake.target)
            # Searched after the base was read: `publish` itself finds a publish of this run that comes later.
            done = find_publish(self.lake, self.run_id) if self._may_be_published() else None
            if done is not None:
                self.say(f"run {self.run_id} was published already, as {done.commit[:12]}")
                return RunResult(self.run_id, done.attempt, Status.ALREADY_PUBLISHED, done.commit)
            try:
                return self._attempt(base, work)
            except ConflictError as conflict:
                self.conflicts += 1
                last = conflict.message
                # The place for re-attaching written files, and for turns; without them: again from the new head.
                self.say(f"{conflict.message}; computing again from the new head of {self.lake.target}")
        done = find_publish(self.lake, self.run_id)
        if done is not None:
            return RunResult(self.run_id, done.attempt, Status.ALREADY_PUBLISHED, done.commit)
        raise ConflictError(
            f"Run {self.run_id} conflicted with other publishes {limit} times, last because {last}.",
            hint="Run it again when fewer runs write the same tables, or raise conflict_attempts.",
        )

    def _may_be_published(self) -> bool:
        """Whether the run may be in a log: a run id that was just made is not, until this process tried to publish."""
        return self.request.run_id is not None or self.conflicts > 0

    def _attempt(self, base: CommitHash, work: Callable[[Attempt], None]) -> RunResult:
        clock = _Stopwatch()
        number = self.records.reserve(self.run_id, self._start_note())
        attempt = None
        try:
            with clock("begin"):
                attempt = self._begin(number, base)
            with _still_there(attempt):
                return self._finish(attempt, work, clock)
        except BaseException as error:
            self._note_failure(number, error, clock)
            if isinstance(error, ConflictError) and attempt is not None:
                self._drop_branch(attempt)
            raise

    def _begin(self, number: int, base: CommitHash) -> Attempt:
        nessie = self.lake.nessie
        try:
            branch = nessie.create(RefKind.BRANCH, audit_branch(self.run_id, number), base, self.lake.target)
        except UnknownReferenceError as error:
            raise moved_back(self.lake, base) from error
        self.say(f"run {self.run_id}: writing on branch {branch.name}")
        failpoint("after-branch")
        return Attempt(
            lake=self.lake,
            run_id=self.run_id,
            number=number,
            branch=branch.name,
            base=base,
            as_of=self.request.as_of or self.began,
            isolation=self.request.isolation,
            provenance=self._provenance(number),
            say=self.say,
            take_over=self.request.take_over,
            params=dict(self.request.params),
        )

    def _finish(self, attempt: Attempt, work: Callable[[Attempt], None], clock: "_Stopwatch") -> RunResult:
        with clock("write"):
            work(attempt)
            attempt.seal()
        failpoint("after-write")
        changes = changes_of(attempt)
        if not changes:
            self.say("nothing changed, so there is nothing to publish")
            return self._end(attempt, Status.UNCHANGED, clock)
        self._refuse_breaking(attempt)
        with clock("audit"), explained(f"The audit of run {self.run_id}"):
            verdict = audit(attempt)
        failpoint("after-audit")
        record = self._record(attempt, verdict, clock)
        digest = self.records.write_record(self.run_id, attempt.number, record)
        failpoint("after-record")
        if not verdict.passed:
            result = self._end(attempt, Status.AUDIT_FAILED, clock, verdict=verdict, keep_branch=True)
            raise RunAuditFailedError(result)
        with clock("publish"):
            publication = publish(attempt, verdict, digest)
        failpoint("after-publish")
        if publication.attempt != attempt.number:
            self.say(f"run {self.run_id} was published by another process, as {publication.commit[:12]}")
            return self._end(attempt, Status.ALREADY_PUBLISHED, clock, verdict=verdict, publication=publication)
        self.say(f"published {', '.join(attempt.writes_json())} to {self.lake.target} as {publication.commit[:12]}")
        return self._end(attempt, Status.PUBLISHED, clock, verdict=verdict, publication=publication)

    def _refuse_breaking(self, attempt: Attempt) -> None:
        changed = {
            name: write.after.columns
            for name, write in attempt.writes.items()
            if write.base is not None and write.after is not None and write.base.columns != write.after.columns
        }
        if changed:
            coming = self.request.registered_next
            current = Registrations(self.lake.storage).of_every_kind()
            reading = [replace(each, columns=coming.get((each.kind, each.name), each.columns)) for each in current]
            refuse_breaking(reading, changed, self.lake.target)

    def _end(
        self,
        attempt: Attempt,
        status: Status,
        clock: "_Stopwatch",
        *,
        verdict: Verdict | None = None,
        publication: Publication | None = None,
        keep_branch: bool = False,
    ) -> RunResult:
        commit = publication.commit if publication else None
        result = RunResult(
            run_id=self.run_id,
            attempt=attempt.number,
            status=status,
            commit=commit,
            branch=attempt.branch if keep_branch else None,
            verdict=verdict,
            tables=attempt.writes_json(),
            seconds=clock.seconds,
        )
        self._note_outcome(attempt.number, {"status": status, "commit": commit, "seconds": clock.seconds})
        failpoint("before-cleanup")
        if not keep_branch:
            self._drop_branch(attempt)
        return result

    def _note_failure(self, number: int, error: BaseException, clock: "_Stopwatch") -> None:
        if isinstance(error, RunAuditFailedError):
            return
        message = redact(error.message) if isinstance(error, AsgardError) else type(error).__name__
        status = "conflict" if isinstance(error, ConflictError) else Status.FAILED
        self._note_outcome(number, {"status": status, "error": message, "seconds": clock.seconds})

    def _note_outcome(self, attempt: int, outcome: Mapping[str, Any]) -> None:
        """Write the outcome; it is optional, so a failed write is only reported."""
        try:
            self.records.write_outcome(
                self.run_id, attempt, {**outcome, "ended": datetime.now(UTC).isoformat(timespec="milliseconds")}
            )
        except AsgardError as error:
            self.say(f"the outcome could not be recorded: {error.message}")

    def _drop_branch(self, attempt: Attempt) -> None:
        """Drop an attempt's branch; a branch that is left behind does no harm, so a failure is only reported.

        A branch that moved after the seal has commits that others made, and is kept.
        """
        branch = attempt.branch
        try:
            reference = self.lake.nessie.reference(branch)
            if reference.kind is not RefKind.BRANCH or attempt.sealed not in (None, reference.hash):
                self.say(f"branch {branch} has commits that the run did not make, so it is kept: drop it if unneeded")
                return
            self.lake.nessie.delete(reference)
        except AsgardError as error:
            self.say(f"branch {branch} could not be dropped: {error.message}")

    def _start_note(self) -> dict[str, Any]:
        return {
            "job": self.request.job,
            "user": self.lake.settings.user,
            "target": self.lake.target,
            "environment": self.lake.settings.environment,
            "started": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "params": dict(self.request.params),
            "code_version": self.code.version,
            "dirty": self.code.dirty,
        }

    def _provenance(self, number: int) -> dict[str, str]:
        """The properties by which every snapshot and the publish commit name their origin."""
        return {
            "asgard.run-id": self.run_id,
            "asgard.attempt": str(number),
            "asgard.job": self.request.job,
            "asgard.code-version": self.code.version,
            "asgard.dirty": str(self.code.dirty).lower(),
            "asgard.user": self.lake.settings.user,
            **self.request.properties,
        }

    def _record(self, attempt: Attempt, verdict: Verdict, clock: "_Stopwatch") -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "attempt": attempt.number,
            **self._start_note(),
            "params": attempt.params,
            "isolation": attempt.isolation,
            "base": attempt.base,
            "branch": attempt.branch,
            "conflicts": self.conflicts,
            "verdict": verdict.to_json(),
            "reads": attempt.reads_json(),
            "writes": attempt.writes_json(),
            "details": attempt.details,
            "seconds": clock.seconds,
        }


@contextmanager
def _still_there(attempt: Attempt) -> Iterator[None]:
    """Report a reference that vanished during the attempt as a failed run: it is not the caller's mistake."""
    try:
        yield
    except UnknownReferenceError as error:
        raise RunError(
            f"A branch vanished while run {attempt.run_id} worked on {attempt.branch}: {error.message}",
            hint="Only its own run may drop an audit branch. Run again with the same run id.",
        ) from error


class _Stopwatch:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[step] = round(time.monotonic() - start, 3)
