"""A ledger's projection: the tags and aliases that MLflow's UI, SDK and other tools look at.

It may be behind for a moment, or after a crash; whoever reads or moves the model next puts it right. Whoever writes it
reads the ledger again afterwards, and goes on until that did not move: so a slow writer's old view never stays.
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
"""The aliases: of the champion, and of the challenger."""
_PAGE = 1_000
_TRIES = 5


@dataclass(frozen=True)
class MlflowState:
    """What MLflow shows of a model: its versions by MLflow's number, and its aliases."""

    versions: "Mapping[str, MlflowVersion]"
    aliases: Mapping[str, str]

    @classmethod
    def of(cls, client: "MlflowClient", settings: Settings, name: str) -> "MlflowState":
        """What it shows now."""
        with in_words(settings):
            aliases = client.get_registered_model(name).aliases
            versions, page = {}, None
            while page != "":
                page_of_versions = client.search_model_versions(f"name='{name}'", max_results=_PAGE, page_token=page)
                versions.update({str(each.version): each for each in page_of_versions})
                page = page_of_versions.token or ""
        return cls(versions, {alias: str(number) for alias, number in aliases.items()})


def wanted_tags(ledger: Ledger) -> dict[str, dict[str, str]]:
    """What the tags of each version are to be, by MLflow's number."""
    return {
        number: {
            "semver": str(version),
            "lifecycle.stage": str(ledger.stages[version]),
            "artifact.sha256": ledger.sha256(version),
        }
        for version, number in ledger.mlflow_versions.items()
    }


def wanted_aliases(ledger: Ledger, shown: MlflowState) -> dict[str, str | None]:
    """What the aliases are to be; None: there is to be none, also where somebody deleted MLflow's version."""
    at = {PRODUCTION: ledger.production, STAGING: ledger.staging}
    numbers = {alias: ledger.mlflow_versions[version] if version else None for alias, version in at.items()}
    return {alias: number if number in shown.versions else None for alias, number in numbers.items()}


def is_behind(ledger: Ledger, shown: MlflowState) -> bool:
    """Whether MLflow shows something else than the ledger says."""
    aliases = any(shown.aliases.get(alias) != number for alias, number in wanted_aliases(ledger, shown).items())
    return aliases or any(True for _ in _differing(ledger, shown))


def try_to_bring_up_to_date(run: LedgerRun, ledger: Ledger, shown: MlflowState | None = None) -> None:
    """The same, by one who may not write, or whose move is done already: what fails here is left to the next."""
    try:
        bring_up_to_date(run, ledger, shown)
    except ServiceError as error:
        logger("model").warning(
            "MLflow's tags of %s are behind, until somebody else looks: %s", run.name, error.message
        )


def bring_up_to_date(run: LedgerRun, ledger: Ledger, shown: MlflowState | None = None) -> Ledger:
    """Make tags and aliases what the ledger says; gives the ledger as it was found last.

    Raises:
        ServiceError: MLflow failed, again and again.
    """
    failures = 0
    while True:
        shown = shown or MlflowState.of(run.client, run.settings, run.name)
        try:
            _write(run, ledger, shown)
        except ServiceUnreachableError:
            raise
        except ServiceError:  # of two who write a new tag at once MLflow fails one: look again what is left to do
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
