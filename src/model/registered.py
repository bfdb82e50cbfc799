"""A model in the registry: all of its versions, and what its ledger says of them."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard.common.errors import ConflictError, ServiceError, UsageError
from asgard.model.lifecycle import Ledger, Stage, Version
from asgard.model.projection import Shown
from asgard.model.versions import Binding, ModelVersion

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion


@dataclass(frozen=True)
class RegisteredModel:
    """A model with all of its versions, oldest first, and its ledger."""

    name: str
    ledger: Ledger
    versions: tuple[ModelVersion, ...]

    @classmethod
    def of(cls, name: str, ledger: Ledger, shown: Shown) -> "RegisteredModel":
        """A model as its ledger says, with what MLflow's tags add to it."""
        found = [
            _version(name, version, ledger, shown.versions[number])
            for version, number in sorted(ledger.mlflow_versions.items())
            if number in shown.versions
        ]
        return cls(name, ledger, tuple(found))

    def version(self, version: Version) -> ModelVersion:
        """One of them.

        Raises:
            UsageError: there is no such version.
        """
        found = next((each for each in self.versions if each.version == version), None)
        if found is None:
            there = ", ".join(f"{each.version} ({each.stage})" for each in reversed(self.versions[-10:]))
            raise UsageError(f"Model {self.name} has no version {version}.", hint=f"There is: {there or 'none yet'}.")
        return found

    @property
    def production(self) -> ModelVersion | None:
        """The one in Production."""
        return next((each for each in self.versions if each.stage is Stage.PRODUCTION), None)

    def require_production(self, expect: str) -> None:
        """Make sure that what a person saw in Production is there: a version, `none`, or "" for whatever there is.

        Raises:
            ConflictError: it is not.
            UsageError: it is no version.
        """
        wanted = None if expect.lower() == "none" else Version.parse(expect) if expect else self.ledger.production
        if self.ledger.production != wanted:
            raise ConflictError(
                f"In Production of {self.name} is {self.ledger.production or 'none'}, not {expect}: nothing was moved.",
                hint="Somebody moved it since you looked; decide again from there.",
            )

    def choose(self, what: str) -> ModelVersion:
        """One version: by its number, its stage, `latest`, or "" for Production, or else the newest.

        Raises:
            UsageError: there is none such, or the stage has several.
        """
        if not what or what.lower() == "latest":
            newest = self.versions[-1] if self.versions else None
            found = newest if what else self.production or newest
            if found is None:
                raise UsageError(f"Model {self.name} has no version yet.", hint="`asgard train` registers one.")
            return found
        if what[0].isdigit():
            return self.version(Version.parse(what))
        stage = Stage.parse(what)
        there = [each for each in self.versions if each.stage is stage]
        if len(there) == 1:
            return there[0]
        if there and stage is Stage.STAGING and self.ledger.staging:
            return self.version(self.ledger.staging)
        have = ", ".join(f"{each.version} ({each.stage})" for each in reversed(self.versions[-10:])) or "none yet"
        count = f"{len(there)} versions" if there else "no version"
        raise UsageError(f"Model {self.name} has {count} in {stage}.", hint=f"Name one: {have}.")


def _version(name: str, version: Version, ledger: Ledger, shown: "MlflowVersion") -> ModelVersion:
    born = ledger.steps_of(version)[0].transition
    try:
        binding = Binding.from_json(json.loads(shown.tags.get("asgard.binding", "{}")))
        metrics = json.loads(shown.tags.get("asgard.metrics", "{}"))
    except (ValueError, TypeError, KeyError) as error:
        raise ServiceError(
            f"What {name}@{version} is bound to can't be read: {error}.",
            hint=f"Was a tag of version {shown.version} of MLflow's registered model {name} edited?",
        ) from error
    return ModelVersion(
        name=name,
        version=version,
        mlflow_version=str(shown.version),
        stage=ledger.stages[version],
        run_id=shown.run_id or "",
        created=born.when,
        created_by=born.who,
        sha256=born.sha256,
        binding=binding,
        metrics=metrics,
    )
