"""The report of a pipeline: one HTML file that shows the published tables and the runs that made them."""

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asgard.common.aliases import Say
from asgard.common.errors import EnvironmentSetupError
from asgard.common.storage import new_file
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.report import runs as report_runs
from asgard.report import tables as report_tables
from asgard.report.drawings import ROW_HEIGHT, branch_graph, flow
from asgard.report.facts import ReportFacts, gather, rows_of_batch
from asgard.report.features import FeatureFacts, gather_features, shown_views
from asgard.report.format import age, counted, grouped
from asgard.report.model_facts import RegistryFacts, gather_models
from asgard.report.models import shown_models
from asgard.report.online import OnlineViews, gather_online, shown_online
from asgard.report.sections import Section, rendered


@dataclass(frozen=True)
class Report:
    """The content of the page.

    Attributes:
        surroundings: further names and values for the section on provenance.
        now: time of writing.
        sections: further sections, from the caller.
        source: remark on the origin of the data, for the page's foot.
    """

    facts: ReportFacts
    now: datetime
    features: FeatureFacts = field(default_factory=FeatureFacts)
    models: RegistryFacts = field(default_factory=RegistryFacts)
    online: OnlineViews = field(default_factory=OnlineViews)
    surroundings: Mapping[str, str] = field(default_factory=dict, hash=False)
    sections: tuple[Section, ...] = ()
    source: str = ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What could not be read, in words."""
        remarks = (self.models.remark, *(each.remark for each in self.models.models), *self.online.remarks)
        return tuple(filter(None, remarks))

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON: the report's subject, and what could not be read."""
        facts = self.facts
        return {
            "pipeline": facts.pipeline,
            "target": facts.at.reference,
            "commit": facts.at.commit,
            "tables": {table.name: table.rows for table in facts.catalog if table.is_published},
            "not_published": [table.name for table in facts.catalog if not table.is_published],
            "runs": len(facts.runs),
            "failed_audits": [run.attempt.run_id for run in facts.failed_audits],
            "remarks": list(self.remarks),
        }


def read(lake: Lakehouse, pipeline: Pipeline, say: Say = lambda _line: None) -> Report:
    """Read a report's content from Nessie, Iceberg's metadata, run records, registrations, MLflow and Redis.

    No Spark starts, and no table is scanned. An unreachable MLflow or Redis becomes a remark in the report.

    Args:
        lake: the lakehouse that the pipeline is published to.
        pipeline: the declared pipeline.
        say: called with one line about each step.

    Raises:
        AsgardError: Nessie or the warehouse can't be read, or the pipeline's features are declared wrongly.
    """
    now = datetime.now(UTC)
    say(f"reading tables and runs of {pipeline.name}")
    facts = gather(lake, pipeline, now)
    features = gather_features(lake, pipeline, str(facts.at))
    say("asking MLflow and Redis")
    models = gather_models(lake.settings, pipeline)
    return Report(facts, now, features, models, gather_online(lake, features), report_tables.surroundings(lake))


def write(report: Report, path: Path) -> Path:
    """Render and write the page atomically: a reader sees the old file or the new one.

    Raises:
        EnvironmentSetupError: the file can't be written, or jinja2 is not installed.
    """
    page = render(report)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise FileExistsError(errno.EEXIST, "it exists and is not a file")
        handle, name = new_file(path.parent, ".html")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
                file.write(page)
            os.replace(name, path.resolve())
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EnvironmentSetupError(
            f"The report {path} can't be written: {error.strerror}.",
            hint="It must be the name of a file, in a folder that you may write to.",
        ) from error
    return path


def render(report: Report) -> str:
    """Render the page as HTML."""
    from markupsafe import Markup

    facts, features = report.facts, report.features
    boxes = report_tables.boxes(facts)
    return rendered(
        "page.html.j2",
        now=report.now,
        pipeline=facts.pipeline,
        target=facts.at.reference,
        head=facts.at.commit,
        tiles=_tiles(facts, report.now),
        flow=Markup(flow(boxes)),  # noqa: S704 - drawn here, with escaped texts
        flow_columns=report_tables.graph_columns(facts, boxes),
        tables=[report_tables.card(facts, table, features.views, report.now) for table in facts.catalog],
        failed=report_runs.failed(facts),
        runs=report_runs.listed(facts),
        steps=report_runs.STEPS,
        timings=report_runs.timings(facts.runs),
        rail=Markup(branch_graph(report_runs.rail(facts))),  # noqa: S704 - numbers only
        row_height=ROW_HEIGHT,
        graph=[report_runs.commit(line) for line in facts.graph],
        is_whole_log=facts.is_whole_log,
        views=shown_views(features.views),
        unregistered=features.unregistered,
        on_demand=features.on_demand,
        models=shown_models(report.models),
        online=shown_online(report.online),
        sections=report.sections,
        provenance=report_tables.provenance(facts, report.surroundings),
        source=report.source,
    )


def _tiles(facts: ReportFacts, now: datetime) -> Sequence[Mapping[str, str]]:
    published = [table for table in facts.catalog if table.is_published]
    checks = [check for table in facts.catalog for check in table.checks]
    passed = sum(bool(check["passed"]) for check in checks)
    free = sum(check["answered_by"] == "statistics" for check in checks)
    blocked = sum(rows_of_batch(run, table.name) for run in facts.failed_audits for table in facts.catalog)
    runs = sum(run.is_published for run in facts.runs)
    newest = max((str(table.described["written"]) for table in published if table.described["written"]), default=None)
    others = (report_tables.FILES, report_tables.PREDICTIONS)
    layers = [column for column in report_tables.columns_of(facts) if column not in others]
    ends = dict.fromkeys((*layers[:1], *layers[-1:]))
    rows = {name: sum(table.rows or 0 for table in published if table.layer == name) for name in ends}
    return [
        {
            "value": f"{len(published)} of {len(facts.catalog)}",
            "label": "tables published",
            "note": f"by {counted(runs, 'run')}; the newest {age(newest, now)}" if newest else "nothing yet",
        },
        *({"value": grouped(count), "label": f"rows in {name}", "note": ""} for name, count in rows.items()),
        {
            "value": f"{passed} of {len(checks)}",
            "label": "checks passed",
            "note": f"{free} of them answered without reading a row",
        },
        {
            "value": grouped(blocked),
            "label": "rows kept out",
            "note": f"by {counted(len(facts.failed_audits), 'failed audit')}",
        },
    ]
