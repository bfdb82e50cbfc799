"""A table's code digests change with what decides its rows, and with nothing else."""

import importlib
import linecache
import sys
from pathlib import Path

import pytest

from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.freshness.code_digest import CodeDigests, code_digests

MAIN = '''
from asgard import Daily, Pipeline, checks
import digest_helpers
from digest_helpers import RATE, clean

LIMIT = 5
shop = Pipeline("shop", start="2024-01-01")
shop.source("bronze.orders")


@shop.table(
    "silver.orders",
    inputs={"orders": "bronze.orders"},
    interval=Daily("at"),
    checks=(checks.between("amount", 0, LIMIT),),
    owner="ann",
)
def orders(orders):
    """What was ordered."""
    # a comment
    large = lambda rows: rows.where("amount > 1")
    from digest_helpers import late

    return late(large(clean(orders)).limit(LIMIT).select(digest_helpers.rated(RATE)))
'''
HELPERS = """
from dataclasses import dataclass

from pyspark.sql.types import LongType, StructField, StructType

RATE = 2.5
STEPS = [lambda rows: rows.limit(1), lambda rows: rows.limit(2)]
SCHEMA = StructType([StructField("id", LongType())])


@dataclass(frozen=True)
class Rule:
    limit: int = 3

    def apply(self, rows):
        return rows.limit(self.limit)


RULE = Rule()


def clean(rows):
    return inner(RULE.apply(rows))


def inner(rows):
    return rows


def rated(value):
    return value


def late(rows):
    for step in STEPS:
        rows = step(rows)
    return rows.to(SCHEMA)


def unused(value):
    return 1
"""
SQL = """-- table: gold.days
-- input orders: silver.orders
-- interval: daily(at)
SELECT at, 'a  -- b' AS text, sum(amount) AS amount
FROM orders WHERE at >= :start AND at < :end GROUP BY at
"""


def _digests(folder: Path, main: str = MAIN, helpers: str = HELPERS, sql: str = SQL) -> tuple[CodeDigests, CodeDigests]:
    (folder / "digest_main.py").write_text(main)
    (folder / "digest_helpers.py").write_text(helpers)
    (folder / "days.sql").write_text(sql)
    for name in ("digest_main", "digest_helpers"):
        sys.modules.pop(name, None)
    for cached in folder.glob("__pycache__/*"):
        cached.unlink()
    importlib.invalidate_caches()
    linecache.clearcache()
    shop: Pipeline = importlib.import_module("digest_main").shop
    shop.sql(folder / "days.sql")
    return code_digests(shop["silver.orders"]), code_digests(shop["gold.days"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def _changed(before: CodeDigests, after: CodeDigests) -> set[str]:
    return {name for name in ("rows", "checks", "documentation") if getattr(before, name) != getattr(after, name)}


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("# a comment", "# another\n\n", set()),
        ('"""What was ordered."""', '"""Something else."""', {"documentation"}),
        ('owner="ann"', 'owner="bob"', {"documentation"}),
        ("amount > 1", "amount > 2", {"rows"}),
        ("LIMIT = 5", "LIMIT = 6", {"rows", "checks"}),
        ('"amount", 0', '"amount", 1', {"checks"}),
        ('Daily("at")', 'Daily("at", lookback=2)', set()),
        ('start="2024-01-01"', 'start="2023-01-01"', set()),
        ('interval=Daily("at"),', 'interval=Daily("at"), columns="at timestamp, amount int",', {"rows"}),
        ('interval=Daily("at"),', 'interval=Daily("at"), contract="frozen",', {"checks"}),
    ],
)
def test_of_the_module_itself(folder: Path, old: str, new: str, changed: set[str]) -> None:
    before, _ = _digests(folder)
    assert old in MAIN
    assert _changed(before, _digests(folder, MAIN.replace(old, new))[0]) == changed


@pytest.mark.parametrize(
    ("old", "new", "is_used"),
    [
        ("def inner(rows):\n    return rows", "def inner(rows):\n    return rows.distinct()", True),
        ("def rated(value):\n    return value", "def rated(value):\n    return -value", True),
        ("    return rows.to(SCHEMA)", "    return rows.to(SCHEMA).distinct()", True),
        ("lambda rows: rows.limit(2)", "lambda rows: rows.limit(3)", True),
        ("LongType())", "LongType(), False)", True),
        ("RATE = 2.5", "RATE = 2.6", True),
        ("limit: int = 3", "limit: int = 4", True),
        ("rows.limit(self.limit)", "rows.limit(self.limit + 1)", True),
        ("def unused(value):\n    return 1", "def unused(value):\n    return 2", False),
        ("\n\n\ndef inner", "\n\n# far away\n\n\ndef inner", False),
    ],
)
def test_of_what_it_uses(folder: Path, old: str, new: str, *, is_used: bool) -> None:
    before, _ = _digests(folder)
    assert old in HELPERS
    after, _ = _digests(folder, helpers=HELPERS.replace(old, new))
    assert _changed(before, after) == ({"rows"} if is_used else set())


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("SELECT at,", "SELECT\n  at,  -- when\n ", set()),
        ("sum(amount)", "max(amount)", {"rows"}),
        ("'a  -- b'", "'a -- b'", {"rows"}),
        ("-- interval: daily(at)", "-- interval: daily(at)\n-- owner: ann", {"documentation"}),
    ],
)
def test_of_a_sql_file(folder: Path, old: str, new: str, changed: set[str]) -> None:
    _, before = _digests(folder)
    assert old in SQL
    assert _changed(before, _digests(folder, sql=SQL.replace(old, new))[1]) == changed


def test_it_is_the_same_in_another_process_and_another_folder(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = _digests(folder)
    other = tmp_path_factory.mktemp("elsewhere")
    sys.path.insert(0, str(other))
    try:
        assert _digests(other) == before
    finally:
        sys.path.remove(str(other))
