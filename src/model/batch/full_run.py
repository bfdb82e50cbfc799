"""Predictions of all entities: their totals after a run, compared with those of the last run over all entities.

A run over all entities adds the missing predictions: all, or the rest if some were predicted before (by `--entities`,
or another run). Both parts together count: the latest prediction of each entity.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from asgard.lakehouse.runs.attempt import Attempt
from asgard.model.batch.request import PredictRequest
from asgard.model.batch.scope import Scope, is_over_all
from asgard.model.batch.table import SCORE, VERSION, is_of
from asgard.model.metrics import Task
from asgard.model.versions import finite
from asgard.validation.checks import Check, expression
from asgard.validation.rules import AfterWrite

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

DEVIATION_SHARE = 0.1
"""Share of the standard deviation that replaces a mean near 0 as the scale of a shift."""


@dataclass(frozen=True)
class RunTotals:
    """Totals of the latest predictions of all entities.

    Attributes:
        entities: number of predicted entities.
        scored: number of them whose prediction is not null.
        mean, deviation: mean and standard deviation of the scores; None for several classes, or without scores.
    """

    entities: int
    scored: int
    mean: float | None = None
    deviation: float | None = None

    @property
    def null_share(self) -> float:
        """The share of entities whose prediction is null, 0 to 1."""
        return 1 - self.scored / self.entities if self.entities else 0.0

    def mean_range(self, max_shift: float) -> tuple[float, float] | None:
        """The range allowed for the next mean; None if there is no scale for a shift.

        A shift is a share of the mean, or of a tenth of the standard deviation if that is more.
        """
        if self.mean is None or not math.isfinite(self.mean):
            return None
        deviation = self.deviation if self.deviation is not None and math.isfinite(self.deviation) else 0.0
        scale = max(abs(self.mean), deviation * DEVIATION_SHARE)
        return (self.mean - max_shift * scale, self.mean + max_shift * scale) if scale else None

    def __str__(self) -> str:
        mean = "" if self.mean is None else f", mean {self.mean:.4f}"
        return f"{self.scored:,} predictions that are not null of {self.entities:,} entities{mean}"


@dataclass(frozen=True)
class LastRunComparison:
    """The totals after a run, compared with the last run over all entities.

    Attributes:
        last: totals after the last run over all entities.
        now: returns the totals now; called once the rows are written.
    """

    request: PredictRequest
    last: RunTotals
    now: Callable[[], RunTotals]

    @property
    def rules(self) -> Mapping[str, Callable[[RunTotals], bool]]:
        """The conditions that the totals must meet, by the name of the check."""
        request, last = self.request, self.last
        rules: dict[str, Callable[[RunTotals], bool]] = {
            "volume against the last run": lambda now: now.scored >= int(last.scored * request.min_volume)
        }
        if request.nullable:
            most = last.null_share + request.max_null_rise
            rules["nulls against the last run"] = lambda now: (
                now.null_share <= most or math.isclose(now.null_share, most)
            )
        shift = last.mean_range(request.max_mean_shift)
        if shift is not None:
            low, high = shift
            rules["mean against the last run"] = lambda now: now.mean is not None and low <= now.mean <= high
        return rules

    def checks(self) -> list[Check]:
        """The rules as checks of the table."""
        return [expression(name, AfterWrite(partial(self._holds, rule))) for name, rule in self.rules.items()]

    def _holds(self, rule: Callable[[RunTotals], bool]) -> "Column":
        from pyspark.sql import functions as F

        return F.lit(rule(self.now()))

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain: dict[str, Any] = finite({"last": asdict(self.last), "now": asdict(self.now())})
        return plain

    def __str__(self) -> str:
        return f"in all {self.now()}; after the last run over all entities {self.last}"


def whole_now(attempt: Attempt, request: PredictRequest, moment: datetime) -> RunTotals:
    """Totals, as the attempt sees them, of the predictions by these versions from these snapshots at this moment."""
    return measured(attempt.read(request.table).where(is_of(request, moment)), request)


def last_whole(attempt: Attempt, request: PredictRequest) -> RunTotals | None:
    """Totals after the last run over all entities, with or without a challenger; None if there was none."""
    from pyspark.sql import functions as F

    if not attempt.has(request.table):
        return None
    table = attempt.read(request.table, guard=True)
    found = table.where(is_over_all(table.columns)).orderBy(F.col("predicted_at").desc()).limit(1).collect()
    if not found:
        return None
    (newest,) = found
    same = (F.col("features_as_of") == F.lit(newest["features_as_of"])) & (
        F.col("predicted_at") <= F.lit(newest["predicted_at"])
    )
    if Scope.of_row(newest.asDict()).challenger is None:
        for column in (VERSION, "feature_snapshot"):
            same &= F.col(column) == F.lit(newest[column])
    return measured(table.where(same), request)


def measured(rows: "DataFrame", request: PredictRequest) -> RunTotals:
    """Totals of rows of the table, counting the latest row of each entity."""
    from pyspark.sql import functions as F

    newest = rows.groupBy(*request.keys).agg(F.max_by(SCORE, "predicted_at").alias(SCORE))
    single = request.task is not Task.MULTICLASS
    mean, deviation = (F.avg(SCORE), F.stddev_pop(SCORE)) if single else (F.lit(None), F.lit(None))
    (found,) = newest.agg(
        F.count("*").alias("entities"),
        F.count(SCORE).alias("scored"),
        mean.alias("mean"),
        deviation.alias("deviation"),
    ).collect()
    return RunTotals(**found.asDict())
