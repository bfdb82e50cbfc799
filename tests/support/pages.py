"""A page as a test reads it, and the smallest page that there is."""

from datetime import UTC, datetime
from html.parser import HTMLParser

from asgard.common.names import BranchName, CommitHash
from asgard.lakehouse.catalog.snapshots import At
from asgard.report.facts import ReportFacts
from asgard.report.page import Report, render
from asgard.report.sections import Section

NASTY = "</code><script>alert('x')</script>&\""
"""Text that must stay text."""


class Page(HTMLParser):
    """What is in a page: tags, ids, attributes and text; fails on tags that don't match."""

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
"""What is known of a pipeline without a table or a run."""


def page_of_sections(*sections: Section) -> str:
    """The page of nothing but these sections."""
    return render(Report(NOTHING, datetime(2024, 5, 1, 12, tzinfo=UTC), sections=sections))
