"""What `asgard status` says of data that is behind what is published: views, scores, and tables of a pipeline."""

import shlex
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import typer

from asgard.common.errors import AsgardError
from asgard.common.settings import Settings

if TYPE_CHECKING:
    from asgard.common.names import TableName
    from asgard.lakehouse.catalog.lake import Lakehouse

_CONNECT_SECONDS = 1.0
_SHOWN = 5


@dataclass
class DataStatus:
    """What is behind.

    Attributes:
        target: the ref that is looked at.
        older_views: views of features registered at another snapshot than the target ref has, with their tables.
        older_scores: views of predictions that were computed from older tables than the target ref has.
        score_lines: the same in words, with what to do.
        pipeline: the pipeline that was looked at, as it was named; "" for none.
        stale: intervals by table and condition.
        remarks: why something is not known.
    """

    target: str
    older_views: "Mapping[str, TableName]" = field(default_factory=dict)
    older_scores: "Mapping[str, tuple[TableName, ...]]" = field(default_factory=dict)
    score_lines: tuple[str, ...] = ()
    pipeline: str = ""
    stale: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "older_views": {view: str(table) for view, table in self.older_views.items()},
            "older_scores": {view: list(map(str, tables)) for view, tables in self.older_scores.items()},
            "stale": {table: dict(counts) for table, counts in self.stale.items()},
            "remarks": self.remarks,
        }

    def lines(self) -> Iterator[str]:
        """In words: at most a line for each kind of thing, and each view of predictions."""
        if self.older_views:
            count = len(self.older_views)
            views = "1 view is" if count == 1 else f"{count} views are"
            names = _some(self.older_views)
            yield f"{views} registered at older snapshots than {self.target} has: {names}; `asgard features apply`"
        yield from self.score_lines
        if self.stale:
            tables = (
                f"{table} ({', '.join(f'{number:,} {condition}' for condition, number in counts.items())})"
                for table, counts in self.stale.items()
            )
            named = f"`asgard plan -p {shlex.quote(self.pipeline)}` names the intervals"
            yield f"not up to date: {_some(tables)}; {named}"
        elif self.pipeline and not self.remarks:
            yield f"the tables of {self.pipeline} are up to date"
        yield from self.remarks


def is_reachable(url: str) -> bool:
    """Whether something listens at an address; asked once, and for a second at most."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=_CONNECT_SECONDS):
            return True
    except OSError:
        return False


def data_status(settings: Settings, pipeline: str | None) -> DataStatus:
    """What is behind what the target ref has; with remarks where it is not known.

    Args:
        settings: of Nessie and the warehouse; Nessie answers.
        pipeline: whose tables are looked at, a module or a path; None for none.
    """
    from asgard.lakehouse.catalog.lake import Lakehouse

    found = DataStatus(settings.nessie_ref, pipeline=pipeline or "")
    try:
        lake = Lakehouse.connect(settings)
        _find_views(found, lake)
    except AsgardError as error:
        found.remarks.append(f"views and scores: {error.message}")
        return found
    if pipeline:
        try:
            found.stale = _stale(lake, pipeline)
        except AsgardError as error:
            found.remarks.append(f"tables of {pipeline}: {error.message}")
    return found


def show(found: DataStatus) -> None:
    """Print it for people, below the services."""
    lines = list(found.lines())
    if lines:
        typer.echo()
    for line in lines:
        typer.echo(line)


def _find_views(found: DataStatus, lake: "Lakehouse") -> None:
    from asgard.features.register import KIND, views_behind
    from asgard.features.views import FeatureView
    from asgard.lakehouse.catalog.registrations import Registrations
    from asgard.serving.sync.older_scores import older_score_lines, older_scores

    current = Registrations(lake.storage).current(KIND)
    views = {name: FeatureView.from_json(each.declared) for name, each in current.items()}
    features = {name: each for name, each in current.items() if not views[name].model}
    found.older_views = views_behind(lake, features)
    found.older_scores = older_scores(lake, views.values())
    found.score_lines = tuple(older_score_lines(lake, found.older_scores, views.values()))


def _stale(lake: "Lakehouse", pipeline: str) -> dict[str, dict[str, int]]:
    from asgard.lakehouse.declaring.loading import load_pipeline
    from asgard.lakehouse.freshness.words import condition_counts
    from asgard.lakehouse.runs.planned import findings_at

    tables = load_pipeline(pipeline).in_order()
    found = findings_at(lake, tables, lake.target, datetime.now(UTC))
    counts = {str(name): condition_counts(findings) for name, findings in found.items()}
    return {name: of_table for name, of_table in counts.items() if of_table}


def _some(names: "Mapping[str, Any] | Iterator[str]") -> str:
    shown = list(names)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more
