"""Hooks at the failpoints of a run inside this process, and the publish commits of a run in main's log."""

from collections.abc import Callable

import pytest

from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import LogEntry

FAILPOINTS = (
    "after-branch",
    "before-write",
    "between-tables",
    "after-write",
    "after-audit",
    "after-record",
    "before-publish",
    "after-publish",
    "before-cleanup",
)
"""The failpoints of a run over two tables, in the order in which they are first reached."""


def at_failpoints(monkeypatch: pytest.MonkeyPatch, hook: Callable[[str], None]) -> None:
    """Call `hook` with the name of every failpoint that a run in this process reaches."""
    for module in ("attempt", "publish", "run"):
        monkeypatch.setattr(f"asgard.lakehouse.runs.{module}.failpoint", hook)


def publishes(lake: Lakehouse, run_id: str) -> list[LogEntry]:
    """Return the publish commits of a run in main's log."""
    return [entry for entry in lake.nessie.log("main") if entry.properties.get("asgard.run-id") == run_id]
