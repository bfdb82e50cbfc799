"""What an ingest says of the days that rows arrived for, of late ones, and of what becomes stale downstream."""

import json
import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.conftest import Fresh

from asgard.cli.app import main
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.history import list_runs

PIPELINE = """
from asgard import Daily, Monthly, Pipeline

shop = Pipeline("shop", start="2024-01-01", end="2024-03-01")
shop.source("bronze.{suffix}", columns="id bigint, ordered_at timestamp, amount bigint"{interval})

@shop.table("silver.{suffix}", inputs={{"orders": "bronze.{suffix}"}}, interval=Daily("ordered_at"))
def orders(orders, interval):
    inside = (orders.ordered_at >= interval.start) & (orders.ordered_at < interval.end)
    return orders.where(inside).select("id", "ordered_at", "amount")

@shop.table("gold.{suffix}", inputs={{"orders": "silver.{suffix}"}}, interval=Monthly("ordered_at"))
def by_month(orders, interval):
    return orders.where((orders.ordered_at >= interval.start) & (orders.ordered_at < interval.end))

@shop.table("gold.{suffix}_count", inputs={{"orders": "silver.{suffix}"}}, restate="{restate}")
def count(orders):
    return orders.groupBy().count()
"""


class Shop:
    """A pipeline in a file, and files that are ingested into its source by the command."""

    def __init__(
        self, lake: Lakehouse, fresh: Fresh, folder: Path, capsys: pytest.CaptureFixture[str], **words: str
    ) -> None:
        self.name, self.folder, self.capsys, self.lake = fresh.table().name, folder, capsys, lake
        self.pipeline, self.number = folder / f"{self.name}.py", 0
        given = {"interval": ', interval=Daily("ordered_at")', "restate": "ask", **words}
        self.pipeline.write_text(PIPELINE.format(suffix=self.name, **given))

    def call(self, *arguments: str, code: int = 0) -> tuple[Any, list[str]]:
        assert main([*arguments, "--dir", str(self.lake.settings.project_dir)]) == code
        out, err = self.capsys.readouterr()
        return json.loads(out) if "--json" in arguments else out, [
            re.sub(r"^ *\d+\.\ds  ", "", line) for line in err.splitlines()
        ]

    def ingest(self, moments: list[str], *options: str, code: int = 0) -> tuple[Any, list[str]]:
        self.number += 1
        path = self.folder / f"orders{self.number}.csv"
        lines = [f"{self.number * 100_000 + at},{moment},1" for at, moment in enumerate(moments)]
        path.write_text("\n".join(["id,ordered_at,amount", *lines]) + "\n")
        return self.call("ingest", f"bronze.{self.name}", str(path), *options, code=code)

    def backfill(self, *options: str) -> list[str]:
        return self.call("backfill", "-p", str(self.pipeline), *options)[1]

    @property
    def known(self) -> tuple[str, str]:
        return "-p", str(self.pipeline)


@pytest.fixture
def shop(lake: Lakehouse, fresh: Fresh, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shop:
    return Shop(lake, fresh, tmp_path, capsys)


def test_days_late_days_and_what_becomes_stale(shop: Shop) -> None:
    name = shop.name
    _, said = shop.ingest(["2024-01-05", "2024-01-06T23:59:59", "2024-02-03"], *shop.known)
    assert "rows arrived for 3 days of ordered_at: 2024-01-05 .. 2024-01-06, 2024-02-03" in said
    assert not any(line.startswith("late") or "stale" in line for line in said)
    missing = f"silver.{name}, gold.{name}, gold.{name}_count"
    assert f"`asgard backfill -p {shop.pipeline}` computes what is missing of {missing}" in said
    shop.backfill()

    _, said = shop.ingest(["2024-01-20", "2024-02-03", "2024-02-04", "2024-01-20T08:00"], *shop.known)
    at = said.index("rows arrived for 3 days of ordered_at: 2024-01-20, 2024-02-03 .. 2024-02-04")
    assert said[at + 1] == "late: 2 rows for 1 day of ordered_at: 2024-01-20; the newest day before was 2024-02-03"
    stale = [line for line in said if "becomes stale" in line]
    assert stale == [
        f"silver.{name} becomes stale for 2024-01-20 to 2024-01-21, 2024-02-03 to 2024-02-05",
        f"gold.{name} becomes stale for 2024-01-01 to 2024-03-01",
        f"gold.{name}_count becomes stale",
    ]
    assert said[said.index(stale[-1]) + 1] == f"`asgard backfill -p {shop.pipeline} --stale` computes it again"

    answer, _ = shop.ingest(["2024-01-20", "2024-01-21"], "--json", *shop.known)
    assert answer["made_stale"]["stale"] == [{"table": f"silver.{name}", "intervals": "2024-01-21/2024-01-22"}]
    assert answer["arrivals"]["late"] == {
        "rows": 2,
        "intervals": 2,
        "spans": [["2024-01-20", "2024-01-21"]],
        "more_spans": 0,
        "last": "2024-01-21",
    }
    record = list_runs(shop.lake, run_id=answer["run_id"])[0].attempt.record
    assert record["details"]["arrivals"] == answer["arrivals"]
    shop.backfill("--stale")
    assert shop.backfill("--stale") == ["nothing is missing", "no run was needed"]
    _, said = shop.call("ingest", f"bronze.{name}", str(shop.folder / "orders1.csv"), *shop.known)
    assert any("orders1.csv: landed before" in line for line in said)
    assert not any("arrived" in line or "stale" in line for line in said)


def test_without_the_pipeline_the_published_interval_is_known(shop: Shop) -> None:
    shop.ingest(["2024-01-05"], *shop.known)
    answer, _ = shop.ingest(["2024-01-04"], "--json")
    assert (answer["arrivals"]["column"], answer["arrivals"]["late"]["rows"]) == ("ordered_at", 1)
    assert answer["made_stale"] is None
    _, said = shop.ingest(["2024-01-06"])
    assert "rows arrived for 1 day of ordered_at: 2024-01-06" in said
    assert "`asgard plan -p PIPELINE --stale` says what became stale" in said


def test_rows_without_a_day_are_named_before_the_audit_refuses_them(shop: Shop) -> None:
    _, said = shop.ingest(["2024-01-05", "soon", "", ""], *shop.known, code=3)
    reasons = "1 with a text that is no time (see _raw), 2 empty, or outside of the years 1 to 9999"
    assert f"3 rows have no ordered_at: {reasons}" in said


def test_a_source_without_an_interval_goes_by_the_column_that_is_read(
    lake: Lakehouse, fresh: Fresh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = Shop(lake, fresh, tmp_path, capsys, interval="", restate="never")
    answer, _ = shop.ingest(["2024-01-05"], "--json", *shop.known)
    assert answer["arrivals"] is None  # nothing has read it yet
    shop.backfill()
    moments = ["2024-01-03", "2024-01-05", "9999-12-31", "", "later", "1,2,3"]
    _, said = shop.ingest(moments, *shop.known)
    assert "rows arrived for 3 days of ordered_at: 2024-01-03, 2024-01-05, 9999-12-31" in said
    assert "late: 1 row for 1 day of ordered_at: 2024-01-03; the newest day before was 2024-01-05" in said
    assert any(line.startswith("3 rows have no ordered_at: 1 with a text") and "1 not parsed" in line for line in said)
    never = "only --start and --end compute it again (restate='never')"
    assert f"gold.{shop.name}_count becomes stale; {never}" in said


def test_ten_thousand_days_are_spans_and_more_are_months(
    lake: Lakehouse, fresh: Fresh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against pandas: days in spans, gaps and all."""
    by_year = ', interval=Daily("ordered_at"), partitioned_by=["year(ordered_at)"]'
    shop = Shop(lake, fresh, tmp_path, capsys, interval=by_year)
    days = [date(1999, 1, 1) + timedelta(days=number) for number in range(10_000) if number % 1000]
    answer, _ = shop.ingest([each.isoformat() for each in days], "--json", *shop.known)
    moments = pd.Series(pd.to_datetime(days))
    number = (moments.diff() != pd.Timedelta(days=1)).cumsum()
    spans = moments.groupby(number).agg(["min", "max"]).map(lambda moment: f"{moment:%Y-%m-%d}")
    assert answer["arrivals"]["spans"] == spans.to_numpy().tolist()
    assert answer["arrivals"]["intervals"] == len(days)
    days = [date(1990, 1, 1) + timedelta(days=number) for number in range(11_000)]
    _, said = shop.ingest([each.isoformat() for each in days], *shop.known)
    assert "rows arrived for 362 months of ordered_at: 1990-01 .. 2020-02" in said
