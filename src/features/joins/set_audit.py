"""The audit of a training set: what is counted of the joined rows, by either engine, and what must hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from asgard.common.errors import AuditFailedError
from asgard.features.joins.duck import TIME
from asgard.features.pinned import PinnedView


@dataclass(frozen=True)
class Audit:
    """What was counted of a set before it was put in place.

    Attributes:
        rows: of the set.
        labels: that went in.
        leaks: rows, by view, whose feature is newer than their label.
        missing: rows, by view, for which no feature row counted.
    """

    rows: int
    labels: int
    leaks: Mapping[str, int] = field(hash=False)
    missing: Mapping[str, int] = field(hash=False)

    @classmethod
    def of(cls, views: Sequence[PinnedView], labels: int, found: Mapping[str, int]) -> "Audit":
        """Read what the aggregates of `counts` gave, by their names."""
        return cls(
            rows=found["rows"],
            labels=labels,
            leaks={pinned.name: found[f"leaks_{number}"] for number, pinned in enumerate(views)},
            missing={pinned.name: found[f"missing_{number}"] for number, pinned in enumerate(views)},
        )

    def require_passed(self) -> None:
        """Refuse a set that must not be used.

        Raises:
            AuditFailedError: a feature is newer than its label, or rows were lost or doubled.
        """
        leaks = {name: count for name, count in self.leaks.items() if count}
        if leaks:
            raise AuditFailedError(
                "Features of the set are newer than their labels: "
                + ", ".join(f"{count:,} rows of {name}" for name, count in leaks.items())
                + ".",
                hint="This is a defect of the join: report it. Nothing was written.",
            )
        if self.rows != self.labels:
            raise AuditFailedError(
                f"{self.labels:,} labels went in, {self.rows:,} rows came out.",
                hint="This is a defect of the join: report it. Nothing was written.",
            )


def counts(views: Sequence[PinnedView]) -> dict[str, str]:
    """Aggregates over the joined rows by name, in SQL that DuckDB and Spark read alike."""
    measures = {"rows": "count(1)"}
    for number, pinned in enumerate(views):
        known = f" OR __created_{number} > {TIME}" if pinned.view.created_timestamp else ""
        measures[f"leaks_{number}"] = f"count_if(__event_{number} > {TIME}{known})"
        measures[f"missing_{number}"] = f"count_if(__event_{number} IS NULL)"
    return measures
