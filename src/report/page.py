"""The demo's report: one HTML file, without any other file or address, that shows what a lakehouse's runs did."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from asgard.common.errors import EnvironmentSetupError
from asgard.common.storage import new_file
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.report import runs as report_runs
from asgard.report import tables as report_tables
from asgard.report.drawings import ROW_HEIGHT, branch_graph, flow
from asgard.report.facts import LAYERS, Facts, gather, layer_of, rows_of_batch
from asgard.report.features import FeatureFacts, gather_features, shown_views
from asgard.report.format import counted, grouped, pairs, seconds, shown, size
from asgard.report.model_facts import ModelFacts
from asgard.report.models import shown_models
from asgard.report.online import OnlineFacts, shown_online

if TYPE_CHECKING:
    from asgard.report.plots import Plot


def write_report(
    lake: Lakehouse,
    path: Path,
    training_set: Path | None = None,
    models: ModelFacts | None = None,
    online: OnlineFacts | None = None,
) -> Path:
    """Gather, draw and write the report; a reader sees the old file or the new one.

    Args:
        lake: what it is about.
        path: of the HTML file.
        training_set: to show with the features, if there is one at that path.
        models: to show.
        online: to show.

    Raises:
        EnvironmentSetupError: it can't be written.
    """
    from asgard.report.plots import gold_plots

    facts = gather(lake)
    features = gather_features(lake, str(facts.at), training_set)
    plots = gold_plots(lake, str(facts.at))
    page = render(facts, plots, report_tables.surroundings(lake), datetime.now(UTC), features, models, online)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = new_file(path.parent, ".html")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        os.replace(name, path)
    except OSError as error:
        raise EnvironmentSetupError(
            f"The report {path} can't be written: {error.strerror}.", hint="Choose another folder with --dir."
        ) from error
    return path


def render(
    facts: Facts,
    plots: Sequence["Plot"],
    surroundings: Mapping[str, str],
    now: datetime,
    features: FeatureFacts | None = None,
    models: ModelFacts | None = None,
    online: OnlineFacts | None = None,
) -> str:
    """The page.

    Args:
        facts: what it shows.
        plots: of the gold tables.
        surroundings: names and values for the provenance, beside those that the facts have.
        now: when it is written.
        features: registered views, and a training set.
        models: versions, and what one of them predicted.
        online: what lookups said before and after a correction.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    training = features.training if features else None
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"grouped": grouped, "shown": shown, "pairs": pairs, "seconds": seconds, "size": size}
    model = shown_models(models) if models else None
    return environment.get_template("report.html.j2").render(
        now=now,
        target=facts.at.reference,
        head=facts.at.commit,
        tiles=_tiles(facts),
        flow=Markup(flow(report_tables.boxes(facts))),  # noqa: S704 - drawn here, its texts escaped
        tables=[report_tables.table_row(facts, table) for table in facts.tables],
        audits=[report_tables.audit(table) for table in facts.tables if table.checks],
        failed=report_runs.failed(facts),
        steps=report_runs.STEPS,
        timings=report_runs.timings(facts.runs),
        rail=Markup(branch_graph(report_runs.rail(facts))),  # noqa: S704 - numbers only
        row_height=ROW_HEIGHT,
        graph=[report_runs.commit(line) for line in facts.graph],
        is_whole_log=facts.is_whole_log,
        views=shown_views(features.views) if features else [],
        training=training,
        training_plots=_drawn(training.plots) if training else [],
        model=model,
        model_plots=_drawn(model["plots"]) if model else [],
        score_plots=_drawn([model["scores"]]) if model else [],
        online=shown_online(online) if online else None,
        plots=_drawn(plots),
        provenance=report_tables.provenance(facts, surroundings),
    )


def _template(name: str) -> str:
    return resources.files("asgard.report").joinpath(name).read_text(encoding="utf-8")


def _drawn(plots: Sequence["Plot"]) -> list[Mapping[str, str]]:
    from markupsafe import Markup

    return [{"title": plot.title, "svg": Markup(plot.svg), "summary": plot.summary} for plot in plots]  # noqa: S704 - by matplotlib


def _tiles(facts: Facts) -> list[Mapping[str, str]]:
    published = [run for run in facts.runs if run.is_published]
    checks = [check for table in facts.tables for check in table.checks]
    passed = sum(bool(check["passed"]) for check in checks)
    free = sum(check["answered_by"] == "statistics" for check in checks)
    blocked = sum(
        rows_of_batch(run, name)
        for run in facts.failed_audits
        for name in run.attempt.record["writes"]
        if layer_of(name) in LAYERS
    )
    bronze, gold = (sum(t.rows for t in facts.tables if t.layer == layer) for layer in ("bronze", "gold"))
    return [
        {"value": grouped(bronze), "label": "rows in bronze", "note": "as they were delivered"},
        {"value": grouped(gold), "label": "rows in gold", "note": "features and figures"},
        {
            "value": grouped(sum(table.layer in LAYERS for table in facts.tables)),
            "label": "tables",
            "note": f"published by {len(published)} runs",
        },
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
