"""How arrivals are worded: the rest is counted on real tables."""

from datetime import UTC, datetime

from asgard.ingest.arrivals import Arrivals
from asgard.lakehouse.declaring.intervals import Unit


def test_years_before_1000_have_four_digits() -> None:
    days = Arrivals("d", Unit.DAY, {datetime(24, 1, 5, tzinfo=UTC): 1})
    months = Arrivals("d", Unit.MONTH, {datetime(24, 1, 1, tzinfo=UTC): 2})
    assert [*days.lines(), *months.lines()] == [
        "rows arrived for 1 day of d: 0024-01-05",
        "rows arrived for 1 month of d: 0024-01",
    ]
