"""A reader in JavaScript, written from docs/online.md, finds in Redis what the Python client finds."""

import json
import os
import shutil
import subprocess
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.conftest import Fresh

from asgard.features.views import Feature, feature_view
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import declare_table
from asgard.lakehouse.runs.run import RunRequest, execute
from asgard.serving import OnlineStore, Status
from asgard.serving.redis_access.store import Store
from asgard.serving.sync.sync import sync

MOMENT = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
LATER = datetime(2024, 2, 29, 12, 30, 0, 123_456, tzinfo=UTC)
KEYS = {"region": "string", "number": "bigint", "day": "date", "cents": "decimal(10,2)"}
SCALARS: dict[str, tuple[Any, Any]] = {
    "boolean": (True, False),
    "int": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
    "float": (-1.5, 3.4028234663852886e38),
    "double": (-0.1, 5e-324),
    "string": ("", "Ærø | 100 % 🛒"),
    "binary": (bytearray(b""), bytearray(b"\x00\xff\r\n")),
    "date": (date(1969, 12, 31), date(2024, 2, 29)),
    "timestamp": (MOMENT, LATER),
    "timestamp_ntz": (MOMENT.replace(tzinfo=None), LATER.replace(tzinfo=None)),
    "decimal(18,2)": (Decimal("-0.01"), Decimal("9999999999999999.99")),
    "decimal(19,0)": (Decimal(-(10**19) + 1), Decimal(2**63)),
    "decimal(38,10)": (Decimal("-1E-10"), Decimal("9999999999999999999999999999.9999999999")),
}
KINDS = (*SCALARS, *(f"array<{kind}>" for kind in SCALARS), "array<array<string>>")
FEATURES = {f"f{place}": kind for place, kind in enumerate(KINDS)}


def value_of(kind: str, row: int) -> Any:
    """What one of four rows has: the lesser values, the greater ones, arrays that are empty, nulls."""
    if row == 3:
        return None
    if not kind.startswith("array"):
        return SCALARS[kind][row % 2]
    inner = kind.removeprefix("array<").removesuffix(">")
    return [] if row == 2 else [None, *(value_of(inner, each) for each in (0, 1, 0, 1, 0, 1, 0, 1)), None][: 9 + row]


ENTITIES: list[tuple[Any, ...]] = [
    ("a|b%25", -7, date(1969, 12, 31), Decimal("-0.05")),
    ("Ærø 🛒", 2**63 - 1, date(2024, 2, 29), Decimal("12345678.90")),
    ("", 0, date(1, 1, 1), Decimal("0.00")),
    ("%7C", 1, date(9999, 12, 31), Decimal("1.00")),
]


def entity_texts(entity: tuple[Any, ...]) -> list[str]:
    """As docs/online.md names a key's values."""
    region, number, day, cents = entity
    return [region, str(number), day.isoformat(), str(int(cents * 100))]


def said(value: Any, kind: str) -> Any:
    """A value as the other reader says it; floating numbers stay."""
    if value is None:
        return None
    if kind.startswith("array"):
        return [said(item, kind.removeprefix("array<").removesuffix(">")) for item in value]
    if kind in ("timestamp", "timestamp_ntz"):
        since = value.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        return str(since // timedelta(microseconds=1))
    if kind in ("float", "double", "string"):
        return value
    if kind == "binary":
        return value.hex()
    return f"{value:f}" if kind.startswith("decimal") else str(value).lower()


def read(value: Any, kind: str) -> Any:
    """What the other reader says, with floating numbers read."""
    if isinstance(value, list):
        return [read(item, kind.removeprefix("array<").removesuffix(">")) for item in value]
    return float(value) if value is not None and kind in ("float", "double") else value


@pytest.fixture
def node() -> str:
    found = shutil.which("node")
    if found is None and "CI" not in os.environ:
        pytest.skip("Node.js is not installed")
    assert found is not None
    return found


def test_javascript_reads_what_python_reads(lake: Lakehouse, fresh: Fresh, node: str, repository_root: Path) -> None:
    table = declare_table(str(fresh.table("gold")), mode="replace")
    columns = ", ".join(f"{name} {kind}" for name, kind in {**KEYS, "event_timestamp": "timestamp", **FEATURES}.items())
    rows = [
        (*entity, LATER, *(value_of(kind, number) for kind in FEATURES.values()))
        for number, entity in enumerate(ENTITIES)
    ]
    frame = lake.spark.createDataFrame(rows, columns)
    execute(lake, RunRequest("test"), lambda attempt: attempt.write(table, frame), lambda _line: None)
    view = feature_view(
        f"view_{table.name.name}",
        table=str(table.name),
        keys=tuple(KEYS),
        features=[Feature(name, kind) for name, kind in FEATURES.items()],
        online=True,
    )
    store = Store.of(lake.settings)
    sync(lake, store, view, say=lambda _line: None)

    asked = [*ENTITIES, ("nobody", 0, date(2024, 1, 1), Decimal("0.00"))]
    mine = OnlineStore(settings=lake.settings, timeout=10).lookup_many(
        view.name, [dict(zip(KEYS, entity, strict=True)) for entity in asked]
    )
    assert [row.status for row in mine] == [*[Status.FOUND] * 4, Status.MISSING]
    expected = [{name: value_of(kind, number) for name, kind in FEATURES.items()} for number in range(len(ENTITIES))]
    assert [dict(row) for row in mine][:4] == expected

    address = urlsplit(lake.settings.redis_url.reveal())  # type: ignore[union-attr]
    script = repository_root / "tests" / "support" / "packed_reader.mjs"
    done = subprocess.run(
        [node, str(script), str(address.hostname), str(address.port), store.prefix, view.name],
        input=json.dumps([entity_texts(entity) for entity in asked]),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    assert theirs[4] is None
    for row, other in zip(mine[:4], theirs, strict=False):
        assert other["event"] == said(LATER, "timestamp")
        assert {name: read(other["values"][name], kind) for name, kind in FEATURES.items()} == {
            name: said(row[name], kind) for name, kind in FEATURES.items()
        }
