"""The registry of models: MLflow's registry, plus versions, stages and digests that can't be overwritten.

The last writer overwrites MLflow's tags and aliases. So every move is a transition in a ledger that accepts each number
once (`ledger/ledger_run.py`, `ledger/transitions.py`), checked by rules without I/O (`lifecycle.py`). Tags and aliases
follow the ledger, and the tags with a version's facts are verified against a digest in it (`ledger/registered.py`).
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asgard.common.errors import ArtifactError, UsageError
from asgard.common.failpoints import failpoint
from asgard.common.settings import Settings
from asgard.model.gates import Gate, PromotionFacts, require_all
from asgard.model.ledger import ledger_run
from asgard.model.ledger import transitions as moves
from asgard.model.ledger.ledger_run import LedgerRun
from asgard.model.ledger.model_files import download, upload
from asgard.model.ledger.projection import MlflowState, is_behind, try_to_bring_up_to_date
from asgard.model.ledger.registered import RegisteredModel, require_intact, version_of
from asgard.model.ledger.transitions import Move
from asgard.model.lifecycle import Stage, TransitionKind, Version, next_version
from asgard.model.mlflow_access.client import connect, in_words
from asgard.model.versions import Binding, ModelVersion, facts_sha256, facts_tags, split_name

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from asgard.model.artifacts.artifact import Artifact
    from asgard.model.artifacts.signature import Signature

_LONGEST_TAG = 100_000
Audit = Callable[[ModelVersion], Sequence[str]]
"""Returns the problems with the published data that a version is bound to."""
_Signatures = dict[str, "Signature | None"]
"""Signatures already fetched, by the SHA-256 of their version."""


class Registry:
    """Asgard's access to MLflow's registry.

    Args:
        settings: name the MLflow server and the user who moves versions.
        client: client of that MLflow server.
    """

    def __init__(self, settings: Settings, client: "MlflowClient") -> None:
        self.settings = settings
        self.client = client

    @classmethod
    def of(cls, settings: Settings) -> "Registry":
        """The registry that the settings name.

        Raises:
            SettingsError: the settings name no registry.
            ServiceUnreachableError: the registry does not answer.
        """
        return cls(settings, connect(settings))

    def names(self) -> list[str]:
        """The models that Asgard registered."""
        names: list[str] = []
        page: str | None = None
        with in_words(self.settings):
            while page != "":
                models = self.client.search_registered_models(max_results=100, page_token=page)
                names += [each.name for each in models if ledger_run.TAG in each.tags]
                page = models.token or ""
        return sorted(names)

    def model(self, name: str) -> RegisteredModel:
        """A model with its versions; also repairs MLflow's tags and aliases if a killed process left them outdated.

        Raises:
            UsageError: there is no such model.
        """
        return self._open(name)[1]

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """A model's versions, oldest first, without damaged ones; see `model`."""
        return self.model(name).versions

    def find(self, text: str) -> ModelVersion:
        """Find one version by the name that a person gives.

        Args:
            text: `churn@1.2.0`, `churn@production` (also staging), `churn@latest`, or `churn`: the version in
                Production, or else the latest.

        Raises:
            UsageError: the model, version or stage does not exist; or the stage has no version, or several.
            ArtifactError: its metrics or its binding are not those that were registered.
        """
        name, what = split_name(text)
        return self.model(name).choose(what)

    def register(
        self,
        name: str,
        folder: Path,
        run_id: str,
        binding: Binding,
        metrics: Mapping[str, float],
        *,
        bump: str = "",
        why: str = "",
        hold: Callable[[Version], None] = lambda _version: None,
    ) -> ModelVersion:
        """Register a trained model, in stage None.

        Args:
            name: name of the model.
            folder: folder of its artifact, with its manifest.
            run_id: the MLflow run that trained it.
            binding: record of what it was made from.
            metrics: metrics of its test.
            bump: `major`, `minor`, `patch` or a version; by default what the changes require.
            why: the reason, in words.
            hold: holds the data that the version needs; called with the version number before the number is taken.

        Raises:
            ArtifactError: the folder does not match its manifest.
            UsageError: the model needs code that other processes can't import; or the requested version does not come
                after the latest.
            ServiceError: MLflow failed.
        """
        from asgard.model.artifacts.artifact import MANIFEST, Artifact, hash_of, require_portable

        manifest = folder / MANIFEST
        artifact = Artifact.read(folder, hash_of(manifest.read_bytes()) if manifest.is_file() else "")
        require_portable(artifact)
        tags = {**facts_tags(binding, metrics), "artifact.sha256": artifact.sha256}
        for tag, value in tags.items():
            if len(value) > _LONGEST_TAG:
                raise UsageError(
                    f"What {name} is bound to has {len(value):,} characters (tag {tag}); MLflow keeps at most 100,000.",
                    hint="Keep the details of the training in a file of its run.",
                )
        run = ledger_run.find_or_create(self.client, self.settings, name)
        with in_words(self.settings):
            number = upload(self.client, name, folder, run_id, str(artifact.spec.format), tags)
        fetched: _Signatures = {}
        while True:
            model = self._model(run)
            version = self._next(model, artifact, binding, bump, fetched)
            hold(version)
            entry = moves.propose(
                run,
                model.ledger,
                TransitionKind.REGISTER,
                version,
                Stage.NONE,
                why,
                mlflow_version=number,
                sha256=artifact.sha256,
                facts_sha256=facts_sha256(tags),
            )
            failpoint("before-model-transition")
            if run.append(entry):
                break
        ledger = model.ledger.then(entry)
        try_to_bring_up_to_date(run, ledger)
        return version_of(name, version, ledger, run_id, tags)

    def move(
        self,
        name: str,
        version: Version,
        to: Stage,
        *,
        why: str = "",
        expect: str = "",
        gates: Sequence[Gate] = (),
        audit: Audit = lambda _version: (),
    ) -> Move:
        """Promote or archive a version; if it is already in that stage, nothing changes and the result reports it.

        Args:
            name: name of the model.
            version: the version to move.
            to: its new stage.
            why: the reason, in words.
            expect: the version in Production as the caller saw it, or `none`; "" for any.
            gates: called before a promotion; not called if the move is illegal.
            audit: returns problems with the version's data, for the gates.

        Raises:
            UsageError: the version does not exist, or no rule allows the move.
            PromotionRefusedError: a gate refuses.
            ConflictError: somebody else changed the stages that this move depends on.
            ArtifactError: a byte of the version's files differs from its manifest, or its metrics or binding from what
                was registered. Such a version can still be archived.
        """
        run, model = self._open(name)
        current = model.look(str(version))
        if current.stage is to:
            return Move(current, None)
        model.require_production(expect)
        kind = TransitionKind.ARCHIVE if to is Stage.ARCHIVED else TransitionKind.PROMOTE
        moves.propose(run, model.ledger, kind, version, to, why)
        if kind is TransitionKind.PROMOTE:
            require_intact(current)
            if gates:
                require_all(gates, self._facts(model, current, to, audit))
        entry, archived = moves.write(run, model.ledger, kind, version, to, why, relies_on_production=bool(expect))
        return Move(replace(current, stage=to), entry, archived)

    def rollback(
        self,
        name: str,
        to: Version | None = None,
        *,
        why: str = "",
        expect: str = "",
        prepare: Callable[[ModelVersion], None] = lambda _version: None,
    ) -> Move:
        """Move an archived version back to Production, after verifying all of its bytes.

        Args:
            name: name of the model.
            to: the version; None for the version that left Production last.
            why: the reason, in words.
            expect: as in `move`.
            prepare: holds and verifies the version's feature snapshots, or raises.

        Raises:
            UsageError: the model has no version to go back to.
            ArtifactError: a byte of its files differs from its manifest, or its facts from what was registered.
            ConflictError: somebody else changed the stages that this rollback depends on.
        """
        run, model = self._open(name)
        version = to or model.ledger.predecessor
        if version is None:
            raise UsageError(
                f"Model {name} has no version to go back to.",
                hint="A rollback restores an archived version that was in Production before.",
            )
        current = model.version(version)
        if current.stage is Stage.PRODUCTION:
            return Move(current, None)
        model.require_production(expect)
        moves.propose(run, model.ledger, TransitionKind.ROLLBACK, version, Stage.PRODUCTION, why)
        self.artifact(current)
        prepare(current)
        entry, archived = moves.write(run, model.ledger, TransitionKind.ROLLBACK, version, Stage.PRODUCTION, why)
        return Move(replace(current, stage=Stage.PRODUCTION), entry, archived)

    def download(self, version: ModelVersion, folder: Path) -> "Artifact":
        """Download the files of a version into a new folder, and verify all of their bytes.

        Raises:
            ArtifactError: a file differs from the manifest, is missing, or is not in the manifest.
            ServiceError: MLflow failed.
        """
        with in_words(self.settings):
            path = download(self.client, version, folder)
        from asgard.model.artifacts.artifact import Artifact

        return Artifact.read(path, version.sha256)

    def artifact(self, version: ModelVersion) -> "Artifact":
        """The verified bytes of a version, in memory; see `download`."""
        with tempfile.TemporaryDirectory(prefix="asgard-model-") as folder:
            return self.download(version, Path(folder) / "model")

    def _open(self, name: str) -> tuple[LedgerRun, RegisteredModel]:
        run = ledger_run.find(self.client, self.settings, name)
        if run is None:
            names = ", ".join(self.names()) or "none yet; `asgard train` registers one"
            raise UsageError(f"There is no model {name!r}.", hint=f"Registered models: {names}.")
        return run, self._model(run)

    def _model(self, run: LedgerRun) -> RegisteredModel:
        ledger, shown = run.read(), MlflowState.of(self.client, self.settings, run.name)
        if is_behind(ledger, shown):
            try_to_bring_up_to_date(run, ledger, shown)
            ledger, shown = run.read(), MlflowState.of(self.client, self.settings, run.name)
        return RegisteredModel.of(run.name, ledger, shown)

    def _next(
        self, model: RegisteredModel, artifact: "Artifact", binding: Binding, bump: str, fetched: _Signatures
    ) -> Version:
        if bump or not model.everything:
            return next_version(model.ledger.latest, bump)
        from asgard.model.artifacts.signature import breaks

        newest = model.everything[-1]
        if newest.sha256 not in fetched:
            fetched[newest.sha256] = self._signature(newest)
        before, after = fetched[newest.sha256], artifact.spec.signature
        views = [[(each.view, each.version) for each in bound.views] for bound in (newest.binding, binding)]
        return next_version(
            model.ledger.latest,
            features_changed=before is None
            or bool(newest.problem)
            or before.inputs != after.inputs
            or views[0] != views[1],
            signature_broken=before is not None and bool(breaks(before, after)),
        )

    def _signature(self, version: ModelVersion) -> "Signature | None":
        """A version's signature; None if its files can't be trusted, which must not block a better version."""
        try:
            return self.artifact(version).spec.signature
        except ArtifactError:
            return None

    def _facts(self, model: RegisteredModel, version: ModelVersion, to: Stage, audit: Audit) -> PromotionFacts:
        champion = model.production
        return PromotionFacts(
            name=model.name,
            version=version.version,
            to=to,
            binding=version.binding,
            metrics=version.metrics,
            signature=self.artifact(version).spec.signature,
            production=champion.version if champion else None,
            production_metrics=champion.metrics if champion else {},
            production_signature=self._signature(champion) if champion else None,
            audit=tuple(audit(version)),
        )
