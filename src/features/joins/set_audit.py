"""The audit of a training set: counts over the joined rows, by either engine, and the conditions for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from asgard.common.errors import AuditFailedError
from asgard.features.joins.duck import TIME
from asgard.features.pinned import PinnedView


@dataclass(frozen=True)
class Audit:
    """Counts over a set, taken before it is put in place.

    Attributes:
        rows: number of rows of the set.
        labels: number of labels.
        leaks: rows, by view, whose feature is newer than their label.
        missing: rows, by view, for which there is no feature row that counts.
    """

    rows: int
    labels: int
    leaks: Mapping[str, int] = field(hash=False)
    missing: Mapping[str, int] = field(hash=False)

    @classmethod
    def of(cls, views: Sequence[PinnedView], labels: int, found: Mapping[str, int]) -> "Audit":
        """Create it from the results of the aggregates of `counts`, by their names."""
        return cls(
            rows=found["rows"],
            labels=labels,
            leaks={pinned.name: found[f"leaks_{number}"] for number, pinned in enumerate(views)},
            missing={pinned.name: found[f"missing_{number}"] for number, pinned in enumerate(views)},
        )

    def require_passed(self) -> None:
        """Refuse a set that must not be used.

        Raises:
            AuditFailedError: a feature is newer than its label, or rows were lost or duplicated.
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
                f"{self.labels:,} labels were given, but the set has {self.rows:,} rows.",
                hint="This is a defect of the join: report it. Nothing was written.",
            )


def counts(views: Sequence[PinnedView]) -> dict[str, str]:
    """Aggregates over the joined rows by name, in SQL that both DuckDB and Spark accept."""
    measures = {"rows": "count(1)"}
    for number, pinned in enumerate(views):
        known = f" OR __created_{number} > {TIME}" if pinned.view.created_timestamp else ""
        measures[f"leaks_{number}"] = f"count_if(__event_{number} > {TIME}{known})"
        measures[f"missing_{number}"] = f"count_if(__event_{number} IS NULL)"
    return measures
