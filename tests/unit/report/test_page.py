"""The report: a page of its own, that says what the facts say, whatever is in them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.pages import NASTY, Page, page_of_sections

from asgard.common.errors import EnvironmentSetupError
from asgard.common.names import BranchName, CommitHash, RunId, SnapshotId, TableName
from asgard.features.views import Feature, FeatureView, feature_view, lasting, on_demand
from asgard.lakehouse.catalog.nessie import LogEntry
from asgard.lakehouse.catalog.snapshots import At
from asgard.lakehouse.declaring.declaration import declare_table
from asgard.lakehouse.runs.history import RunSummary
from asgard.lakehouse.runs.records import AttemptRecord
from asgard.report.drawings import Box, Line, branch_graph, flow
from asgard.report.drawings import _lanes as lanes_of
from asgard.report.facts import GraphLine, ReportFacts, SourceFileFact, TableFact, refused_since, tables_of
from asgard.report.features import FeatureFacts, ViewFact
from asgard.report.format import age, grouped, moment, pairs, seconds, size
from asgard.report.page import Report, render, write
from asgard.report.sections import Section, rendered
from asgard.report.tables import boxes, columns_of
from asgard.validation.checks import not_null

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
        "owner": "sales",
        "pipeline": "shop" if name == "silver.b" else "other",
        "columns": {"id": "bigint", "amount": "double"},
    }


@pytest.fixture
def facts() -> ReportFacts:
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
    declared = declare_table(
        "silver.b", lambda raw: raw, inputs={"raw": "bronze.a"}, keys=["id"], checks=[not_null("id")]
    )
    return ReportFacts(
        pipeline="shop",
        at=At(BranchName("main"), CommitHash("commit2")),
        tables=(
            TableFact(
                "bronze.a",
                None,
                described("bronze.a", 1234, 1),
                first,
                refused,
                files=(SourceFileFact("a.csv", 5000, 1234),),
            ),
            TableFact(
                "silver.b",
                declared,
                described("silver.b", 1200, 2),
                second,
                inputs=("bronze.a",),
                waiting="its inputs changed: bronze.a",
            ),
            TableFact("gold.b_predictions", inputs=("silver.b",), model="b"),
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


def page_of(facts: ReportFacts, features: FeatureFacts | None = None, *sections: Section) -> str:
    around = {"Java for Spark": "21"}
    return render(Report(facts, NOW, features or FeatureFacts(), surroundings=around, sections=sections))


def view_of(name: str, *features: str, **properties: Any) -> FeatureView:
    declared = [Feature(each, "double") for each in features]
    return feature_view(name, table=f"gold.{name}", keys=("customer_id",), features=declared, **properties)


@pytest.fixture
def features() -> FeatureFacts:
    @on_demand(inputs={"one": "money:spent", "other": "money:visits"})
    def trend(one: Any, other: Any) -> Any:
        """Spent a visit."""
        return one / other

    money = view_of("money", "spent", "visits", "rest", ttl="14d", online=True)
    return FeatureFacts(
        (
            ViewFact(money, SnapshotId(11), {"rows": 120865, "entities": 2469}, is_newest=True),
            ViewFact(view_of("odd", "x", description=NASTY), SnapshotId(12), {}, is_newest=False),
        ),
        (view_of("later", "y"),),
        (trend,),
    )


def test_the_page_needs_no_other_file_or_address(facts: ReportFacts, features: FeatureFacts) -> None:
    text = page_of(facts, features)
    page = Page(text)
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"url\((?!#)|@import|https?://", text)
    assert not {"script", "link", "iframe", "object", "img"} & set(page.tags)


def test_every_anchor_is_there_once(facts: ReportFacts, features: FeatureFacts) -> None:
    section = Section("extra", "One more", rendered("macros.html.j2"))
    text = page_of(facts, features, section)
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert {"extra", "table-bronze-a", "table-silver-b"} <= {link[1:] for link in page.links}
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(page.ids)


def test_what_comes_from_outside_is_text(facts: ReportFacts, features: FeatureFacts) -> None:
    text = page_of(facts, features)
    assert "<script>alert" not in text
    assert NASTY in Page(text).text


def test_it_says_what_the_facts_say(facts: ReportFacts) -> None:
    text = " ".join(Page(page_of(facts)).text.split())
    for expected in (
        "1,234 rows in bronze",
        "2 of 3 tables published by 2 runs; the newest just now",
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
        "the empty beginning of main",
        "audit failed ✕ between(amount)",
        "bronze.a +1,234",
    ):
        assert expected in text, expected


def test_a_table_says_its_columns_owner_checks_rows_and_how_fresh_it_is(
    facts: ReportFacts, features: FeatureFacts
) -> None:
    money = view_of("money", "amount")
    fact = ViewFact(replace(money, table=TableName("silver", "b")), SnapshotId(2), {}, is_newest=True)
    text = " ".join(Page(page_of(facts, replace(features, views=(fact,)))).text.split())
    card = text[text.rindex("silver.b 1,200 rows") : text.rindex("gold.b_predictions not published yet")]
    for expected in (
        "1,200 rows, written just now 1 of 1 checks passed behind",
        "Written 2024-05-01 12:00 UTC",
        "Waits for a backfill its inputs changed: bronze.a",
        "Owner sales Made from bronze.a Rows in 1,234 Last run 1,200 rows added, 0 removed",
        "Kept as 2 files, 3.5 MB Key id",
        "Write mode replace",
        "id bigint key",
        "amount double feature of money",
        "not_null(id) not audited yet",
    ):
        assert expected in card, expected


def test_a_table_that_another_pipeline_published_says_so(facts: ReportFacts) -> None:
    text = " ".join(Page(page_of(facts)).text.split())
    assert text.count("Belongs to pipeline other, which published it Made from a.csv") == 1
    assert "Belongs to pipeline shop" not in text


def test_it_says_what_is_registered(facts: ReportFacts, features: FeatureFacts) -> None:
    text = " ".join(Page(page_of(facts, features)).text.split())
    for expected in (
        "money customer_id gold.money 11 newest 3 120,865 2,469 14 days packed",
        "gold.odd 12 a newer one exists 1 for ever no",
        "spent money double",
        "trend Spent a visit.",
        "later: asgard features apply",
    ):
        assert expected in text, expected
    assert "This pipeline declares no feature views." in Page(page_of(facts)).text


def test_how_long_a_row_counts() -> None:
    assert [lasting(ttl) for ttl in (None, timedelta(days=1), timedelta(hours=36), timedelta(seconds=90))] == [
        "for ever",
        "1 day",
        "36 hours",
        "90 seconds",
    ]


def test_the_failing_rows_show_the_columns_of_the_check_first(facts: ReportFacts) -> None:
    text = page_of(facts)
    header = re.search(r"<thead><tr>(<th style[^/]*?>amount</th>.*?)</tr>", text)
    assert header is not None
    assert re.findall(r">(\w+)</th>", header[1]) == ["amount", "_source_file", "_source_row", "id"]


def test_a_pipeline_without_anything_has_a_report_too() -> None:
    text = Page(page_of_sections()).text
    for expected in (
        "Nothing was published yet.",
        "No run of this pipeline yet",
        "This pipeline declares no tables.",
        "This pipeline declares no models.",
        "No view of this pipeline is online",
    ):
        assert expected in text
    assert "The failed audit" not in text


def test_headings_step_down_one_at_a_time(facts: ReportFacts, features: FeatureFacts) -> None:
    levels = [int(tag[1]) for tag in Page(page_of(facts, features)).tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_the_graph_marks_what_failed_and_joins_predictions(facts: ReportFacts) -> None:
    drawn = {box.name.strip(): box for box in boxes(facts)}
    assert drawn["bronze.a"].mark == "bad"
    assert drawn["bronze.a"].lines == ("1,234 in → 1,234 out", "1 of 2 checks failed, not published")
    assert drawn["silver.b"].mark == ""
    assert drawn["gold.b_predictions"].inputs == ("silver.b",)
    assert [columns_of(facts)[box.column] for box in drawn.values()] == ["files", "bronze", "silver", "predictions"]
    text = page_of(facts)
    assert text.count('<path class="edge"') == 3
    assert text.count('<g class="box bronze bad">') == 1
    assert re.search(r'<li class="box bronze bad"><span class="chip bad">✕</span>', text)


def test_a_failed_warning_is_marked_and_many_files_are_one_box(facts: ReportFacts) -> None:
    bronze, silver, predicted = facts.tables
    warned = run(4, "published", {"silver.b": 1}, {"silver.b": [check("rare", passed=False, blocks=False)]}, "root")
    files = tuple(SourceFileFact(f"{number}.csv", 10, 2) for number in range(9))
    changed = (replace(bronze, refused=None, files=files), replace(silver, run=warned), predicted)
    drawn = {box.name: box for box in boxes(replace(facts, tables=changed))}
    assert {name: box.mark for name, box in drawn.items() if box.mark} == {"silver.b": "warn"}
    assert drawn["9 files of bronze.a"].lines == ("18 rows", "90 B")


def test_layers_stand_in_the_order_in_which_rows_go_through_them(facts: ReportFacts) -> None:
    graph = {"zero.a": (), "mart.c": ("base.b", "mart.d"), "base.b": ("zero.a",), "mart.d": ("base.b",)}
    tables = tuple(TableFact(name, inputs=graph[name]) for name in ("zero.a", "base.b", "mart.d", "mart.c"))
    assert columns_of(replace(facts, tables=tables)) == ["zero", "base", "mart"]


def test_a_table_counts_as_refused_until_a_later_run_publishes_it(facts: ReportFacts) -> None:
    refused, second, first = facts.runs
    assert refused_since((refused, second, first), "bronze.a") is refused
    assert refused_since((first, refused), "bronze.a") is None
    assert refused_since((refused, second, first), "silver.b") is None


def test_a_run_is_of_the_tables_that_it_was_asked_for_although_it_wrote_none() -> None:
    def asked(**params: Any) -> set[str]:
        return tables_of(RunSummary(AttemptRecord(RunId("20240501t120000-r"), 1, {"params": params}), "failed", None))

    assert asked(steps=[{"table": "silver.b"}]) == {"silver.b"}
    assert asked(table="bronze.a") == {"bronze.a"}
    assert asked(model="churn@1.2.0") == {"gold.churn_predictions"}
    assert asked() == set()


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


def test_moments_and_how_long_ago_they_were() -> None:
    assert moment("2024-05-01T11:22:33+00:00") == "2024-05-01 11:22"
    assert moment(None) == age(None, NOW) == ""
    passed = [timedelta(seconds=59), timedelta(minutes=1), timedelta(hours=3), timedelta(days=40)]
    assert [age(NOW - each, NOW) for each in passed] == ["just now", "1 minute ago", "3 hours ago", "40 days ago"]
    assert age((NOW + timedelta(minutes=5)).isoformat(), NOW) == "just now"


def test_durations_and_sizes() -> None:
    assert [seconds(value) for value in (0.081, 12.34, 243.9)] == ["0.08 s", "12.3 s", "4 min 3 s"]
    assert [size(value) for value in (58, 8315, 12_345_678)] == ["58 B", "8 kB", "12.3 MB"]


def test_files_of_one_name_in_two_tables_are_two_boxes(facts: ReportFacts) -> None:
    bronze, silver, predicted = facts.tables
    file = SourceFileFact("2024.csv", 10, 2)
    other = replace(silver, inputs=(), files=(file, SourceFileFact("public.orders", None, 7)))
    drawn = boxes(replace(facts, tables=(replace(bronze, files=(file, file)), other, predicted)))
    files = [box for box in drawn if box.column == 0]
    assert len({box.name for box in files}) == len(files) == 4
    assert [box.name.strip() for box in files] == ["2024.csv", "2024.csv", "2024.csv", "public.orders"]
    into = {box.name: box.inputs for box in drawn if box.inputs}
    assert sorted(into["bronze.a"] + into["silver.b"]) == sorted(box.name for box in files)
    assert files[3].lines == ("7 rows",)


def test_no_run_of_this_pipeline_among_the_newest_is_not_said_to_be_none(facts: ReportFacts) -> None:
    assert "No run of this pipeline yet" in page_of(replace(facts, runs=()))
    among = page_of(replace(facts, runs=(), are_all_runs=False))
    assert "No run of this pipeline yet" not in among
    assert "None of the newest 100 attempts" in among


def test_a_report_takes_the_place_of_nothing_but_a_file(facts: ReportFacts, tmp_path: Path) -> None:
    report = Report(facts, NOW, FeatureFacts())
    with pytest.raises(EnvironmentSetupError, match="it exists and is not a file"):
        write(report, tmp_path)
    (tmp_path / "linked.html").symlink_to(tmp_path / "real.html")
    write(report, tmp_path / "linked.html")
    assert (tmp_path / "linked.html").is_symlink()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["linked.html", "real.html"]
