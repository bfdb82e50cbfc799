"""Batch prediction: each entity's latest features at one snapshot, scored by one verified version, published by a run.

Predictions of a version at a snapshot are written once: whoever predicts the same again adds what is missing, which is
mostly nothing. So a restart, or a second scheduler, doubles no row.
"""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.errors import UsageError
from asgard.common.names import TableName
from asgard.features.joining import Join
from asgard.features.latest import latest_frame
from asgard.features.pinned import PinnedTable, PinnedView
from asgard.features.spark_join import with_on_demand_frame
from asgard.features.views import OnDemandFeature
from asgard.lakehouse.attempt import Attempt
from asgard.lakehouse.declaration import Table, WriteMode, declare_table
from asgard.lakehouse.lake import Lakehouse
from asgard.lakehouse.run import RunRequest, RunResult, execute
from asgard.model.artifact import Artifact
from asgard.model.latency import Latency
from asgard.model.metrics import Task
from asgard.model.udf import score_frame
from asgard.model.versions import ModelVersion
from asgard.validation.checks import Check, between, mean_between, not_null, row_count, unique

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Observation, SparkSession

Say = Callable[[str], None]
SCORE = "prediction"
WHOLE = "all"
"""Scope of a run that predicted every entity."""
REST = "all that were not predicted yet"
"""Scope of a run that found some of them predicted."""
_SECONDS = "__seconds"
_ONCE = ("model_version", "feature_snapshot", "features_as_of")
"""What an entity is predicted once for."""


@dataclass(frozen=True)
class PredictRequest:
    """What to predict, by which version, from which features.

    Attributes:
        version, artifact: of the model; the artifact's bytes were verified.
        views: pinned, those of the model in its order.
        on_demand: functions over the views that the model learned from.
        moment: features count as known then; None: at the newest event timestamp of the views.
        entities: Parquet or CSV file with the keys of those to predict; None: all.
        where: SQL condition on keys and features.
        top: only so many of the greatest, by `by`.
        by: `score`, or a feature.
        max_mean_shift: how far the mean may be from the last run's, as a share of it.
        min_volume: rows that there must be, as a share of the last run's.
    """

    version: ModelVersion
    artifact: Artifact
    views: tuple[PinnedView, ...]
    on_demand: tuple[OnDemandFeature, ...] = ()
    moment: datetime | None = None
    entities: Path | None = None
    where: str | None = None
    top: int | None = None
    by: str = "score"
    max_mean_shift: float = 0.5
    min_volume: float = 0.5

    @property
    def table(self) -> TableName:
        """Where the predictions go."""
        return TableName("gold", f"{self.version.name}_predictions")

    @property
    def keys(self) -> tuple[str, ...]:
        """What names an entity, over all views."""
        return tuple(dict.fromkeys(key for pinned in self.views for key in pinned.view.keys))

    @property
    def feature_snapshot(self) -> str:
        """The snapshots of the views' tables, in order, by comma."""
        states = dict.fromkeys((pinned.table.name, pinned.table.snapshot_id) for pinned in self.views)
        return ",".join(str(snapshot) for _, snapshot in states)

    @property
    def scope(self) -> str:
        """`all`, or which entities it is about."""
        parts = [f"entities of {self.entities.name}"] if self.entities else []
        parts += [f"where {self.where}"] if self.where else []
        parts += [f"top {self.top} by {self.by}"] if self.top else []
        return ", ".join(parts) or WHOLE

    @property
    def columns(self) -> Mapping[str, str]:
        """Keys, features and on-demand features that there will be, and their types."""
        found = {key: pinned.table.columns[key].type for pinned in self.views for key in pinned.view.keys}
        found |= {each.name: each.type for pinned in self.views for each in pinned.view.features}
        return found | {each.name: each.type for each in self.on_demand}

    def require_fit(self) -> None:
        """Refuse what can't be predicted, before Spark starts.

        Raises:
            UsageError: the features are not those of the signature, or an option makes no sense.
        """
        self.artifact.spec.signature.require_columns(self.columns)
        if self.max_mean_shift < 0 or self.min_volume < 0:
            raise UsageError("--max-mean-shift and --min-volume are shares, from 0.", hint="E.g. 0.5 for a half.")
        if self.top is not None and self.top < 1:
            raise UsageError(f"--top is {self.top}.", hint="Give how many, from 1.")
        if self.by != "score" and self.by not in self.columns:
            raise UsageError(f"--by is {self.by!r}.", hint=f"Use score, or one of {', '.join(self.columns)}.")
        if self.top and self.by == "score" and self.artifact.spec.signature.task == Task.MULTICLASS:
            raise UsageError("The scores of several classes have no order.", hint="Say --by with a feature.")

    def known_at(self) -> datetime:
        """The moment, or that of the views' newest row.

        Raises:
            UsageError: the views were not measured, and no moment is given.
        """
        if self.moment is not None:
            return self.moment
        newest = [pinned.facts.last for pinned in self.views if pinned.facts and pinned.facts.last is not None]
        if not newest:
            raise UsageError("The views have no row with a timestamp.", hint="Say --moment, or look at the gold table.")
        return datetime.fromtimestamp(max(newest) / 1_000_000, UTC)


@dataclass(frozen=True)
class Predicted:
    """What a batch prediction did.

    Attributes:
        rows: newly predicted.
        mean: of their scores; None for several classes, or no rows.
        latency: seconds by Arrow batch.
    """

    request: PredictRequest
    run: RunResult
    rows: int = 0
    mean: float | None = None
    latency: Latency = field(default_factory=Latency)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "model": str(self.request.version),
            "table": str(self.request.table),
            "feature_snapshot": self.request.feature_snapshot,
            "moment": self.request.known_at().isoformat(),
            "scope": self.request.scope,
            "rows": self.rows,
            "mean": self.mean,
            "run": self.run.to_json(),
        }


def predict(lake: Lakehouse, request: PredictRequest, say: Say = print) -> Predicted:
    """Predict, audit and publish.

    Raises:
        UsageError: features that the model does not take, an unreadable condition or entities file.
        RunAuditFailedError: a check of the predictions failed; nothing was published.
        AsgardError: the run's own.
    """
    request.require_fit()
    moment, seen = request.known_at(), _Seen()

    def work(attempt: Attempt) -> None:
        seen.clear()
        attempt.details["prediction"] = _described(request, moment)
        frame = _features(attempt.session, request, moment)
        earlier = _earlier(attempt, request, moment)
        if earlier is not None and request.top is None:
            frame = frame.join(earlier, list(request.keys), "left_anti")
        scored = _scored(frame, request, seen)
        if earlier is not None and request.top is not None:
            scored = scored.join(earlier, list(request.keys), "left_anti")
        if earlier is not None and (frame if request.top is None else scored).isEmpty():
            seen.clear()
            say(f"{request.version} has predicted all of this already")
            return
        scope = request.scope if earlier is None or request.scope != WHOLE else REST
        last = _last_whole(attempt, request) if scope == WHOLE else None
        attempt.write(
            predictions_table(request, last),
            seen.counted(_described_rows(scored, attempt, request, moment, scope)),
        )

    params = {"model": str(request.version), "feature_snapshot": request.feature_snapshot, "scope": request.scope}
    say(f"predicting by {request.version}, features as known at {moment:%Y-%m-%d %H:%M}")
    result = execute(lake, RunRequest("batch-predict", params=params), work, say)
    return Predicted(request, result, *seen.found())


def predictions_table(request: PredictRequest, last: tuple[int, float | None] | None) -> Table:
    """The predictions' table, with the checks of this run.

    Args:
        request: what is predicted.
        last: rows and mean of the last run that predicted every entity; None if there is none.
    """
    task = request.artifact.spec.signature.task
    checks: list[Check] = [
        *(not_null(name) for name in (*request.keys, SCORE, "model_version", "predicted_at")),
        unique(*request.keys, *_ONCE),
        row_count(1).over("added"),
    ]
    if task != Task.MULTICLASS:
        low, high = (0, 1) if task == Task.BINARY else (-sys.float_info.max, sys.float_info.max)
        checks.append(between(SCORE, low, high))  # NaN and infinity are in no range
    if last is not None:
        rows, mean = last
        checks.append(row_count(int(rows * request.min_volume)).over("added").named("volume against the last run"))
        if mean is not None and math.isfinite(mean):
            shift = abs(mean) * request.max_mean_shift
            named = mean_between(SCORE, mean - shift, mean + shift).over("added")
            checks.append(named.named("mean against the last run"))
    return declare_table(
        str(request.table),
        mode=WriteMode.APPEND,
        keys=(*request.keys, *_ONCE),
        checks=checks,
        description=f"What versions of the model {request.version.name} say of each entity.",
        module="asgard.model.batch",
    )


def _features(session: "SparkSession", request: PredictRequest, moment: datetime) -> "DataFrame":
    """The entities' features, filtered."""
    from pyspark.errors import AnalysisException, ParseException

    def source(table: PinnedTable) -> "DataFrame":
        return session.table(table.at.sql_name(table.name))

    entities = _entities(session, request.entities, request) if request.entities else None
    join = Join.of(request.views, request.keys, request.on_demand)
    frame = latest_frame(source, request.views, join.names, moment, entities)
    if request.on_demand:
        frame = with_on_demand_frame(frame, join)
    if request.where:
        try:
            return frame.where(request.where)
        except (AnalysisException, ParseException) as error:
            raise UsageError(
                f"--where {request.where!r} can't be read: {str(error).splitlines()[0]}",
                hint=f"A SQL condition on {', '.join(frame.columns)}.",
            ) from error
    return frame


def _entities(session: "SparkSession", path: Path, request: PredictRequest) -> "DataFrame":
    from pyspark.errors import AnalysisException

    if not path.exists():
        raise UsageError(f"There is no file {path}.", hint="Check the path of --entities.")
    kind = path.suffix.removeprefix(".")
    if kind not in ("parquet", "csv"):
        raise UsageError(f"{path} is neither Parquet nor CSV.", hint="Its name ends in .parquet or .csv.")
    try:
        given = session.read.format(kind).option("header", True).load(path.absolute().as_uri())
    except AnalysisException as error:
        raise UsageError(f"{path} can't be read: {str(error).splitlines()[0]}", hint="Is it whole?") from error
    lacking = [key for key in request.keys if key not in given.columns]
    if lacking:
        raise UsageError(
            f"{path} lacks {', '.join(lacking)}.", hint=f"Entities are named by {', '.join(request.keys)}."
        )
    kinds = request.columns
    return given.selectExpr(*(f"CAST(`{key}` AS {kinds[key]}) AS `{key}`" for key in request.keys)).distinct()


def _scored(frame: "DataFrame", request: PredictRequest, seen: "_Seen") -> "DataFrame":
    from pyspark.sql import functions as F

    by = () if request.by == "score" else (request.by,)
    keep = tuple(dict.fromkeys((*request.keys, *by)))
    scored = seen.timed(score_frame(frame, request.artifact, keep=keep, output=SCORE, seconds=_SECONDS))
    if request.top is None:
        return scored
    order = F.col(SCORE if request.by == "score" else request.by).desc_nulls_last()
    return scored.orderBy(order, *request.keys).limit(request.top)


def _described_rows(
    scored: "DataFrame", attempt: Attempt, request: PredictRequest, moment: datetime, scope: str
) -> "DataFrame":
    from pyspark.sql import functions as F

    return scored.select(
        *request.keys,
        SCORE,
        F.lit(str(request.version.version)).alias("model_version"),
        F.lit(request.feature_snapshot).alias("feature_snapshot"),
        F.lit(moment).alias("features_as_of"),
        F.lit(scope).alias("scope"),
        F.lit(str(attempt.run_id)).alias("run_id"),
        F.lit(attempt.as_of).alias("predicted_at"),
    )


def _earlier(attempt: Attempt, request: PredictRequest, moment: datetime) -> "DataFrame | None":
    """The entities that this version has predicted from these snapshots, as of this moment, before; None for none."""
    from pyspark.sql import functions as F

    if not attempt.has(request.table):
        return None
    same = (
        (F.col("model_version") == str(request.version.version))
        & (F.col("feature_snapshot") == request.feature_snapshot)
        & (F.col("features_as_of") == F.lit(moment))
    )
    found = attempt.read(request.table, guard=True).where(same).select(*request.keys)
    return None if found.isEmpty() else found


def _last_whole(attempt: Attempt, request: PredictRequest) -> tuple[int, float | None] | None:
    """Rows and mean of the last run that predicted every entity."""
    from pyspark.sql import functions as F

    if not attempt.has(request.table):
        return None
    mean = F.avg(SCORE) if request.artifact.spec.signature.task != Task.MULTICLASS else F.lit(None)
    runs = attempt.read(request.table, guard=True).where(F.col("scope") == WHOLE).groupBy("run_id")
    newest = runs.agg(F.max("predicted_at").alias("at"), F.count("*").alias("rows"), mean.alias("mean"))
    found = newest.orderBy(F.col("at").desc()).limit(1).collect()
    return (int(found[0]["rows"]), found[0]["mean"]) if found else None


def _described(request: PredictRequest, moment: datetime) -> dict[str, Any]:
    """What the run's record says of a prediction."""
    return {
        "model": str(request.version),
        "sha256": request.version.sha256,
        "mlflow_run": request.version.run_id,
        "views": [
            {**pinned.describe(), "target": pinned.table.at.reference, "declared": pinned.view.to_json()}
            for pinned in request.views
        ],
        "on_demand": [each.name for each in request.on_demand],
        "moment": moment.isoformat(),
        "scope": request.scope,
    }


class _Seen:
    """What is counted while rows pass: each batch's seconds as it was scored, and the rows that are written."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """An attempt begins."""
        self._batches: Observation | None = None
        self._rows: Observation | None = None

    def timed(self, scored: "DataFrame") -> "DataFrame":
        """Scored rows, without the seconds, which are counted."""
        from pyspark.sql import Observation
        from pyspark.sql import functions as F

        self._batches = Observation("batches")
        return scored.observe(self._batches, *Latency.observed(F.col(_SECONDS))).drop(_SECONDS)

    def counted(self, frame: "DataFrame") -> "DataFrame":
        """The rows that are written."""
        from pyspark.sql import Observation
        from pyspark.sql import functions as F

        self._rows = Observation("predictions")
        single = dict(frame.dtypes)[SCORE] == "double"
        total = F.sum(SCORE) if single else F.lit(None).cast("double")
        return frame.observe(self._rows, F.count(F.lit(1)).alias("rows"), total.alias("total"))

    def found(self) -> tuple[int, float | None, Latency]:
        """Rows, their mean, and latency."""
        if self._rows is None or self._batches is None:
            return 0, None, Latency()
        rows, total = int(self._rows.get["rows"]), self._rows.get["total"]
        return rows, total / rows if rows and total is not None else None, Latency.of(self._batches.get)
