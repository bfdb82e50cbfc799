"""A model in the registry: all of its versions, and what its ledger records about them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from asgard.common.errors import ArtifactError, ConflictError, UsageError
from asgard.model.ledger.projection import MlflowState
from asgard.model.lifecycle import Ledger, Stage, Version
from asgard.model.versions import BINDING, METRICS, Binding, ModelVersion, facts_sha256


@dataclass(frozen=True)
class RegisteredModel:
    """A model with all of its versions, and its ledger.

    Attributes:
        versions: versions whose facts are as registered, oldest first.
        damaged: the other versions: their `problem` says why; they have no binding and no metrics.
    """

    name: str
    ledger: Ledger
    versions: tuple[ModelVersion, ...]
    damaged: tuple[ModelVersion, ...] = ()

    @classmethod
    def of(cls, name: str, ledger: Ledger, shown: MlflowState) -> "RegisteredModel":
        """Build a model from its ledger and MLflow's tags."""
        versions = [
            version_of(name, version, ledger, shown.versions[number].run_id or "", shown.versions[number].tags)
            for version, number in ledger.mlflow_versions.items()
            if number in shown.versions
        ]
        intact, damaged = (
            tuple(each for each in versions if bool(each.problem) is is_damaged) for is_damaged in (False, True)
        )
        return cls(name, ledger, intact, damaged)

    @property
    def everything(self) -> tuple[ModelVersion, ...]:
        """All versions, damaged ones too, oldest first."""
        return tuple(sorted((*self.versions, *self.damaged), key=lambda each: each.version))

    def version(self, version: Version) -> ModelVersion:
        """Find one version by its number.

        Raises:
            UsageError: the version does not exist.
            ArtifactError: its facts differ from those that were registered.
        """
        return require_intact(self._known(version))

    @property
    def production(self) -> ModelVersion | None:
        """The version in Production, even if it is damaged."""
        return next((each for each in self.everything if each.stage is Stage.PRODUCTION), None)

    def require_production(self, expect: str) -> None:
        """Verify what is in Production: the expected version, `none`, or "" for anything.

        Raises:
            ConflictError: Production has another version.
            UsageError: `expect` is not a version.
        """
        wanted = None if expect.lower() == "none" else Version.parse(expect) if expect else self.ledger.production
        if self.ledger.production != wanted:
            raise ConflictError(
                f"Production of {self.name} is {self.ledger.production or 'none'}, not {expect}: nothing was moved.",
                hint="Somebody moved it since you looked: check the stages, and decide again.",
            )

    def choose(self, what: str) -> ModelVersion:
        """Find one version: by its number, its stage, `latest`, or "" for the one in Production, or else the latest.

        Raises:
            UsageError: the version does not exist, or the stage has several.
            ArtifactError: its facts differ from those that were registered.
        """
        return require_intact(self.look(what))

    def look(self, what: str) -> ModelVersion:
        """Like `choose`, to show or archive a version: also finds a damaged one.

        Raises:
            UsageError: the version does not exist, or the stage has several.
        """
        everything = self.everything
        if not what or what.lower() == "latest":
            newest = everything[-1] if everything else None
            chosen = newest if what else self.production or newest
            if chosen is None:
                raise UsageError(f"Model {self.name} has no version yet.", hint="`asgard train` registers one.")
            return chosen
        if what[0].isdigit():
            return self._known(Version.parse(what))
        stage = Stage.parse(what)
        in_stage = [each for each in everything if each.stage is stage]
        if len(in_stage) == 1:
            return in_stage[0]
        if in_stage and stage is Stage.STAGING and self.ledger.staging:
            return self._known(self.ledger.staging)
        count = f"{len(in_stage)} versions" if in_stage else "no version"
        raise UsageError(f"Model {self.name} has {count} in {stage}.", hint=f"Name one: {self._have()}.")

    def _known(self, version: Version) -> ModelVersion:
        match = next((each for each in self.everything if each.version == version), None)
        if match is None:
            raise UsageError(f"Model {self.name} has no version {version}.", hint=f"Existing versions: {self._have()}.")
        return match

    def _have(self) -> str:
        newest = reversed(self.everything[-10:])
        return ", ".join(f"{each.version} ({each.stage})" for each in newest) or "none yet"


def version_of(name: str, version: Version, ledger: Ledger, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
    """Build a version from its ledger and its tags; the tags count only if they are unchanged since registration."""
    born = ledger.steps_of(version)[0].transition
    binding, metrics, problem = Binding(), {}, ""
    try:
        if facts_sha256(tags) == born.facts_sha256:
            binding, metrics = Binding.from_json(json.loads(tags[BINDING])), json.loads(tags[METRICS])
        else:
            problem = f"The metrics or the binding of {name}@{version} differ from those that were registered"
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        problem = f"What {name}@{version} is bound to can't be read; a newer Asgard may have registered it: {error}"
    return ModelVersion(
        name=name,
        version=version,
        mlflow_version=ledger.mlflow_versions[version],
        stage=ledger.stages[version],
        run_id=run_id,
        created=born.when,
        created_by=born.who,
        sha256=born.sha256,
        binding=binding,
        metrics=metrics,
        problem=problem,
    )


def require_intact(version: ModelVersion) -> ModelVersion:
    """Refuse a version whose facts can't be trusted.

    Raises:
        ArtifactError: its tags differ from their digest in the ledger.
    """
    if version.problem:
        raise ArtifactError(
            f"{version.problem}.",
            hint=f"Who edited {BINDING} or {METRICS} of version {version.mlflow_version} in MLflow? Restore them, or "
            "archive it and train again.",
        )
    return version
