"""How many intervals a backfill left missing, stale or in doubt, of each table of its pipeline."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class LeftFacts:
    """What is not as it would be if it was computed now; a table without intervals counts as one.

    Attributes:
        at: when it was counted.
        tables: every table that the pipeline computes, also those of which nothing is left.
        conditions: every condition that is counted.
        counts: intervals by table and condition, where there are some.
    """

    at: datetime
    tables: Sequence[str] = ()
    conditions: Sequence[str] = ()
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> "LeftFacts":
        """Read it from an event.

        Raises:
            ValueError, KeyError, TypeError: it is none.
        """
        at = datetime.fromisoformat(raw["at"])
        return cls(at, tuple(raw.get("tables", ())), tuple(raw.get("conditions", ())), raw.get("counts", {}))

    def series(self) -> Iterator[tuple[str, str, int]]:
        """Table, condition, and how many intervals; 0 where there is none, so that an alert ends."""
        for table in self.tables:
            for condition in self.conditions:
                yield table, condition, self.counts.get(table, {}).get(condition, 0)
