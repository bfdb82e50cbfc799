"""Batch prediction: each entity's latest features at one snapshot, scored by a verified version, published by a run.

Predictions of a version at a snapshot are written once: a repeated run adds only the missing ones, usually none. So a
restart, or a second scheduler, duplicates no row. Champion and challenger predict in one run, each its own entities.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, reduce
from typing import TYPE_CHECKING, Any

from asgard.common.aliases import Say
from asgard.common.errors import UsageError
from asgard.common.names import new_run_id
from asgard.common.settings import REGISTERED
from asgard.features.joins.joining import Join
from asgard.features.joins.latest import KNOWN, latest_frame
from asgard.features.joins.spark_join import column_of, with_on_demand_frame
from asgard.features.pinned import PinnedTable
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.run import RunRequest, RunResult, execute
from asgard.model.batch.challenge import Side, assigned_column
from asgard.model.batch.counts import SECONDS, Counting, SideCounts
from asgard.model.batch.entities import UnknownEntities, entities_frame
from asgard.model.batch.full_run import LastRunComparison, last_whole, whole_now
from asgard.model.batch.holds import holding
from asgard.model.batch.request import PredictRequest
from asgard.model.batch.table import (
    SCORE,
    VERSION,
    predicted_before,
    predictions_table,
    table_rows,
    with_origin,
)
from asgard.model.udf import score_frame
from asgard.model.versions import finite

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Frames = dict[Side, "DataFrame"]


@dataclass(frozen=True)
class Predicted:
    """The result of a batch prediction.

    Attributes:
        sides: the counts of each side.
        unknown: requested entities that were left out because no view knows them; None if all were requested.
        remark: why there was nothing to predict; "" otherwise.
    """

    request: PredictRequest
    run: RunResult
    sides: Mapping[Side, SideCounts]
    unknown: UnknownEntities | None = None
    remark: str = ""

    @property
    def rows(self) -> int:
        """Number of newly predicted rows."""
        return sum(side.rows for side in self.sides.values())

    @property
    def null(self) -> int:
        """Number of them whose prediction is null."""
        return sum(side.null for side in self.sides.values())

    @property
    def mean(self) -> float | None:
        """Mean of their scores; None for several classes, or if there is no score."""
        scored = [(side.mean, side.scored) for side in self.sides.values() if side.mean is not None]
        count = sum(number for _, number in scored)
        return sum(mean * number for mean, number in scored) / count if count else None

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        requests = self.request.sides
        return {
            "model": str(self.request.version),
            "table": str(self.request.table),
            "feature_snapshot": self.request.feature_snapshot,
            "moment": self.request.known_at().isoformat(),
            "read_as_of": self.request.read_as_of,
            "scope": str(self.request.scope),
            "coverage": str(self.request.coverage),
            "challenger": self.request.scope.challenger,
            "rows": self.rows,
            "null": self.null,
            "mean": self.mean,
            "sides": {
                str(side): {**counts.to_json(), "feature_snapshot": requests[side].feature_snapshot}
                for side, counts in self.sides.items()
            },
            "unknown": self.unknown.to_json() if self.unknown else None,
            "remark": self.remark,
            "run": self.run.to_json(),
        }


def predict(lake: Lakehouse, request: PredictRequest, say: Say = print) -> Predicted:
    """Predict, audit and publish.

    Raises:
        UsageError: the features do not fit the model, the condition or entities can't be read, or no entity is known.
        RunAuditFailedError: a check of the predictions failed; nothing was published.
        AsgardError: the run failed.
    """
    request.require_fit()
    work = _Work(request, request.known_at(), say)
    versions = [str(each.version) for each in request.sides.values()]
    params = {"model": versions[0], "feature_snapshot": request.feature_snapshot, "scope": str(request.scope)}
    read = "as registered" if request.read_as_of == REGISTERED else f"as of {request.read_as_of}"
    known = f"features as known at {work.moment:%Y-%m-%d %H:%M}"
    say(f"predicting by {' and '.join(versions)}, {known}, views read {read}")
    run_id = new_run_id(datetime.now(UTC))
    with holding(lake, request, run_id, say) as results:
        results.append(execute(lake, RunRequest("batch-predict", run_id, params), work, say))
    return Predicted(request, results[0], work.counting.found(), work.unknown, work.remark)


class _Work:
    """The work of a run in each of its attempts, and the findings of the last attempt."""

    def __init__(self, request: PredictRequest, moment: datetime, say: Say) -> None:
        self.request, self.moment, self.say = request, moment, say
        self.counting = Counting({side: each.version for side, each in request.sides.items()})
        self.unknown: UnknownEntities | None = None
        self.remark = ""

    def __call__(self, attempt: Attempt) -> None:
        request = self.request
        self.counting.clear()
        self.unknown, self.remark = None, ""
        attempt.details["prediction"] = request.described(self.moment)
        frames = self._frames(attempt)
        may_be_empty = request.where is not None or request.moment is not None
        if may_be_empty and _is_empty(frames):
            self._end(f"no entity has features{f' for: {request.chosen}' if request.chosen else ' at that moment'}")
            return
        earlier = predicted_before(attempt, request, self.moment)
        scored = self._scored(frames, earlier)
        if scored is None:
            versions = " and ".join(str(each.version) for each in request.sides.values())
            where = " of those that have a prediction" if request.top and request.nullable else ""
            self._end(f"all of this{where} was predicted before by {versions}")
            return
        scope = request.scope if earlier is None else request.rest_scope
        rows = table_rows(scored, attempt, request.keys, self.moment, scope)
        compared = self._compared(attempt)
        attempt.write(predictions_table(request, compared.checks() if compared else ()), self.counting.counted(rows))
        counts = {str(side): finite(counts.to_json()) for side, counts in self.counting.found().items()}
        attempt.details["prediction"] |= {"counted": counts, "compared": compared.to_json() if compared else None}
        if compared:
            self.say(str(compared))

    def _compared(self, attempt: Attempt) -> LastRunComparison | None:
        """The comparison with the last run over all entities, if this run is one too."""
        last = None if self.request.chosen else last_whole(attempt, self.request)
        if last is None:
            return None
        return LastRunComparison(self.request, last, cache(lambda: whole_now(attempt, self.request, self.moment)))

    def _frames(self, attempt: Attempt) -> Frames:
        """The features of each side's entities."""
        request = self.request
        asked = entities_frame(attempt, request.entities, request.key_types) if request.entities else None
        unknown, frames = UnknownEntities(), {}
        for side, one in request.sides.items():
            own = _own(asked, request, side) if asked is not None else None
            latest = _latest(attempt.session, one, self.moment, own)
            if own is None:
                latest = _own(latest, request, side)
            else:
                unknown += UnknownEntities.of(latest, column_of(KNOWN), request.keys)
                latest = latest.where(column_of(KNOWN)).drop(KNOWN)
            frames[side] = _chosen(_computed(latest, one), one)
        if asked is not None and request.entities is not None:
            self._note_unknown(unknown, request.entities.name)
        return frames

    def _note_unknown(self, unknown: UnknownEntities, name: str) -> None:
        self.unknown = unknown
        if unknown.count == unknown.asked:
            raise UsageError(
                f"{name}: {unknown}; features are read as known at {self.moment:%Y-%m-%d %H:%M}.",
                hint="Are these keys of the views? An entity needs a row within the view's ttl.",
            )
        if unknown.count:
            self.say(f"left out: {unknown}")

    def _scored(self, frames: Frames, earlier: "DataFrame | None") -> "DataFrame | None":
        """The rows to write; None if all of them were predicted earlier."""
        request = self.request
        if earlier is not None and request.top is None:
            frames = {side: _without(frame, earlier, request.sides[side]) for side, frame in frames.items()}
            if _is_empty(frames):
                return None
        by = () if request.by == "score" else (request.by,)
        keep = tuple(dict.fromkeys((*request.keys, *by)))
        parts = []
        for side, frame in frames.items():
            one = request.sides[side]
            scored = score_frame(frame, one.artifact, keep=keep, output=SCORE, seconds=SECONDS)
            parts.append(with_origin(self.counting.timed(scored, side), one))
        rows = reduce(lambda one, other: one.unionByName(other), parts)
        if request.top is None:
            return rows
        rows = _greatest(rows, request)
        if earlier is None and not request.nullable:
            return rows
        if earlier is not None:
            rows = rows.join(earlier, [*request.keys, VERSION], "left_anti")
        return None if rows.isEmpty() else rows

    def _end(self, remark: str) -> None:
        """Note that there is nothing to write, and why."""
        self.counting.clear()
        self.remark = remark
        self.say(remark)


def _latest(
    session: "SparkSession", request: PredictRequest, moment: datetime, entities: "DataFrame | None"
) -> "DataFrame":
    """The views' features of one side's entities."""

    def source(table: PinnedTable) -> "DataFrame":
        return session.table(table.at.sql_name(table.name))

    return latest_frame(source, request.views, _join(request).names, moment, entities)


def _computed(frame: "DataFrame", request: PredictRequest) -> "DataFrame":
    """Add the on-demand features."""
    return with_on_demand_frame(frame, _join(request)) if request.on_demand else frame


def _join(request: PredictRequest) -> Join:
    return Join.of(request.views, request.keys, request.on_demand)


def _own(frame: "DataFrame", request: PredictRequest, side: Side) -> "DataFrame":
    """The rows of a side's entities."""
    challenger = request.challenger
    if challenger is None:
        return frame
    return frame.where(assigned_column(frame, request.keys, challenger.share, challenger.used_salt) == str(side))


def _chosen(frame: "DataFrame", request: PredictRequest) -> "DataFrame":
    """The rows that meet the condition."""
    from pyspark.errors import AnalysisException, ParseException

    if request.where is None:
        return frame
    try:
        return frame.where(request.where)
    except (AnalysisException, ParseException) as error:
        raise UsageError(
            f"--where {request.where!r} can't be read for {request.version}: {str(error).splitlines()[0]}",
            hint=f"A SQL condition on {', '.join(frame.columns)}.",
        ) from error


def _without(frame: "DataFrame", earlier: "DataFrame", request: PredictRequest) -> "DataFrame":
    """The rows that the version has not predicted yet."""
    own = earlier.where(column_of(VERSION) == str(request.version.version)).drop(VERSION)
    return frame.join(own, list(request.keys), "left_anti")


def _greatest(rows: "DataFrame", request: PredictRequest) -> "DataFrame":
    """The requested number of greatest rows, without rows whose value or, if it can be null, prediction is null."""
    if request.top is None:
        return rows
    column = column_of(SCORE if request.by == "score" else request.by)
    if request.nullable:
        rows = rows.where(column_of(SCORE).isNotNull())
    if request.by != "score":
        rows = rows.where(column.isNotNull())
    return rows.orderBy(column.desc_nulls_last(), *request.keys).limit(request.top)


def _is_empty(frames: Frames) -> bool:
    return all(frame.isEmpty() for frame in frames.values())
