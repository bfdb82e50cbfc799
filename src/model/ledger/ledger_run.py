"""The storage of a model's ledger: numbered params of one MLflow run, which can't be changed once written.

```
registered model churn      tag asgard.ledger = <run id>
run <run id>                t000001 = {...}   t000002 = {...}   ...
```

If two processes write the same number, MLflow refuses the second: that makes each transition a compare-and-swap. Tags
and aliases, where the last writer wins, are derived from the ledger.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgard.common.errors import ServiceError, UsageError
from asgard.common.names import check_identifier
from asgard.common.settings import Settings
from asgard.model.lifecycle import Ledger, Stage, Transition, TransitionKind, Version
from asgard.model.mlflow_access.client import in_words

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

TAG = "asgard.ledger"
"""Tag of a registered model: the id of the run that contains its ledger."""
EXPERIMENT = "asgard-ledgers"
_FORMAT = 1
_LONGEST = 5_500
"""MLflow truncates a param's value at 6,000 characters."""


@dataclass(frozen=True)
class LedgerRun:
    """The ledger of one model."""

    client: "MlflowClient"
    settings: Settings
    name: str
    run_id: str

    def read(self) -> Ledger:
        """Read the ledger.

        Raises:
            ServiceError: MLflow failed, or a newer Asgard wrote the ledger.
        """
        with in_words(self.settings):
            params = self.client.get_run(self.run_id).data.params
        return Ledger.of(self._entries(params))

    def append(self, entry: Transition) -> bool:
        """Write the next transition; returns False if somebody else took its number.

        Raises:
            UsageError: the entry's texts are too long.
            ServiceError: MLflow failed, and the entry was not written.
        """
        key, value = _key(entry.number), encode(entry)
        if len(value) > _LONGEST:
            raise UsageError(
                f"The reason has {len(entry.why):,} characters, too many for an entry of the ledger.",
                hint="Shorten it to a sentence, with a link to more.",
            )
        try:
            with in_words(self.settings):
                self.client.log_param(self.run_id, key, value)
        except ServiceError:  # refused as taken, or the answer was lost: read the ledger
            with in_words(self.settings):
                stored = self.client.get_run(self.run_id).data.params.get(key)
            if stored is None:
                raise
            return bool(stored == value)
        return True

    def _entries(self, params: dict[str, str]) -> Iterator[Transition]:
        number = 1
        while (text := params.get(_key(number))) is not None:
            yield self._decode(number, text)
            number += 1

    def _decode(self, number: int, text: str) -> Transition:
        try:
            return decode(number, text)
        except (ValueError, KeyError, TypeError, UsageError) as error:
            raise ServiceError(
                f"Transition {number} of model {self.name} can't be read: {error}.",
                hint=f"It is param {_key(number)} of MLflow's run {self.run_id}. Did a newer Asgard write it?",
            ) from error


def encode(entry: Transition) -> str:
    """Encode a transition as a param's value."""
    raw = {"format": _FORMAT, **entry.to_json(), "token": entry.token}
    return json.dumps(raw, ensure_ascii=False, separators=(",", ":"))


def decode(number: int, text: str) -> Transition:
    """Decode what `encode` returned.

    Raises:
        ValueError, KeyError, TypeError, UsageError: the text is not an encoded transition.
    """
    raw: dict[str, Any] = json.loads(text)
    if raw.pop("format") != _FORMAT or raw["number"] != number:
        raise ValueError("its format is unknown")
    known = {"version": Version.parse(raw["version"]), "to": Stage(raw["to"]), "kind": TransitionKind(raw["kind"])}
    return Transition(**{**raw, **known})


def find(client: "MlflowClient", settings: Settings, name: str) -> LedgerRun | None:
    """Find the ledger of a model; None if the model does not exist.

    Raises:
        UsageError: the name is not a valid model name, or MLflow has a model of this name that is not Asgard's.
        ServiceError: MLflow failed.
    """
    from mlflow.exceptions import MlflowException

    check_identifier(name, "name of a model")
    with in_words(settings):
        try:
            tags = client.get_registered_model(name).tags
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
    if TAG not in tags:
        raise UsageError(
            f"MLflow's registered model {name} was not made by Asgard.",
            hint=f"Use another name; or, if its tag {TAG} was lost, restore it: its value is the id of the run in "
            f"experiment {EXPERIMENT} named {name}.",
        )
    return LedgerRun(client, settings, name, tags[TAG])


def find_or_create(client: "MlflowClient", settings: Settings, name: str) -> LedgerRun:
    """Find the ledger of a model, or create it; see `find`."""
    run = find(client, settings, name)
    if run is not None:
        return run
    run_id = create(client, settings, name)
    made = LedgerRun(client, settings, name, run_id) if run_id else find(client, settings, name)
    if made is None:
        raise ServiceError(
            f"MLflow refused to create model {name} because it exists, but does not find it.",
            hint="Was it deleted just now?",
        )
    return made


def create(client: "MlflowClient", settings: Settings, name: str) -> str | None:
    """Create a model's ledger, then the registered model itself; None if somebody else was first.

    Raises:
        ServiceError: MLflow failed.
    """
    from mlflow.exceptions import MlflowException

    with in_words(settings):
        experiment = _experiment(client)
        run_id: str = client.create_run(experiment, run_name=name, tags={TAG: name}).info.run_id
        client.set_terminated(run_id)
        try:
            client.create_registered_model(name, tags={TAG: run_id})
        except MlflowException as error:
            client.delete_run(run_id)
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return None
    return run_id


def _experiment(client: "MlflowClient") -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        try:
            return str(client.create_experiment(EXPERIMENT))
        except MlflowException:  # somebody else created it concurrently
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                raise
    return str(experiment.experiment_id)


def _key(number: int) -> str:
    return f"t{number:06}"
