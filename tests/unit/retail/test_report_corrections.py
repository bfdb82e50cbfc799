"""The demo's section on a correction and a deletion: before and after, and where nothing was noted before."""

import json
import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.pages import NASTY, Page, page_of_sections

from asgard.local.demo.lookups import Change, OnlineFacts, Seen, changes
from examples.retail.report import corrections_section

NOW = datetime(2018, 1, 2, tzinfo=UTC)


def row(status: str, snapshot: int, **features: Any) -> dict[str, Any]:
    told = {"status": status, "event_timestamp": "2018-01-01T00:00:00+00:00" if features else None}
    head = {"table": "gold.m", "snapshot_id": snapshot, "commit": "c0ffee0123456789", "age_seconds": 0.25}
    nothing = dict.fromkeys(("customer_lifetime_value", "prediction"))
    return {"entity": {"customer_id": 1}, "features": nothing | features, "views": {"metrics": told | head}}


def seen(snapshot: int, written: int, deleted: int, rows: dict[str, Any]) -> Seen:
    done = {"view": "metrics", "mode": "changes", "why": f"since {NASTY}", "written": written, "deleted": deleted}
    done |= {"rows": 2_468, "snapshot": snapshot}
    return Seen((done,), ({"view": "metrics", "equal": True, "digest_redis": "ab" * 32},), rows)


@pytest.fixture
def facts() -> OnlineFacts:
    """Household 1 was corrected, household 2 erased."""
    first = {
        "1": row("found", 11, customer_lifetime_value=1512.5, prediction=0.123456),
        "2": row("found", 11, prediction=1),
    }
    later = {"1": row("found", 12, customer_lifetime_value=100.25, prediction=0.123456), "2": row("missing", 12)}
    status = {"view": "metrics", "publishes_behind": 0}
    return OnlineFacts(
        NOW, 1, 505.0, 50.5, 2, "20240501t120000-run", seen(11, 2_469, 0, first), seen(12, 1, 1, later), (status,)
    )


def page_of(facts: OnlineFacts) -> str:
    return page_of_sections(corrections_section(facts))


def test_it_says_what_lookups_said_before_and_after(facts: OnlineFacts) -> None:
    text = re.sub(r"\s+", " ", Page(page_of(facts)).text)
    for expected in (
        "run 20240501t120000-run",
        "Household 1: a receipt line was corrected from 505.00 to 50.50 dollars",
        "customer_lifetime_value dollars spent so far 1,512.50 100.25",
        "row of event timestamp 2018-01-01 2018-01-01",
        "prediction probability of churn 0.1235 0.1235",
        "Household 2 asked to be forgotten",
        "status in every view found missing",
        "2,469 0 2,468 equal abababababababab",
        "1 1 2,468 equal abababababababab",
        "ttls are evaluated at 2 January 2018",
    ):
        assert expected in text, expected
    assert page_of(facts).count("<strong>100.25</strong>") == 1
    assert "<strong>2018-01-01</strong>" not in page_of(facts)


def test_the_section_needs_no_other_file_and_what_comes_from_outside_is_text(facts: OnlineFacts) -> None:
    text = page_of(facts)
    page = Page(text)
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "<script>alert" not in text
    assert NASTY in page.text


def test_where_nothing_was_noted_before_only_the_present_is_shown(facts: OnlineFacts) -> None:
    alone = replace(facts, before=None)
    assert changes(alone, 1)[0] == Change("status", "in every view", "", "found")
    assert "What the first sync wrote" not in Page(page_of(alone)).text


def test_notes_are_read_as_they_were_written(facts: OnlineFacts) -> None:
    assert facts.before is not None
    assert Seen.from_json(json.loads(json.dumps(asdict(facts.before)))) == facts.before
    assert json.loads(json.dumps(facts.to_json()))["at"] == "2018-01-02T00:00:00+00:00"
