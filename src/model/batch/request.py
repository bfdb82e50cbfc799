"""The request of a batch prediction: versions, their features, and the entities."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from asgard.common.errors import UsageError
from asgard.common.names import TableName
from asgard.common.settings import REGISTERED
from asgard.features.pinned import PinnedView
from asgard.features.views import OnDemandFeature
from asgard.model.artifacts.artifact import Artifact
from asgard.model.batch.challenge import Side, require_share, require_splittable
from asgard.model.batch.entities import Entities
from asgard.model.batch.scope import Coverage, Scope
from asgard.model.metrics import Task
from asgard.model.versions import ModelVersion


def predictions_of(model: str) -> TableName:
    """The table of a model's predictions."""
    return TableName("gold", f"{model}_predictions")


@dataclass(frozen=True)
class Challenger:
    """A version that predicts a share of the entities instead of the champion.

    Attributes:
        version, artifact, views, on_demand: as in `PredictRequest`.
        share: share of the entities, from 0 to 1.
        salt: salt of the split; "" for the version's name, e.g. `churn@1.2.0`.
    """

    version: ModelVersion
    artifact: Artifact
    views: tuple[PinnedView, ...]
    on_demand: tuple[OnDemandFeature, ...]
    share: float
    salt: str = ""

    @property
    def used_salt(self) -> str:
        """The given salt, or else the version's name."""
        return self.salt or str(self.version)


@dataclass(frozen=True)
class PredictRequest:
    """Which entities to predict, by which version, from which features.

    Attributes:
        version, artifact: the model's version and artifact; the artifact's bytes were verified.
        views: the model's views, pinned, in its order.
        on_demand: on-demand functions that the model was trained with.
        moment: time as of which features are read; None: the latest event timestamp of the views.
        entities: the entities to predict; None: all.
        where: SQL condition on keys and features.
        top: number of greatest rows, by `by`, to predict; None: all.
        by: `score`, or a feature.
        max_mean_shift: how far the mean may differ from the last run's, as a share of it.
        min_volume: least number of predictions that are not null, as a share of the last run's.
        max_null_rise: how much the share of null predictions may rise since the last run, 0 to 1.
        challenger: version that predicts a share of the entities instead; None: no challenger.
        read_as_of: the state that the views' tables are read at, as it was given; "registered" for that of the views.
    """

    version: ModelVersion
    artifact: Artifact
    views: tuple[PinnedView, ...]
    on_demand: tuple[OnDemandFeature, ...] = ()
    moment: datetime | None = None
    entities: Entities | None = None
    where: str | None = None
    top: int | None = None
    by: str = "score"
    max_mean_shift: float = 0.5
    min_volume: float = 0.5
    max_null_rise: float = 0.1
    challenger: Challenger | None = None
    read_as_of: str = REGISTERED

    @property
    def table(self) -> TableName:
        """The table that the predictions are written to."""
        return predictions_of(self.version.name)

    @property
    def task(self) -> Task:
        """The kind of prediction."""
        return Task(self.artifact.spec.signature.task)

    @property
    def nullable(self) -> bool:
        """Whether a prediction may be null, because the model does not know the row's segment."""
        return any(each.artifact.spec.signature.nullable for each in self.sides.values())

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that name an entity, over all views."""
        return tuple(dict.fromkeys(key for pinned in self.views for key in pinned.view.keys))

    @property
    def feature_snapshot(self) -> str:
        """The snapshots of the views' tables, in order, separated by commas."""
        states = dict.fromkeys((pinned.table.name, pinned.table.snapshot_id) for pinned in self.views)
        return ",".join(str(snapshot) for _, snapshot in states)

    @property
    def sides(self) -> Mapping[Side, "PredictRequest"]:
        """The request of each side, as if it were alone."""
        champion, other = replace(self, challenger=None), self.challenger
        if other is None:
            return {Side.CHAMPION: champion}
        challenger = replace(
            champion, version=other.version, artifact=other.artifact, views=other.views, on_demand=other.on_demand
        )
        return {Side.CHAMPION: champion, Side.CHALLENGER: challenger}

    @property
    def chosen(self) -> str:
        """Which entities are requested, in words; "" for all of them."""
        parts = [f"entities of {self.entities.name}"] if self.entities else []
        parts += [f"where {self.where}"] if self.where else []
        parts += [f"top {self.top} by {self.by}"] if self.top else []
        return ", ".join(parts)

    @property
    def coverage(self) -> Coverage:
        """Whether all entities are requested, or some."""
        return Coverage.SOME if self.chosen else Coverage.ALL

    @property
    def scope(self) -> Scope:
        """The requested entities, and the challenger."""
        return self._scope("all", completes=False)

    @property
    def rest_scope(self) -> Scope:
        """Like `scope`, for a run that completes earlier predictions."""
        return self._scope("all that were not predicted yet", completes=True)

    def _scope(self, all_of_them: str, *, completes: bool) -> Scope:
        other = self.challenger
        version = str(other.version.version) if other else None
        text = self.chosen or all_of_them
        return Scope(
            self.coverage, version, completes, f"{text}, challenger {version} {other.share:g}" if other else text
        )

    @property
    def columns(self) -> Mapping[str, str]:
        """Keys, features and on-demand features of the rows to score, with their types."""
        types = dict(self.key_types)
        types |= {each.name: each.type for pinned in self.views for each in pinned.view.features}
        return types | {each.name: each.type for each in self.on_demand}

    @property
    def key_types(self) -> Mapping[str, str]:
        """Type of each key."""
        return {key: pinned.table.columns[key].type for pinned in self.views for key in pinned.view.keys}

    def require_fit(self) -> None:
        """Refuse a request that can't be predicted, before Spark starts.

        Raises:
            UsageError: the features differ from the signature, an option is invalid, or the challenger does not fit
                the champion.
        """
        for each in self.sides.values():
            each.artifact.spec.signature.require_columns(each.columns)
            if each.by != "score" and each.by not in each.columns:
                raise UsageError(f"--by is {each.by!r}.", hint=f"Use score, or one of {', '.join(each.columns)}.")
        if min(self.max_mean_shift, self.min_volume, self.max_null_rise) < 0:
            raise UsageError(
                "--max-mean-shift, --min-volume and --max-null-rise are shares of 0 or more.",
                hint="E.g. 0.5 for a half.",
            )
        if self.top is not None and self.top < 1:
            raise UsageError(f"--top is {self.top}.", hint="It must be 1 or more.")
        if self.top and self.by == "score" and self.task is Task.MULTICLASS:
            raise UsageError("The scores of several classes have no order.", hint="Pass a feature with --by.")
        if self.entities is not None:
            self.entities.require_there()
        if self.challenger is not None:
            _require_comparable(self, self.challenger)

    def known_at(self) -> datetime:
        """The moment as of which both sides read features: the given one, or that of the latest row of all views.

        Raises:
            UsageError: the views have no latest timestamp, and no moment is given.
        """
        if self.moment is not None:
            return self.moment
        views = [pinned for each in self.sides.values() for pinned in each.views]
        newest = [pinned.facts.last for pinned in views if pinned.facts and pinned.facts.last is not None]
        if not newest:
            raise UsageError("The views have no row with a timestamp.", hint="Pass --moment, or check the gold table.")
        return datetime.fromtimestamp(max(newest) / 1_000_000, UTC)

    def described(self, moment: datetime) -> dict[str, Any]:
        """The description of the prediction for the run's record."""
        other = self.challenger
        return {
            "moment": moment.isoformat(),
            "read_as_of": self.read_as_of,
            "scope": str(self.scope),
            "coverage": str(self.coverage),
            "split": {"share": other.share, "salt": other.used_salt, "keys": list(self.keys)} if other else None,
            "versions": [{"side": str(side), **each._version_described()} for side, each in self.sides.items()],
        }

    def _version_described(self) -> dict[str, Any]:
        return {
            "model": str(self.version),
            "sha256": self.version.sha256,
            "mlflow_run": self.version.run_id,
            "views": [
                {**pinned.describe(), "target": pinned.table.at.reference, "declared": pinned.view.to_json()}
                for pinned in self.views
            ],
            "on_demand": [each.name for each in self.on_demand],
        }


def _require_comparable(request: PredictRequest, challenger: Challenger) -> None:
    """Refuse a challenger whose predictions can't be in one table with the champion's."""
    champion, other = request.sides.values()
    require_share(challenger.share)
    if champion.version.version == other.version.version:
        raise UsageError(
            f"{champion.version} can't challenge itself.",
            hint="Pass another version with --challenger, or leave it out.",
        )
    one, two = champion.artifact.spec.signature, other.artifact.spec.signature
    if (one.task, one.classes) != (two.task, two.classes):
        raise UsageError(
            f"{champion.version} gives {_output(champion)}, {other.version} gives {_output(other)}: their "
            "predictions can't be in one table.",
            hint=f"`asgard model compare {champion.version} {other.version}` shows both; predict with each alone.",
        )
    if dict(champion.key_types) != dict(other.key_types):
        raise UsageError(
            f"{champion.version} names entities by {_keys(champion)}, {other.version} by {_keys(other)}.",
            hint="Predict with each alone, or train the challenger on views with the same keys.",
        )
    require_splittable(champion.key_types, request.keys)


def _output(request: PredictRequest) -> str:
    signature = request.artifact.spec.signature
    return f"{signature.task} of {', '.join(signature.classes)}" if signature.classes else str(signature.task)


def _keys(request: PredictRequest) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in request.key_types.items())
