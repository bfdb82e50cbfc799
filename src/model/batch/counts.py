"""Counters of a running prediction: the seconds that each side's batches took, and the rows that are written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgard.model.batch.challenge import Side
from asgard.model.batch.table import SCORE, VERSION
from asgard.model.versions import ModelVersion
from asgard.monitoring.events import LATENCY_BUCKETS

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Observation

SECONDS = "__seconds"


@dataclass(frozen=True)
class Latency:
    """A histogram of seconds.

    Attributes:
        count, sum: number and sum of the observations.
        buckets: number of observations within each of `LATENCY_BUCKETS`.
    """

    count: int = 0
    sum: float = 0.0
    buckets: tuple[int, ...] = (0,) * len(LATENCY_BUCKETS)

    @staticmethod
    def observed(seconds: "Column") -> "list[Column]":
        """Aggregates that count a column of seconds; nulls are not counted."""
        from pyspark.sql import functions as F

        within = [F.count_if(seconds <= bound).alias(f"within_{place}") for place, bound in enumerate(LATENCY_BUCKETS)]
        return [F.count(seconds).alias("batches"), F.sum(seconds).alias("seconds"), *within]

    @classmethod
    def of(cls, seen: Mapping[str, Any]) -> "Latency":
        """Read what `observed` counted."""
        buckets = tuple(int(seen[f"within_{place}"] or 0) for place in range(len(LATENCY_BUCKETS)))
        return cls(int(seen["batches"] or 0), float(seen["seconds"] or 0), buckets)


@dataclass(frozen=True)
class SideCounts:
    """The predictions of one side.

    Attributes:
        rows: number of newly predicted rows.
        scored: number of them whose prediction is not null.
        mean: mean of their scores; None for several classes, or if there is no score.
        latency: seconds per Arrow batch.
    """

    version: ModelVersion
    rows: int = 0
    scored: int = 0
    mean: float | None = None
    latency: Latency = field(default_factory=Latency)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"model": str(self.version), "rows": self.rows, "null": self.null, "mean": self.mean}

    @property
    def null(self) -> int:
        """Rows without a prediction."""
        return self.rows - self.scored


class Counting:
    """Counts of one attempt, by side; empty until its rows were written.

    Args:
        versions: the versions that predict, by side.
    """

    def __init__(self, versions: dict[Side, ModelVersion]) -> None:
        self._versions = versions
        self.clear()

    def clear(self) -> None:
        """Reset the counts: an attempt begins, or wrote nothing."""
        self._batches: dict[Side, Observation] = {}
        self._rows: Observation | None = None

    def timed(self, scored: "DataFrame", side: Side) -> "DataFrame":
        """Count the seconds of a side's scored rows, and return the rows without them."""
        from pyspark.sql import Observation
        from pyspark.sql import functions as F

        seen = self._batches[side] = Observation(f"batches of the {side}")
        return scored.observe(seen, *Latency.observed(F.col(SECONDS))).drop(SECONDS)

    def counted(self, frame: "DataFrame") -> "DataFrame":
        """Count the rows that are written."""
        from pyspark.sql import Observation
        from pyspark.sql import functions as F

        single = dict(frame.dtypes)[SCORE] == "double"
        metrics = []
        for side, version in self._versions.items():
            own = F.col(VERSION) == str(version.version)
            total = F.sum(F.when(own, F.col(SCORE))) if single else F.lit(None).cast("double")
            scored = own & F.col(SCORE).isNotNull()
            metrics += [F.count_if(own).alias(f"rows_{side}"), F.count_if(scored).alias(f"scored_{side}")]
            metrics.append(total.alias(f"total_{side}"))
        self._rows = Observation("predictions")
        return frame.observe(self._rows, *metrics)

    def found(self) -> dict[Side, SideCounts]:
        """The counts of each side."""
        if self._rows is None:
            return {side: SideCounts(version) for side, version in self._versions.items()}
        seen = self._rows.get
        counts = {}
        for side, version in self._versions.items():
            scored, total = int(seen[f"scored_{side}"]), seen[f"total_{side}"]
            mean = total / scored if scored and total is not None else None
            latency = Latency.of(self._batches[side].get)
            counts[side] = SideCounts(version, int(seen[f"rows_{side}"]), scored, mean, latency)
        return counts
