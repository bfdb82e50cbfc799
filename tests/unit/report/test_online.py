"""The report's section on online views: how far Redis is, and what it says where Redis can't be asked."""

from datetime import UTC, datetime

import pytest
from tests.support.pages import NASTY, NOTHING, Page

from asgard.report.online import OnlineViews, shown_online
from asgard.report.page import Report, render
from asgard.serving.sync.status import ViewStatus

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


def a_status(
    snapshot: int | None = 12,
    behind: int | None = 0,
    finished: str | None = "2024-05-01T11:30:00+00:00",
    *,
    is_unfinished: bool = False,
    is_table_gone: bool = False,
) -> ViewStatus:
    return ViewStatus("metrics", "gold.m", 2_468, snapshot, behind, 0.0, finished, is_unfinished, is_table_gone)


def text_of(facts: OnlineViews) -> str:
    page = Page(render(Report(NOTHING, NOW, online=facts)))
    assert len(page.ids) == len(set(page.ids))
    return " ".join(page.text.split())


@pytest.mark.parametrize(
    ("status", "lag"),
    [
        (a_status(), "none"),
        (a_status(behind=3), "3 publishes"),
        (a_status(None, None), "never synced"),
        (a_status(is_unfinished=True), "a sync is unfinished"),
        (a_status(is_table_gone=True), "its table is missing"),
        (a_status(behind=None), "unknown: its snapshot"),
    ],
)
def test_how_far_a_view_is_behind(status: ViewStatus, lag: str) -> None:
    (view,) = shown_online(OnlineViews((status,)))["views"]
    assert view["lag"].startswith(lag)
    snapshot = "12 " if status.snapshot_id else ""
    assert f"metrics gold.m {snapshot}2,468 {lag}" in text_of(OnlineViews((status,)))


def test_a_redis_that_does_not_answer_is_reported() -> None:
    text = text_of(OnlineViews((), ("scores",), (f"Redis at redis://x does not answer {NASTY}",)))
    assert "Redis not read Redis at redis://x does not answer" in text
    assert NASTY in text
    assert "scores: asgard features apply registers them" in text


def test_without_an_online_view_it_says_so() -> None:
    assert "No view of this pipeline is online" in text_of(OnlineViews())
