"""The demo's models: train them if necessary, promote the better one, and publish its predictions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from asgard.common.aliases import Say
from asgard.common.errors import RunError
from asgard.common.git_utils import CodeVersion
from asgard.common.names import SnapshotId
from asgard.features.function_digest import digest_of
from asgard.features.pinned import PinnedView
from asgard.features.register import registered_views
from asgard.jobs import batch_predict_job, train_job
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.model.batch.request import PredictRequest
from asgard.model.gates import BUILT_IN
from asgard.model.ledger.holds import problems_with_data, settle_holds
from asgard.model.lifecycle import Stage
from asgard.model.metrics import Metric
from asgard.model.provenance.learned_from import functions_of, pinned_views
from asgard.model.registry import Registry
from asgard.model.training.source import PipelineSource, code_of
from asgard.model.training.training import TrainRequest
from asgard.model.versions import ON_DEMAND_CODE, Binding, ModelVersion
from asgard.report.model_facts import Evaluated, ModelFacts, Predictions

MODELS = ("churn", "churn_linear")
DECISIVE = Metric.ROC_AUC


@dataclass(frozen=True)
class Modelled:
    """What a call did with the models, and their current state.

    Attributes:
        trained: versions that this call trained; the others existed before.
        promoted: whether this call promoted the chosen version.
        predicted: whether this call published the chosen version's predictions.
        facts: the models' current state.
    """

    trained: tuple[str, ...]
    promoted: bool
    predicted: bool
    facts: ModelFacts

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        did = {"trained": list(self.trained), "promoted": self.promoted, "predicted": self.predicted}
        return {**self.facts.to_json(), "this_call": did}


@dataclass(frozen=True)
class Origin:
    """What a training depends on; versions with equal origins are equivalent, so one of them is enough."""

    views: tuple[tuple[str, int, SnapshotId], ...]
    labels: SnapshotId | None
    code: CodeVersion
    params: str
    functions: str

    @classmethod
    def of(cls, binding: Binding) -> "Origin":
        """The origin of a registered version."""
        details = binding.details
        return cls(
            views=tuple((each.view, each.version, each.snapshot_id) for each in binding.views),
            labels=details.get("labels", {}).get("snapshot_id"),
            code=CodeVersion(binding.code_version, binding.dirty),
            params=_as_text(details.get("params"), details.get("seed")),
            functions=_as_text(details.get(ON_DEMAND_CODE)),
        )

    @classmethod
    def of_next(
        cls, request: TrainRequest, views: Sequence[PinnedView], labels: SnapshotId, code: CodeVersion
    ) -> "Origin":
        """The origin of a training that would start now."""
        return cls(
            views=tuple((each.name, each.view.version, each.table.snapshot_id) for each in views),
            labels=labels,
            code=code,
            params=_as_text(request.all_params, request.used_seed),
            functions=_as_text({each.name: digest_of(each) for each in request.on_demand}),
        )


def model(
    lake: Lakehouse, pipeline: Pipeline, source: PipelineSource, training: Mapping[str, Any], say: Say
) -> Modelled:
    """Train the models not yet trained on these snapshots by this code, promote the better one, predict with it.

    Args:
        lake: the lakehouse.
        pipeline: the pipeline that declares the models.
        source: the pipeline's files.
        training: manifest of the training set whose labels the models learn.
        say: called with one line about each step.

    Raises:
        AsgardError: a job failed.
    """
    registry, labels = Registry.of(lake.settings), training["labels"]
    requests = {name: TrainRequest.of(pipeline, name, source=source, labels_ref=labels["commit"]) for name in MODELS}
    registered = set(registry.names())
    tested, trained = [], []
    for name, request in requests.items():
        version = _trained_before(lake, registry, request, labels["snapshot_id"]) if name in registered else None
        if version is None:
            say(f"training {name}")
            version = train_job.run(request, lake, say).version
            trained.append(str(version))
        else:
            say(f"{version} was already trained on the same snapshots by the same code")
        tested.append(Evaluated.read(registry, version, request.model.split.outcome_after))
    best, *others = sorted(tested, key=lambda each: -each.metrics[DECISIVE])
    chosen = _promote(lake, registry, best, others, say)
    predictions, is_new = predict(lake, pipeline, chosen.version, say)
    facts = ModelFacts((chosen, *others), predictions)
    return Modelled(tuple(trained), chosen is not best, is_new, facts)


def _trained_before(
    lake: Lakehouse, registry: Registry, request: TrainRequest, labels: SnapshotId
) -> ModelVersion | None:
    """The version that a new training would only repeat: the one in Production, else the latest; None if none."""
    views = registered_views(lake, request.model.views)
    wanted = Origin.of_next(request, views, labels, code_of(request.source, lake.settings))
    same = [
        each
        for each in registry.versions(request.model.name)
        if each.stage is not Stage.ARCHIVED and Origin.of(each.binding) == wanted
    ]
    return max(same, key=lambda each: (each.stage is Stage.PRODUCTION, each.version), default=None)


def _promote(lake: Lakehouse, registry: Registry, best: Evaluated, others: Sequence[Evaluated], say: Say) -> Evaluated:
    """Promote the best version to Staging and Production, unless it is in Production."""
    version = best.version
    if version.stage is Stage.PRODUCTION:
        say(f"{version} is in Production already")
        return best
    beaten = ", ".join(f"{each.metrics[DECISIVE]:.3f} of {each.version}" for each in others)
    why = f"{DECISIVE} {best.metrics[DECISIVE]:.3f}, compared to {beaten}"
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        version = registry.move(
            version.name,
            version.version,
            stage,
            why=why,
            gates=BUILT_IN,
            audit=lambda each: problems_with_data(lake, each.binding),
        ).version
    settle_holds(lake, registry.model(version.name), lambda: registry.model(version.name), datetime.now(UTC))
    say(f"promoted {version} to staging and production: {why}")
    return replace(best, version=version)


def predict(
    lake: Lakehouse, pipeline: Pipeline, version: ModelVersion, say: Say, as_of: str | None = None
) -> tuple[Predictions, bool]:
    """Predict for every entity, unless the version already did so at the same snapshots.

    Args:
        lake: the lakehouse.
        pipeline: the pipeline that declares the model.
        version: the version that predicts.
        say: called with one line about each step.
        as_of: a branch whose tables are read; None reads the views at their registered snapshots.

    Returns:
        The published predictions, and whether this call published them.
    """
    request = PredictRequest(
        version=version,
        artifact=Registry.of(lake.settings).artifact(version),
        views=pinned_views(lake, version, as_of),
        on_demand=functions_of(version, pipeline),
    )
    predictions = Predictions.read(lake, lake.target, version, request.feature_snapshot)
    if predictions is not None and predictions.is_whole:
        say(f"{version} predicted {len(predictions.rows):,} rows of {predictions.table} before")
        return predictions, False
    done = batch_predict_job.run(request, lake, say)
    predictions = Predictions.read(lake, lake.target, version, request.feature_snapshot)
    if predictions is None:
        raise RunError(
            f"{request.table} has no prediction of {version}, but run {done.run.run_id} ended as {done.run.status}.",
            hint="This is a defect: report it.",
        )
    return predictions, True


def _as_text(*values: Any) -> str:
    return json.dumps(values, sort_keys=True, default=str)
