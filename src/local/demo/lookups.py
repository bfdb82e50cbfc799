"""What the demo's lookups say of two households: before and after a correction and a deletion."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

SHOWN: Mapping[str, str] = {
    "total_purchases": "receipts so far",
    "customer_lifetime_value": "dollars spent so far",
    "spent_30d": "dollars of the last 30 days",
    "prediction": "how likely it leaves",
}
"""The values of a lookup that are shown."""


@dataclass(frozen=True)
class Seen:
    """Redis after a sync, as JSON has it.

    Attributes:
        synced: what the sync did, view by view.
        verified: how Redis compares with the snapshots, view by view.
        rows: lookups, by household.
    """

    synced: tuple[Mapping[str, Any], ...]
    verified: tuple[Mapping[str, Any], ...]
    rows: Mapping[str, Mapping[str, Any]] = field(hash=False)

    @property
    def is_equal(self) -> bool:
        """Whether Redis had every row of the snapshots, and no other."""
        return all(each["equal"] for each in self.verified)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Seen":
        """What `asdict` gave."""
        return cls(tuple(raw["synced"]), tuple(raw["verified"]), raw["rows"])


@dataclass(frozen=True)
class OnlineFacts:
    """Everything that is shown of lookups.

    Attributes:
        at: the moment from which the lookups look.
        corrected: household one of whose receipt lines got another value.
        sales_before, sales_after: dollars of the line.
        erased: household that asked to be forgotten.
        run_id: of the run that published what follows from both.
        before, after: Redis before that, and after. before is None where nobody noted it.
        now: how far each view is behind what is published.
    """

    at: datetime
    corrected: int
    sales_before: float
    sales_after: float
    erased: int
    run_id: str
    before: Seen | None
    after: Seen
    now: tuple[Mapping[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "at": self.at.isoformat()}


@dataclass(frozen=True)
class Change:
    """One value of a household, before and after; "" where nothing is known of it."""

    name: str
    meaning: str
    before: str
    after: str

    @property
    def is_other(self) -> bool:
        """Whether it changed."""
        return self.before != self.after


def changes(facts: OnlineFacts, household: int) -> list[Change]:
    """What lookups said of a household: its status, its row's time, and some values."""
    one, two = (_lines(seen, household) for seen in (facts.before, facts.after))
    return [Change(name, meaning, one.get(name, ""), two[name]) for name, meaning in _MEANINGS.items() if name in two]


_STATUS, _ROW_OF = "status", "row of"
_MEANINGS: Mapping[str, str] = {_STATUS: "in every view", _ROW_OF: "event timestamp", **SHOWN}


def _lines(seen: Seen | None, household: int) -> dict[str, str]:
    if seen is None:
        return {}
    row = seen.rows[str(household)]
    views = row["views"].values()
    lines = {
        _STATUS: ", ".join(dict.fromkeys(view["status"] for view in views)),
        _ROW_OF: ", ".join(dict.fromkeys(view["event_timestamp"][:10] for view in views if view["event_timestamp"])),
    }
    return lines | {name: _text(row["features"][name]) for name in SHOWN if name in row["features"]}


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.{4 if abs(value) < 1 else 2}f}" if isinstance(value, float) else str(value)


def sync_lines(seen: Seen) -> list[Mapping[str, Any]]:
    """What a sync did, as lines of a table."""
    verified = {each["view"]: each for each in seen.verified}
    return [
        {**each, "equal": verified[each["view"]]["equal"], "digest": verified[each["view"]]["digest_redis"]}
        for each in seen.synced
    ]
