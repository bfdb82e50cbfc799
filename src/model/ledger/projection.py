"""A ledger's projection: the tags and aliases that MLflow's UI, SDK and other tools read.

The projection may be outdated for a moment, or after a crash; the next read or move of the model repairs it. A writer
reads the ledger again after writing, and repeats until it did not change: a slow writer's outdated tags never stay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard.common.errors import ServiceError, ServiceUnreachableError
from asgard.common.logging import logger
from asgard.common.settings import Settings
from asgard.model.ledger.ledger_run import LedgerRun
from asgard.model.lifecycle import Ledger
from asgard.model.mlflow_access.client import in_words

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from mlflow.tracking import MlflowClient

PRODUCTION, STAGING = "production", "staging"
"""The aliases of the champion and of the challenger."""
_PAGE = 1_000
_TRIES = 5


@dataclass(frozen=True)
class MlflowState:
    """What MLflow shows about a model: its versions by MLflow's number, and its aliases."""

    versions: "Mapping[str, MlflowVersion]"
    aliases: Mapping[str, str]

    @classmethod
    def of(cls, client: "MlflowClient", settings: Settings, name: str) -> "MlflowState":
        """Read what MLflow shows now."""
        with in_words(settings):
            aliases = client.get_registered_model(name).aliases
            versions, page = {}, None
            while page != "":
                page_of_versions = client.search_model_versions(f"name='{name}'", max_results=_PAGE, page_token=page)
                versions.update({str(each.version): each for each in page_of_versions})
                page = page_of_versions.token or ""
        return cls(versions, {alias: str(number) for alias, number in aliases.items()})


def wanted_tags(ledger: Ledger) -> dict[str, dict[str, str]]:
    """The tags that each version should have, by MLflow's number."""
    return {
        number: {
            "semver": str(version),
            "lifecycle.stage": str(ledger.stages[version]),
            "artifact.sha256": ledger.sha256(version),
        }
        for version, number in ledger.mlflow_versions.items()
    }


def wanted_aliases(ledger: Ledger, shown: MlflowState) -> dict[str, str | None]:
    """The aliases that the model should have; None: no alias, also if MLflow's version was deleted."""
    at = {PRODUCTION: ledger.production, STAGING: ledger.staging}
    numbers = {alias: ledger.mlflow_versions[version] if version else None for alias, version in at.items()}
    return {alias: number if number in shown.versions else None for alias, number in numbers.items()}


def is_behind(ledger: Ledger, shown: MlflowState) -> bool:
    """Whether MLflow's tags or aliases differ from the ledger."""
    aliases = any(shown.aliases.get(alias) != number for alias, number in wanted_aliases(ledger, shown).items())
    return aliases or any(True for _ in _differing(ledger, shown))


def try_to_bring_up_to_date(run: LedgerRun, ledger: Ledger, shown: MlflowState | None = None) -> None:
    """Like `bring_up_to_date`, but a failure is only logged: the next reader or mover tries again."""
    try:
        bring_up_to_date(run, ledger, shown)
    except ServiceError as error:
        logger("model").warning(
            "MLflow's tags of %s are outdated until the next read or move: %s", run.name, error.message
        )


def bring_up_to_date(run: LedgerRun, ledger: Ledger, shown: MlflowState | None = None) -> Ledger:
    """Set tags and aliases to what the ledger says; returns the ledger as read last.

    Raises:
        ServiceError: MLflow failed repeatedly.
    """
    failures = 0
    while True:
        shown = shown or MlflowState.of(run.client, run.settings, run.name)
        try:
            _write(run, ledger, shown)
        except ServiceUnreachableError:
            raise
        except ServiceError:  # MLflow fails one of two concurrent writes of a new tag: check again
            failures += 1
            if failures == _TRIES:
                raise
            ledger, shown = run.read(), None
            continue
        now = run.read()
        if now.next_number == ledger.next_number:
            return now
        ledger, shown = now, None


def _write(run: LedgerRun, ledger: Ledger, shown: MlflowState) -> None:
    with in_words(run.settings):
        for number, tag, value in _differing(ledger, shown):
            run.client.set_model_version_tag(run.name, number, tag, value)
        for alias, wanted in wanted_aliases(ledger, shown).items():
            if shown.aliases.get(alias) == wanted:
                continue
            if wanted is None:
                run.client.delete_registered_model_alias(run.name, alias)
            else:
                run.client.set_registered_model_alias(run.name, alias, wanted)


def _differing(ledger: Ledger, shown: MlflowState) -> "list[tuple[str, str, str]]":
    return [
        (number, tag, value)
        for number, tags in wanted_tags(ledger).items()
        if number in shown.versions
        for tag, value in tags.items()
        if shown.versions[number].tags.get(tag) != value
    ]
