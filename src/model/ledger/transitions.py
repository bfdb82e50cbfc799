"""Moves of versions: write the next transition of a model's ledger, unless the state that it depends on has changed.

This is a compare-and-swap: a mover that finds the next number taken reads again, and takes the one after or gives up.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from asgard.common.errors import ConflictError
from asgard.common.failpoints import failpoint
from asgard.model.ledger.ledger_run import LedgerRun
from asgard.model.ledger.projection import try_to_bring_up_to_date
from asgard.model.lifecycle import Ledger, Stage, Transition, TransitionKind, Version
from asgard.model.versions import ModelVersion


@dataclass(frozen=True)
class Move:
    """The result of a move.

    Attributes:
        version: the version after the move.
        transition: the entry; None if the version was already in that stage.
        archived: the version that it replaced in Production.
    """

    version: ModelVersion
    transition: Transition | None
    archived: Version | None = None


def propose(
    run: LedgerRun,
    ledger: Ledger,
    kind: TransitionKind,
    version: Version,
    to: Stage,
    why: str,
    *,
    mlflow_version: str = "",
    sha256: str = "",
    facts_sha256: str = "",
) -> Transition:
    """Build the next entry of a ledger, by the user of the settings, now.

    Raises:
        LifecycleError: no rule allows the move.
    """
    return ledger.propose(
        kind,
        version,
        to,
        who=run.settings.user,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        why=why,
        token=secrets.token_hex(8),
        mlflow_version=mlflow_version,
        sha256=sha256,
        facts_sha256=facts_sha256,
    )


def write(
    run: LedgerRun,
    seen: Ledger,
    kind: TransitionKind,
    version: Version,
    to: Stage,
    why: str,
    *,
    relies_on_production: bool = False,
) -> tuple[Transition, Version | None]:
    """Write a move to the ledger, and bring MLflow's tags and aliases up to date.

    Args:
        run: the model's ledger.
        seen: the ledger as read when the move was decided.
        kind: kind of the move.
        version: the version to move.
        to: its new stage.
        why: the reason, in words.
        relies_on_production: whether the decision depended on what is in Production.

    Returns:
        The entry, and the version that it replaced in Production.

    Raises:
        ConflictError: somebody else changed the stages that this move depends on.
        LifecycleError: no rule allows the move.
    """
    ledger, before = seen, seen.stages[version]
    relies = relies_on_production or Stage.PRODUCTION in (to, before)
    while True:
        entry = propose(run, ledger, kind, version, to, why)
        failpoint("before-model-transition")
        if run.append(entry):
            break
        ledger = run.read()
        if ledger.stages[version] is not before or (relies and ledger.production != seen.production):
            raise _lost(run.name, version, to, ledger)
    failpoint("after-model-transition")
    try_to_bring_up_to_date(run, ledger.then(entry))
    return entry, ledger.production if to is Stage.PRODUCTION else None


def _lost(name: str, version: Version, to: Stage, ledger: Ledger) -> ConflictError:
    last = next(each for each in reversed(ledger.transitions) if each.kind is not TransitionKind.REGISTER)
    return ConflictError(
        f"{name}@{version} was not moved to {to}: {last.who} moved {name}@{last.version} to {last.to} at the same time "
        f"(transition {last.number}, {last.when}).",
        hint=f"`asgard model show {name}` prints the stages now; check them, and decide again.",
    )
