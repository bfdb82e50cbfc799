"""A parser of report pages for tests, and the smallest report."""

from datetime import UTC, datetime
from html.parser import HTMLParser

from asgard.common.names import BranchName, CommitHash
from asgard.lakehouse.catalog.snapshots import At
from asgard.report.facts import ReportFacts
from asgard.report.page import Report, render
from asgard.report.sections import Section

NASTY = "</code><script>alert('x')</script>&\""
"""Text that a page must escape."""


class Page(HTMLParser):
    """The tags, ids, links and text of a page; fails on tags that don't match."""

    EMPTY = frozenset({"meta", "br", "link", "img", "input", "hr", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "data", "action", "srcset", "poster"):
                self.links.append(value or "")
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.text += f" {data}"


NOTHING = ReportFacts("shop", At(BranchName("main"), CommitHash("c0ffee")), (), (), (), is_whole_log=True)
"""Facts of a pipeline without tables and runs."""


def page_of_sections(*sections: Section) -> str:
    """Render a page with only these sections."""
    return render(Report(NOTHING, datetime(2024, 5, 1, 12, tzinfo=UTC), sections=sections))
