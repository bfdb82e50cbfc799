"""How long predictions took, batch by batch, as a histogram."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgard.monitoring.events import LATENCY_BUCKETS

if TYPE_CHECKING:
    from pyspark.sql import Column


@dataclass(frozen=True)
class Latency:
    """A histogram of seconds.

    Attributes:
        count, sum: of the observations.
        buckets: how many of them were within each of `LATENCY_BUCKETS`.
    """

    count: int = 0
    sum: float = 0.0
    buckets: tuple[int, ...] = (0,) * len(LATENCY_BUCKETS)

    @staticmethod
    def observed(seconds: "Column") -> "list[Column]":
        """What counts a column of seconds as rows pass; nulls do not count."""
        from pyspark.sql import functions as F

        within = [F.count_if(seconds <= bound).alias(f"within_{place}") for place, bound in enumerate(LATENCY_BUCKETS)]
        return [F.count(seconds).alias("batches"), F.sum(seconds).alias("seconds"), *within]

    @classmethod
    def of(cls, seen: Mapping[str, Any]) -> "Latency":
        """What `observed` counted."""
        buckets = tuple(int(seen[f"within_{place}"] or 0) for place in range(len(LATENCY_BUCKETS)))
        return cls(int(seen["batches"] or 0), float(seen["seconds"] or 0), buckets)
