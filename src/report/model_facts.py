"""What is known of models: versions with their tests, and the predictions that one published."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from asgard.common.names import SnapshotId, TableName
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.model.batch.scope import Scope, scope_columns
from asgard.model.batch.table import SCORE
from asgard.model.metrics import Curves
from asgard.model.registry import Registry
from asgard.model.training.tracking import read_json
from asgard.model.versions import ModelVersion, finite

if TYPE_CHECKING:
    import pandas

TOP = 5


@dataclass(frozen=True)
class Evaluated:
    """A version, and what its training run says of its test.

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
        """From the run in MLflow that trained the version.

        Raises:
            ServiceError: it has no such file.
        """
        found = read_json(registry.client, registry.settings, version.run_id, "evaluation.json")
        curves = Curves.from_json(found["curves"]) if found["curves"] else None
        return cls(version, found["metrics"], found["baseline"], found["importance"], curves, outcome_after)

    @property
    def test_from(self) -> datetime:
        """When its test begins."""
        return datetime.fromisoformat(self.version.binding.details["test_from"])

    @property
    def left_out(self) -> int:
        """Labels that are neither for training nor for the test."""
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
class Predictions:
    """What a version said of the entities, as published.

    Attributes:
        keys: columns that name an entity.
        rows: keys, score, and where they come from; the greatest score first.
    """

    table: TableName
    snapshot_id: SnapshotId
    keys: tuple[str, ...]
    rows: "pandas.DataFrame" = field(hash=False, compare=False)

    @classmethod
    def read(cls, lake: Lakehouse, ref: str, version: ModelVersion, feature_snapshot: str) -> "Predictions | None":
        """Those of a version at the snapshots of its features; None if there are none.

        Args:
            lake: where they are.
            ref: a branch, or `name@hash`.
            version: whose.
            feature_snapshot: as in the table's column.
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
        rows = state.table.scan(row_filter=wanted).to_pandas()
        if rows.empty:
            return None
        names = [str(name) for name in rows.columns]
        keys = tuple(names[: names.index(SCORE)])
        ordered = rows.sort_values([SCORE, *keys], ascending=[False, *(True for _ in keys)], ignore_index=True)
        return cls(table, content.snapshot_id, keys, ordered)

    @property
    def is_whole(self) -> bool:
        """Whether the version predicted every entity: in a run over all of them, in which nobody challenged."""
        said = self.rows[list(scope_columns(self.rows.columns))].drop_duplicates()
        rows = ({str(name): value for name, value in row.items()} for row in said.to_dict("records"))
        return any(Scope.of_row(row).is_whole for row in rows)

    @property
    def mean(self) -> float:
        """Of all scores."""
        return float(self.rows[SCORE].mean())

    @property
    def as_of(self) -> datetime:
        """Features count as known then."""
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
        tested: versions; the chosen one first.
        predictions: of the chosen one.
    """

    tested: tuple[Evaluated, ...]
    predictions: Predictions

    @property
    def chosen(self) -> Evaluated:
        """The one in Production."""
        return self.tested[0]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "versions": [each.to_json() for each in self.tested],
            "production": str(self.chosen.version),
            "predictions": self.predictions.to_json(),
        }
