"""Facts about models: versions with their tests, a pipeline's models in MLflow, and published predictions."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from asgard.common.errors import AsgardError
from asgard.common.names import SnapshotId, TableName
from asgard.common.settings import Settings
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.model.batch.request import predictions_of
from asgard.model.batch.scope import Scope, scope_columns
from asgard.model.batch.table import SCORE
from asgard.model.declaration import Model
from asgard.model.metrics import Curves
from asgard.model.mlflow_access.client import in_words
from asgard.model.mlflow_access.pages import run_page, version_page
from asgard.model.registry import Registry
from asgard.model.training.tracking import read_json
from asgard.model.versions import ModelVersion, finite

if TYPE_CHECKING:
    import pandas

TOP = 5


@dataclass(frozen=True)
class Evaluated:
    """A version, and the test results of its training run.

    Attributes:
        outcome_after: how long after its time a label's outcome becomes known, as declared.
    """

    version: ModelVersion
    metrics: Mapping[str, float] = field(hash=False)
    baseline: Mapping[str, float] = field(hash=False)
    importance: Mapping[str, float] = field(hash=False)
    curves: Curves | None
    outcome_after: timedelta = timedelta()

    @classmethod
    def read(cls, registry: Registry, version: ModelVersion, outcome_after: timedelta) -> "Evaluated":
        """Read the MLflow run that trained the version.

        Raises:
            ServiceError: the run lacks a file of results.
        """
        found = read_json(registry.client, registry.settings, version.run_id, "evaluation.json")
        curves = Curves.from_json(found["curves"]) if found["curves"] else None
        return cls(version, found["metrics"], found["baseline"], found["importance"], curves, outcome_after)

    @property
    def test_from(self) -> datetime:
        """The beginning of its test."""
        return datetime.fromisoformat(self.version.binding.details["test_from"])

    @property
    def left_out(self) -> int:
        """Number of labels that are neither for training nor for the test."""
        details = self.version.binding.details
        return int(details["rows"] - details["train_rows"] - details["test_rows"])

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **self.version.to_json(),
            "metrics": finite(dict(self.metrics)),
            "baseline": finite(dict(self.baseline)),
            "importance": finite(dict(self.importance)),
            "left_out": self.left_out,
        }


@dataclass(frozen=True)
class RegisteredModelFact:
    """A declared model, and its versions in MLflow.

    Attributes:
        versions: newest first.
        tested: the version in Production, or else the latest; None if there is none.
        remark: what could not be read, in words.
        pages: URL of each version's MLflow page, by the version's name; empty if MLflow is not a server.
        run_page: URL of the MLflow page of the run that trained the tested version; "" for none.
    """

    declared: Model
    predictions: TableName
    versions: tuple[ModelVersion, ...] = ()
    tested: Evaluated | None = None
    remark: str = ""
    pages: Mapping[str, str] = field(default_factory=dict, hash=False)
    run_page: str = ""

    @property
    def name(self) -> str:
        """The name of the model."""
        return self.declared.name


@dataclass(frozen=True)
class RegistryFacts:
    """The models of a pipeline.

    Attributes:
        remark: why MLflow could not be read; "" if it answered, or if nothing had to be read.
    """

    models: tuple[RegisteredModelFact, ...] = ()
    remark: str = ""


def gather_models(settings: Settings, pipeline: Pipeline) -> RegistryFacts:
    """Read from MLflow the models that a pipeline declares; what can't be read becomes a remark."""
    declared = [each for each in pipeline.extras if isinstance(each, Model)]
    if not declared:
        return RegistryFacts()
    try:
        registry = Registry.of(settings)
        registered = set(registry.names())
    except AsgardError as error:
        return RegistryFacts(
            tuple(RegisteredModelFact(each, predictions_of(each.name)) for each in declared), error.message
        )
    return RegistryFacts(tuple(_registered(registry, each, is_there=each.name in registered) for each in declared))


def _registered(registry: Registry, declared: Model, *, is_there: bool) -> RegisteredModelFact:
    table = predictions_of(declared.name)
    if not is_there:
        return RegisteredModelFact(declared, table)
    try:
        model = registry.model(declared.name)
    except AsgardError as error:
        return RegisteredModelFact(declared, table, remark=error.message)
    versions = tuple(reversed(model.everything))
    chosen = model.production or next(iter(versions), None)
    uri = registry.settings.mlflow
    pages = {str(each): version_page(uri, each.name, each.mlflow_version) for each in versions}
    fact = RegisteredModelFact(declared, table, versions, pages={name: page for name, page in pages.items() if page})
    if chosen is None:
        return fact
    remark, page, tested = "", "", Evaluated(chosen, chosen.metrics, {}, {}, None, declared.split.outcome_after)
    try:
        with in_words(registry.settings):
            experiment = registry.client.get_run(chosen.run_id).info.experiment_id
        page = run_page(uri, experiment, chosen.run_id)
        tested = Evaluated.read(registry, chosen, declared.split.outcome_after)
    except AsgardError as error:
        remark = f"The test of {chosen} can't be shown: {error.message}"
    return replace(fact, tested=tested, remark=chosen.problem or remark, run_page=page)


@dataclass(frozen=True)
class Predictions:
    """The published predictions of a version.

    Attributes:
        keys: columns that name an entity.
        rows: keys, score and origin; the greatest score first.
    """

    table: TableName
    snapshot_id: SnapshotId
    keys: tuple[str, ...]
    rows: "pandas.DataFrame" = field(hash=False, compare=False)

    @classmethod
    def read(cls, lake: Lakehouse, ref: str, version: ModelVersion, feature_snapshot: str) -> "Predictions | None":
        """Read the predictions of a version at the snapshots of its features; None if there are none.

        Args:
            lake: the lakehouse with the predictions.
            ref: a branch, or `name@hash`.
            version: the version that predicted.
            feature_snapshot: value of the table's column of that name.
        """
        from pyiceberg.expressions import And, EqualTo

        table = TableName("gold", f"{version.name}_predictions")
        content = lake.nessie.content(ref, table)
        if content is None:
            return None
        wanted = And(
            EqualTo("model_version", str(version.version)),  # type: ignore[arg-type, call-arg, unused-ignore]
            EqualTo("feature_snapshot", feature_snapshot),  # type: ignore[arg-type, call-arg, unused-ignore]
        )
        state = TableState.load(content.metadata_location, lake.settings)
        rows = state.scan().filter(wanted).to_pandas()
        if rows.empty:
            return None
        names = [str(name) for name in rows.columns]
        keys = tuple(names[: names.index(SCORE)])
        ordered = rows.sort_values([SCORE, *keys], ascending=[False, *(True for _ in keys)], ignore_index=True)
        return cls(table, content.snapshot_id, keys, ordered)

    @property
    def is_whole(self) -> bool:
        """Whether the version predicted every entity: in a run over all of them, without a challenger."""
        scopes = self.rows[list(scope_columns(self.rows.columns))].drop_duplicates()
        rows = ({str(name): value for name, value in row.items()} for row in scopes.to_dict("records"))
        return any(Scope.of_row(row).is_whole for row in rows)

    @property
    def mean(self) -> float:
        """The mean of all scores."""
        return float(self.rows[SCORE].mean())

    @property
    def as_of(self) -> datetime:
        """The time as of which features were read."""
        moment: datetime = self.rows["features_as_of"].iloc[0].to_pydatetime()
        return moment

    def top(self, count: int = TOP) -> list[dict[str, Any]]:
        """The entities with the greatest scores."""
        found: list[dict[str, Any]] = self.rows[[*self.keys, SCORE]].head(count).to_dict("records")  # type: ignore[assignment]
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "table": str(self.table),
            "snapshot_id": self.snapshot_id,
            "rows": len(self.rows),
            "mean": self.mean,
            "as_of": self.as_of.isoformat(),
            "run_id": str(self.rows["run_id"].iloc[0]),
            "top": self.top(),
        }


@dataclass(frozen=True)
class ModelFacts:
    """Everything that the report shows of models.

    Attributes:
        tested: the versions; the chosen one first.
        predictions: predictions of the chosen version.
    """

    tested: tuple[Evaluated, ...]
    predictions: Predictions

    @property
    def chosen(self) -> Evaluated:
        """The version in Production."""
        return self.tested[0]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "versions": [each.to_json() for each in self.tested],
            "production": str(self.chosen.version),
            "predictions": self.predictions.to_json(),
        }
