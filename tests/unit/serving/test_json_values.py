"""Values in a log of lookups are exact: through JSON and back, they are what they were."""

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from asgard.serving.lookup_audit.json_values import plain, plain_key, text, value_of

VALUES: list[tuple[str, Any]] = [
    ("boolean", True),
    ("int", -(2**31)),
    ("bigint", 2**63 - 1),
    ("string", 'é"\\\n|\u2028'),
    ("double", 0.1 + 0.2),
    ("double", 5e-324),
    ("double", 1e308),
    ("float", 0.10000000149011612),
    ("double", math.inf),
    ("double", -math.inf),
    ("decimal(38,18)", Decimal("12345678901234567890.000000000000000001")),
    ("decimal(38,18)", Decimal("0E-18")),
    ("date", date(1, 1, 1)),
    ("timestamp", datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)),
    ("timestamp_ntz", datetime(9999, 12, 31, 23, 59, 59, 1)),
    ("binary", bytes(range(256))),
    ("array<array<double>>", [[1.5, None], None, []]),
    ("array<binary>", [b"", None, b"\xff"]),
]


@pytest.mark.parametrize(("kind", "value"), VALUES)
def test_a_value_comes_back_exactly(kind: str, value: Any) -> None:
    line = text({"value": plain(value), "null": plain(None)})
    read = json.loads(line)
    back = value_of(read["value"], kind)
    assert (type(back), back, value_of(read["null"], kind)) == (type(value), value, None)
    assert str(back) == str(value)
    assert text({"value": plain(back), "null": None}) == line


def test_nan_is_nan_and_minus_zero_is_zero() -> None:
    assert math.isnan(value_of(json.loads(text({"v": plain(math.nan)}))["v"], "double"))
    assert text({"v": plain(-0.0)}) == text({"v": plain(0.0)})


def test_a_key_is_one_text_however_it_is_given() -> None:
    assert plain_key(Decimal(7), "decimal(10,2)") == plain_key(7, "decimal(10,2)") == "7.00"
    here = datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert plain_key(here, "timestamp") == plain_key(here.astimezone(UTC), "timestamp")
