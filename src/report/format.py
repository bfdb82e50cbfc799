"""How the report writes values: numbers, times, durations, sizes, measurements of checks."""

from collections.abc import Mapping
from datetime import datetime

_PAIRS_FIRST = {"min": 0, "low": 0, "max": 1, "high": 1}


def counted(count: int, what: str) -> str:
    """A number of things: 1 audit, 2 audits."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def grouped(value: float) -> str:
    """A number in readable form: 1,469,307; 12.5; 0.0123."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"
    return f"{int(value):,}"


def shown(value: object) -> str:
    """A value as text; None becomes null."""
    return "null" if value is None else str(value)


def pairs(values: Mapping[str, object]) -> str:
    """Measured values or bounds, as `min 0, max 9.02`."""
    ordered = sorted(values, key=lambda name: (_PAIRS_FIRST.get(name, 2), name))
    return ", ".join(f"{name.replace('_', ' ')} {_quantity(values[name])}" for name in ordered)


def _quantity(value: object) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return grouped(value) if is_number else shown(value)  # type: ignore[arg-type]


def seconds(value: float) -> str:
    """A duration: 0.08 s, 12.3 s, 4 min 3 s."""
    if value >= 120:
        return f"{int(value // 60)} min {int(value % 60)} s"
    return f"{value:.1f} s" if value >= 10 else f"{value:.2f} s"


def size(value: float) -> str:
    """A number of bytes: 58 B, 12 kB, 3.4 MB."""
    if value < 1e3:
        return f"{value:.0f} B"
    return f"{value / 1e6:,.1f} MB" if value >= 1e6 else f"{value / 1e3:,.0f} kB"


def moment(value: datetime | str | None) -> str:
    """A time, given as datetime or ISO 8601 text, to the minute: 2024-05-01 12:00; "" for none."""
    if not value:
        return ""
    when = datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{when:%Y-%m-%d %H:%M}"


def age(value: datetime | str | None, now: datetime) -> str:
    """How long ago a time was: 5 minutes ago, 3 hours ago, 12 days ago; "" for none."""
    if not value:
        return ""
    when = datetime.fromisoformat(value) if isinstance(value, str) else value
    passed = max(0.0, (now - when).total_seconds())
    for length, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if passed >= 2 * length or (unit == "minute" and passed >= length):
            return f"{counted(int(passed // length), unit)} ago"
    return "just now"
