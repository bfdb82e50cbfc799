"""The demo's lookups of two households, before and after a correction and a deletion."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

SHOWN: Mapping[str, str] = {
    "total_purchases": "receipts so far",
    "customer_lifetime_value": "dollars spent so far",
    "spent_30d": "dollars of the last 30 days",
    "prediction": "probability of churn",
}
"""The values of a lookup that are shown, and their meanings."""


@dataclass(frozen=True)
class Seen:
    """The state of Redis after a sync, as plain JSON values.

    Attributes:
        synced: what the sync did, by view.
        verified: how Redis compares with the snapshots, by view.
        rows: lookups, by household.
    """

    synced: tuple[Mapping[str, Any], ...]
    verified: tuple[Mapping[str, Any], ...]
    rows: Mapping[str, Mapping[str, Any]] = field(hash=False)

    @property
    def is_equal(self) -> bool:
        """Whether Redis contained every row of the snapshots, and no other."""
        return all(each["equal"] for each in self.verified)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Seen":
        """Read what `asdict` returned."""
        return cls(tuple(raw["synced"]), tuple(raw["verified"]), raw["rows"])


@dataclass(frozen=True)
class OnlineFacts:
    """All facts about lookups that are shown.

    Attributes:
        at: the time as of which the lookups read.
        corrected: household with a receipt line whose value was corrected.
        sales_before, sales_after: dollars of that line.
        erased: household that asked for its data to be deleted.
        run_id: the run that published the tables computed from both changes.
        before, after: Redis before and after that run; `before` is None if it was not recorded.
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
    """One value of a household, before and after; "" if the value is unknown."""

    name: str
    meaning: str
    before: str
    after: str

    @property
    def is_other(self) -> bool:
        """Whether it changed."""
        return self.before != self.after


def changes(facts: OnlineFacts, household: int) -> list[Change]:
    """The lookups of a household before and after: its status, its row's time, and some values."""
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
    """What a sync did, as rows of a table."""
    verified = {each["view"]: each for each in seen.verified}
    return [
        {**each, "equal": verified[each["view"]]["equal"], "digest": verified[each["view"]]["digest_redis"]}
        for each in seen.synced
    ]
