"""The report: a page of its own, that says what the facts say, whatever is in them."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.pages import NASTY, Page

from asgard.common.names import BranchName, CommitHash, RunId, SnapshotId
from asgard.features.views import Feature, FeatureView, feature_view, lasting
from asgard.lakehouse.catalog.nessie import LogEntry
from asgard.lakehouse.catalog.snapshots import At
from asgard.lakehouse.runs.history import RunSummary
from asgard.lakehouse.runs.records import AttemptRecord
from asgard.report.drawings import Box, Line, branch_graph, flow
from asgard.report.drawings import _lanes as lanes_of
from asgard.report.facts import Facts, GraphLine, SourceFileFact, TableFact
from asgard.report.features import FeatureFacts, TrainingFact, ViewFact, sample_of
from asgard.report.format import grouped, pairs, seconds, size
from asgard.report.page import render
from asgard.report.plots import Plot, customer_plots, department_plots, training_plots

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


def check(name: str, *, passed: bool = True, **changes: Any) -> dict[str, Any]:
    plain = {
        "name": name,
        "passed": passed,
        "blocks": not passed,
        "severity": "error",
        "answered_by": "statistics" if passed else "scan",
        "measured": {"min": -7, "max": 4242.5},
        "bounds": {"low": 0, "high": None},
        "failing_rows": 0 if passed else 3,
        "checked_rows": 20,
        "scanned_files": 0 if passed else 1,
        "columns": ["amount"],
        "sample": [] if passed else [{"amount": -7, "id": 99, "_source_file": "bad.csv", "_source_row": 4}],
        "sample_sql": None if passed else "SELECT * FROM t WHERE amount < 0",
        "error": None,
    }
    return {**plain, **changes}


def run(
    number: int, status: str, writes: Mapping[str, int], checks: Mapping[str, Sequence[Any]], base: str, **record: Any
) -> RunSummary:
    run_id = RunId(f"20240501t1200{number:02d}-r{number}")
    start = {"job": "backfill", "user": "ada", "environment": "test", "code_version": "c0de", "dirty": True}
    content = {
        "job": "backfill",
        "base": base,
        "branch": f"audit_{run_id}_1",
        "params": {"steps": [{"table": "silver.b", "reads": ["bronze.a"]}]},
        "writes": {
            name: {"rows_added": rows, "rows_removed": 0, "snapshot_id": number} for name, rows in writes.items()
        },
        "verdict": {"tables": [{"table": name, "results": results} for name, results in checks.items()]},
        "seconds": {"begin": 0.1, "write": 60.0, "audit": 2.0},
        **record,
    }
    attempt = AttemptRecord(
        run_id, 1, start=start, record=content, outcome={"seconds": {"write": 60.0, "publish": 0.5}}
    )
    return RunSummary(attempt, status, f"commit{number}" if status == "published" else None)


def described(name: str, rows: int, snapshot: int) -> dict[str, Any]:
    return {
        "table": name,
        "rows": rows,
        "files": 2,
        "bytes": 3_500_000,
        "snapshot_id": snapshot,
        "written": "2024-05-01T12:00:00+00:00",
        "description": f"About {name} {NASTY}",
        "columns": {"id": "long", "amount": "double"},
    }


@pytest.fixture
def facts() -> Facts:
    first = run(1, "published", {"bronze.a": 1234}, {"bronze.a": [check("not_null(id)")]}, "root")
    second = run(2, "published", {"silver.b": 1200}, {"silver.b": [check(f"odd {NASTY}")]}, "commit1")
    refused = run(
        3,
        "audit failed",
        {"bronze.a": 20},
        {"bronze.a": [check("fine"), check("between(amount)", passed=False)]},
        "commit2",
        params={"sources": ["/data/bad.csv"]},
    )
    log = [
        LogEntry(CommitHash(f"commit{n}"), CommitHash(""), "publish", NOW + timedelta(minutes=n), {}) for n in (2, 1)
    ]
    return Facts(
        at=At(BranchName("main"), CommitHash("commit2")),
        tables=(
            TableFact("bronze.a", described("bronze.a", 1234, 1), first, (), (SourceFileFact("a.csv", 5000, 1234),)),
            TableFact("silver.b", described("silver.b", 1200, 2), second, ("bronze.a",), ()),
        ),
        runs=(refused, second, first),
        graph=(
            GraphLine(None, refused, refused.attempt.record["branch"], 1),
            GraphLine(log[0], second, "audit_x", 2),
            GraphLine(log[1], first, "audit_y", 3),
        ),
        is_whole_log=True,
        engine={"engine-version": "4.1.4"},
    )


@pytest.fixture(scope="module")
def plots() -> list[Plot]:
    weeks = pd.date_range("2024-01-01", periods=8, freq="7D", tz="UTC")
    rows = pd.DataFrame(
        [
            {
                "event_timestamp": week,
                "customer_lifetime_value": float(10 * customer * (place + 1)),
                "purchase_frequency": customer / 3,
                "churned": customer % 4 == 0,
            }
            for place, week in enumerate(weeks)
            for customer in range(1, 40)
        ]
    )
    sales = pd.DataFrame({"department": ["GROCERY", "DELI", None], "revenue": [300.0, 100.0, 5.0]})
    return [*customer_plots(rows), *department_plots(sales.dropna())]


def page_of(facts: Facts, plots: Sequence[Plot] = (), features: FeatureFacts | None = None) -> str:
    return render(facts, plots, {"Java for Spark": "21"}, NOW, features)


def view_of(name: str, *features: str, **properties: Any) -> FeatureView:
    declared = [Feature(each, "double") for each in features]
    return feature_view(name, table=f"gold.{name}", keys=("customer_id",), features=declared, **properties)


@pytest.fixture(scope="module")
def training_rows() -> pd.DataFrame:
    """Customer 7's labels are all alike, customer 1,234's are not; most_missing is missing for half of them."""
    months = pd.date_range("2024-01-01", periods=4, freq="MS", tz="UTC")
    return pd.DataFrame(
        [
            {
                "customer_id": customer,
                "event_timestamp": month,
                "churned": customer == 1234 and place % 2 == 0,
                "spent": 1000.5 * place,
                "visits": float(place),
                "rest": 1.0,
                "most_missing": None if place % 2 else 0.25,
            }
            for customer in (7, 1234)
            for place, month in enumerate(months)
        ]
    )


@pytest.fixture
def features(training_rows: pd.DataFrame) -> FeatureFacts:
    views = (
        view_of("money", "spent", "visits", "rest", ttl="14d", online=True),
        view_of("odd", "x", description=NASTY),
    )
    names = ["spent", "visits", "rest", "most_missing"]
    columns, rows = sample_of(training_rows, ["customer_id"], "event_timestamp", views[:1], names)
    manifest = {
        "rows": 20738,
        "labels": {"source": "gold.labels", "snapshot_id": 4561278, "time_column": "event_timestamp"},
        "without_features": {"money": 30},
        "on_demand": ["most_missing"],
        "engine": {"used": "duckdb", "why": f"few rows {NASTY}"},
        "seconds": 8.288,
        "digest": "38504f0fe825",
        "holds": ["hold_set_1_0"],
    }
    plots = training_plots(training_rows, "event_timestamp", names)
    return FeatureFacts(
        (
            ViewFact(views[0], SnapshotId(11), {"rows": 120865, "entities": 2469}, is_newest=True),
            ViewFact(views[1], SnapshotId(12), {}, is_newest=False),
        ),
        TrainingFact("set.parquet", manifest, tuple(columns), tuple(rows), tuple(plots)),
    )


def test_the_page_needs_no_other_file_or_address(facts: Facts, plots: list[Plot], features: FeatureFacts) -> None:
    text = page_of(facts, plots, features)
    page = Page(text)
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"url\((?!#)|@import|https?://", text)
    assert not {"script", "link", "iframe", "object", "img"} & set(page.tags)


def test_every_anchor_is_there_once(facts: Facts, plots: list[Plot], features: FeatureFacts) -> None:
    text = page_of(facts, plots, features)
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(page.ids)


def test_what_comes_from_outside_is_text(facts: Facts, features: FeatureFacts) -> None:
    text = page_of(facts, features=features)
    assert "<script>alert" not in text
    assert NASTY in Page(text).text
    assert f"few rows {NASTY}" in Page(text).text


def test_it_says_what_the_facts_say(facts: Facts, plots: list[Plot]) -> None:
    text = " ".join(Page(page_of(facts, plots)).text.split())
    for expected in (
        "1,234 rows in bronze",
        "2 tables published by 2 runs",
        "2 of 2 checks passed",
        "20 rows kept out by 1 failed audit",
        "1,234 in → 1,200 out",
        "a.csv",
        "between(amount)",
        "min -7, max 4,242.5",
        "low 0, high null",
        "3 of 20",
        "the same commit: untouched",
        "audit_20240501t120003-r3_1",
        "c0de (with uncommitted changes)",
        "4.1.4",
        "60.5 s",
        "here main began, empty",
        plots[0].summary,
    ):
        assert expected in text, expected


def test_it_says_what_is_registered_and_what_the_training_set_is(facts: Facts, features: FeatureFacts) -> None:
    text = " ".join(Page(page_of(facts, features=features)).text.split())
    for expected in (
        "money customer_id gold.money 11 newest 3 120,865 2,469 14 days packed",
        "gold.odd 12 a newer one is there 1 for ever no",
        "20,738 of gold.labels at snapshot 4561278",
        "0 of 20,738 rows",
        "30 for money",
        "duckdb in 8.29 s: few rows",
        "38504f0fe825",
        "hold_set_1_0",
        "customer_id event_timestamp churned spent visits most_missing 1234 2024-01-01 True 0 0 0.25",
        "1234 2024-02-01 False 1,000.5 1 null",
        "25.0 % of 8 labels churned; 0.0 % to 50.0 % by month.",
        "most_missing is null for 50.0 % of labels",
    ):
        assert expected in text, expected


def test_views_without_a_training_set_are_shown_too(facts: Facts, features: FeatureFacts) -> None:
    text = Page(page_of(facts, features=FeatureFacts(features.views))).text
    assert "gold.money" in text
    assert "training set:" not in text
    assert "gold.money" not in Page(page_of(facts)).text


def test_how_long_a_row_counts() -> None:
    assert [lasting(ttl) for ttl in (None, timedelta(days=1), timedelta(hours=36), timedelta(seconds=90))] == [
        "for ever",
        "1 day",
        "36 hours",
        "90 seconds",
    ]


def test_a_training_set_without_labels_has_no_pictures(training_rows: pd.DataFrame) -> None:
    empty = training_rows.head(0)
    assert training_plots(empty, "event_timestamp", ["spent"]) == []
    assert sample_of(empty, ["customer_id"], "event_timestamp", [], ["spent"])[1] == []


def test_the_failing_rows_show_the_columns_of_the_check_first(facts: Facts) -> None:
    text = page_of(facts)
    header = re.search(r"<thead><tr>(<th style[^/]*?>amount</th>.*?)</tr>", text)
    assert header is not None
    assert re.findall(r">(\w+)</th>", header[1]) == ["amount", "_source_file", "_source_row", "id"]


def test_a_lakehouse_without_anything_has_a_report_too() -> None:
    nothing = Facts(At(BranchName("main"), CommitHash("abc")), (), (), (), True, {})
    text = Page(page_of(nothing)).text
    assert "Nothing was published yet." in text
    assert "The audit that failed" not in text


def test_headings_step_down_one_at_a_time(facts: Facts, plots: list[Plot], features: FeatureFacts) -> None:
    levels = [int(tag[1]) for tag in Page(page_of(facts, plots, features)).tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_pictures_have_a_name_and_take_their_colours_from_the_page(plots: list[Plot], features: FeatureFacts) -> None:
    assert features.training is not None
    for plot in (*plots, *features.training.plots):
        root = ElementTree.fromstring(plot.svg)  # noqa: S314 - our own
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", plot.svg)) <= {
            "none",
            *(f"var(--{name})" for name in ("ink", "muted", "line", "first", "second")),
        }
        assert "<style" not in plot.svg


def test_no_rows_no_plots() -> None:
    columns = ["event_timestamp", "customer_lifetime_value", "purchase_frequency", "churned"]
    assert customer_plots(pd.DataFrame(columns=columns)) == []
    assert department_plots(pd.DataFrame(columns=["department", "revenue"])) == []


def test_the_flow_joins_each_table_to_its_inputs() -> None:
    svg = flow(
        [
            Box("a", 0, ("1 row",), "bronze"),
            Box("b", 1, (), "silver", ("a",)),
            Box("c & <d>", 2, (), "gold", ("b", "a", "unknown")),
        ]
    )
    root = ElementTree.fromstring(svg)  # noqa: S314 - our own
    assert len(root.findall("path[@class='edge']")) == 3
    assert [text.text for text in root.findall(".//text[@class='name']")] == ["a", "b", "c & <d>"]


def test_a_table_of_its_inputs_layer_stands_below_it_and_is_joined_beside_the_column() -> None:
    boxes = [
        Box("a", 0, (), "silver"),
        Box("b", 0, (), "silver"),
        Box("of_b", 1, (), "gold", ("b",)),
        Box("made", 1, (), "gold", ("a",)),
        Box("of_made", 1, (), "gold", ("made",)),
    ]
    root = ElementTree.fromstring(flow(boxes))  # noqa: S314 - our own
    heights = {text.text: float(text.get("y", 0)) for text in root.findall(".//text[@class='name']")}
    assert heights["made"] < heights["of_made"] < heights["of_b"]
    right = max(float(box.get("x", 0)) + float(box.get("width", 0)) for box in root.findall(".//rect"))
    bow = [path.get("d", "") for path in root.findall("path") if path.get("d", "").startswith(f"M{right:g},")]
    assert len(bow) == 1
    assert float(root.get("width", 0)) >= right + 30


def test_the_flow_of_nothing() -> None:
    ElementTree.fromstring(flow([]))  # noqa: S314 - our own


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # generating takes long on a busy machine
@given(st.lists(st.tuples(st.none() | st.integers(0, 8), st.booleans()), max_size=12))
def test_no_two_branches_overlap(drawn: list[tuple[int | None, bool]]) -> None:
    lines = [
        Line(None if back is None else min(place + back, len(drawn) - 1), published)
        for place, (back, published) in enumerate(drawn)
    ]
    lanes = lanes_of(lines)
    spans = [
        (lane, place, len(lines) if lines[place].base is None else lines[place].base) for place, lane in lanes.items()
    ]
    for lane, start, end in spans:
        others = [other for other in spans if other[0] == lane and other[1] != start]
        assert all(end <= other[1] or other[2] <= start for other in others)  # type: ignore[operator]
    ElementTree.fromstring(branch_graph(lines))  # noqa: S314 - our own


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (1469307, "1,469,307"), (2.0, "2"), (0.0123456, "0.01235"), (12345.678, "12,345.7"), (-6.06, "-6.06")],
)
def test_numbers(value: float, expected: str) -> None:
    assert grouped(value) == expected


def test_pairs_put_the_low_end_first() -> None:
    assert pairs({"max": 9, "min": 1, "ok": True}) == "min 1, max 9, ok True"
    assert pairs({"high": None, "low": "2024-01-01"}) == "low 2024-01-01, high null"


def test_durations_and_sizes() -> None:
    assert [seconds(value) for value in (0.081, 12.34, 243.9)] == ["0.08 s", "12.3 s", "4 min 3 s"]
    assert [size(value) for value in (58, 8315, 12_345_678)] == ["58 B", "8 kB", "12.3 MB"]
