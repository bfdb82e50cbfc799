"""The demo's report: one HTML file, without any other file or address, that shows what a lakehouse's runs did."""

import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.errors import AsgardError, EnvironmentSetupError
from asgard.lakehouse.history import RunSummary
from asgard.lakehouse.lake import Lakehouse
from asgard.local.drawings import ROW_HEIGHT, Box, Line, branch_graph, flow
from asgard.local.report_facts import LAYERS, Facts, GraphLine, TableFact, checks_of, gather, layer_of, rows_of_batch
from asgard.local.report_features import FeatureFacts, gather_features, shown_views
from asgard.local.report_models import ModelFacts, shown_models

if TYPE_CHECKING:
    from asgard.local.plots import Plot

STEPS = ("begin", "write", "audit", "publish")
SAMPLE_ROWS, SAMPLE_COLUMNS = 5, 7
_RUNS_TIMED = 12
_PAIRS_FIRST = {"min": 0, "low": 0, "max": 1, "high": 1}
_OWN_COLUMNS = ("_source_file", "_source_row")


def write_report(
    lake: Lakehouse, path: Path, training_set: Path | None = None, models: ModelFacts | None = None
) -> Path:
    """Gather, draw and write the report; a reader sees the old file or the new one.

    Args:
        lake: what it is about.
        path: of the HTML file.
        training_set: to show with the features, if there is one at that path.
        models: to show.

    Raises:
        EnvironmentSetupError: it can't be written.
    """
    from asgard.local.plots import gold_plots

    facts = gather(lake)
    features = gather_features(lake, str(facts.at), training_set)
    plots = gold_plots(lake, str(facts.at))
    page = render(facts, plots, _surroundings(lake), datetime.now(UTC), features, models)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".report", suffix=".html")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        os.chmod(name, 0o644)
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
) -> str:
    """The page.

    Args:
        facts: what it shows.
        plots: of the gold tables.
        surroundings: names and values for the provenance, beside those that the facts have.
        now: when it is written.
        features: registered views, and a training set.
        models: versions, and what one of them predicted.
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
        flow=Markup(flow(_boxes(facts))),  # noqa: S704 - drawn here, its texts escaped
        tables=[_table_row(facts, table) for table in facts.tables],
        audits=[_audit(table) for table in facts.tables if table.checks],
        failed=_failed(facts),
        steps=STEPS,
        timings=_timings(facts.runs),
        rail=Markup(branch_graph(_rail(facts))),  # noqa: S704 - numbers only
        row_height=ROW_HEIGHT,
        graph=[_commit(line) for line in facts.graph],
        is_whole_log=facts.is_whole_log,
        views=shown_views(features.views) if features else [],
        training=training,
        training_plots=_drawn(training.plots) if training else [],
        model=model,
        model_plots=_drawn(model["plots"]) if model else [],
        score_plots=_drawn([model["scores"]]) if model else [],
        plots=_drawn(plots),
        provenance=_provenance(facts, surroundings),
    )


def _template(name: str) -> str:
    return resources.files("asgard.local").joinpath(name).read_text(encoding="utf-8")


def _drawn(plots: Sequence["Plot"]) -> list[Mapping[str, str]]:
    from markupsafe import Markup

    return [{"title": plot.title, "svg": Markup(plot.svg), "summary": plot.summary} for plot in plots]  # noqa: S704 - by matplotlib


def _tiles(facts: Facts) -> list[Mapping[str, str]]:
    published = [run for run in facts.runs if run.status == "published"]
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
            "note": f"by {_number(len(facts.failed_audits), 'failed audit')}",
        },
    ]


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _boxes(facts: Facts) -> list[Box]:
    boxes = []
    for table in facts.tables:
        if table.layer not in LAYERS:
            continue
        for file in table.files:
            name = f"{file.name} "  # a file and a table may have the same name
            boxes.append(Box(name, 0, (f"{grouped(file.rows)} rows", size(file.bytes)), "file"))
        inputs = (*table.inputs, *(f"{file.name} " for file in table.files))
        passed = sum(bool(check["passed"]) for check in table.checks)
        rows_in = facts.rows_in(table)
        lines = (
            f"{grouped(rows_in)} in → {grouped(table.rows)} out" if rows_in else f"{grouped(table.rows)} rows",
            f"{passed} of {len(table.checks)} checks passed" if table.checks else "no checks",
        )
        boxes.append(Box(table.name, LAYERS.index(table.layer) + 1, lines, layer_of(table.name), inputs))
    return boxes


def _table_row(facts: Facts, table: TableFact) -> Mapping[str, Any]:
    write = table.run.attempt.record["writes"][table.name] if table.run else {}
    return {
        "name": table.name,
        "layer": layer_of(table.name),
        "description": table.described["description"],
        "sources": [*table.inputs, *(file.name for file in table.files)],
        "rows_in": facts.rows_in(table),
        "rows": table.rows,
        "added": write.get("rows_added", 0),
        "removed": write.get("rows_removed", 0),
        "files": table.described["files"],
        "bytes": table.described["bytes"],
    }


def _audit(table: TableFact) -> Mapping[str, Any]:
    checks = table.checks
    return {
        "table": table.name,
        "layer": layer_of(table.name),
        "passed": sum(bool(check["passed"]) for check in checks),
        "free": sum(check["answered_by"] == "statistics" for check in checks),
        "checks": checks,
    }


def _failed(facts: Facts) -> Mapping[str, Any] | None:
    """The newest failed audit, and where main was then and is now."""
    if not facts.failed_audits:
        return None
    run = facts.failed_audits[0]
    record = run.attempt.record
    columns = {table.name: tuple(table.described["columns"]) for table in facts.tables}
    tables = [
        {"name": name, "rows": rows_of_batch(run, name), "checks": len(checks), "failing": failing}
        for name in record["writes"]
        if (checks := checks_of(run, name))
        and (failing := [_failing(check, columns.get(name, ())) for check in checks if not check["passed"]])
    ]
    return {
        "run_id": run.attempt.run_id,
        "job": record["job"],
        "branch": record["branch"],
        "is_kept": any(line.branch == record["branch"] and line.commit is None for line in facts.graph),
        "sources": [_file_name(path) for path in record.get("params", {}).get("sources", ())],
        "base": record["base"],
        "is_same": record["base"] == facts.at.commit,
        "tables": tables,
        "others": len(facts.failed_audits) - 1,
    }


def _failing(check: Mapping[str, Any], columns: Sequence[str]) -> Mapping[str, Any]:
    sample = list(check["sample"])[:SAMPLE_ROWS]
    names = _sample_columns(check["columns"], columns, sample)
    rows = [
        [_file_name(row.get(name)) if name == "_source_file" else row.get(name) for name in names] for row in sample
    ]
    return {**check, "sample_columns": names, "sample": rows}


def _file_name(path: object) -> str:
    return str(path).rpartition("/")[2]


def _sample_columns(
    wanted: Sequence[str], columns: Sequence[str], sample: Sequence[Mapping[str, Any]]
) -> Sequence[str]:
    """The check's columns, where the row comes from, and what else there is room for, in the table's order."""
    there = {name for row in sample for name in row}
    order = dict.fromkeys((*wanted, *_OWN_COLUMNS, *columns, *sorted(there)))
    own = {name for name in there if name.startswith("_") and name not in _OWN_COLUMNS}
    return [name for name in order if name in there - own][:SAMPLE_COLUMNS]


def _timings(runs: Sequence[RunSummary]) -> list[Mapping[str, Any]]:
    timed = [run for run in runs if run.attempt.record and any(_step_seconds(run).values())][:_RUNS_TIMED]
    longest = max((sum(_step_seconds(run).values()) for run in timed), default=1.0)
    return [
        {
            "label": f"{run.attempt.start.get('job', 'run')}: {_tables_in_short(run)}",
            "run_id": run.attempt.run_id,
            "status": run.status,
            "total": sum(_step_seconds(run).values()),
            "parts": [
                {"step": step, "seconds": taken, "percent": 100 * taken / longest}
                for step, taken in _step_seconds(run).items()
            ],
        }
        for run in reversed(timed)
    ]


def _step_seconds(run: RunSummary) -> dict[str, float]:
    found = run.attempt.outcome.get("seconds") or run.attempt.record.get("seconds", {})
    return {step: float(found.get(step, 0)) for step in STEPS}


def _tables_in_short(run: RunSummary) -> str:
    names = [name for name in run.attempt.record.get("writes", {}) if not name.startswith("ledger.")]
    return names[0] if len(names) == 1 else f"{len(names)} tables"


def _rail(facts: Facts) -> list[Line]:
    """The graph's lines, and where the whole log is shown, the empty beginning of main below them."""
    end = len(facts.graph)
    lines = [
        Line(None if line.base == end and not facts.is_whole_log else line.base, published=line.commit is not None)
        for line in facts.graph
    ]
    return [*lines, Line(end, published=True)] if facts.is_whole_log and lines else lines


def _commit(line: GraphLine) -> Mapping[str, Any]:
    run = line.run
    title = "" if run is None else f"{run.attempt.start.get('job', 'run')}: {_tables_in_short(run)}"
    checks = [check for name in run.attempt.record.get("writes", {}) for check in checks_of(run, name)] if run else []
    passed = sum(bool(check["passed"]) for check in checks)
    return {
        "title": title or (line.commit.message if line.commit else line.branch),
        "is_published": line.commit is not None,
        "status": "published" if line.commit else (run.status if run else "branch"),
        "hash": line.commit.hash if line.commit else "",
        "branch": line.branch,
        "checks": f"{passed} of {len(checks)} checks passed" if checks else "",
        "when": line.commit.committed if line.commit else None,
    }


def _provenance(facts: Facts, surroundings: Mapping[str, str]) -> Mapping[str, Any]:
    starts = [run.attempt.start for run in facts.runs if run.attempt.start]
    versions = dict.fromkeys(
        f"{start['code_version']}{' (with uncommitted changes)' if start.get('dirty') else ''}" for start in starts
    )
    people = dict.fromkeys(f"{start['user']} ({start['environment']})" for start in starts)
    values = {
        "Code of the runs": ", ".join(versions),
        "Run by": ", ".join(people),
        "Spark": facts.engine.get("engine-version", ""),
        "Iceberg": facts.engine.get("iceberg-version", ""),
        **surroundings,
        f"{facts.at.reference} at": facts.at.commit,
    }
    return {
        "values": {name: value for name, value in values.items() if value},
        "tables": [
            {
                "name": table.name,
                "snapshot": table.described["snapshot_id"],
                "run_id": table.run.attempt.run_id if table.run else "",
                "commit": (table.run.commit or "") if table.run else "",
                "written": table.described["written"],
            }
            for table in facts.tables
        ],
    }


def _surroundings(lake: Lakehouse) -> Mapping[str, str]:
    from asgard import __version__

    return {
        "Java for Spark": _java(lake),
        "Python": platform.python_version(),
        "Asgard": __version__,
        "Nessie": f"{lake.nessie.uri}, repository of {lake.nessie.repository().created}",
        "Warehouse": lake.settings.warehouse,
    }


def _java(lake: Lakehouse) -> str:
    from asgard.common.java import Purpose, find_java

    try:
        found = find_java(Purpose.SPARK, lake.settings)
    except AsgardError:
        return ""
    return f"{found.version} ({found.source})"


def grouped(value: float) -> str:
    """A number as people read it: 1,469,307; 12.5; 0.0123."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"
    return f"{int(value):,}"


def shown(value: object) -> str:
    """A value as it is, with null said."""
    return "null" if value is None else str(value)


def pairs(values: Mapping[str, object]) -> str:
    """Measured values or bounds, as `min 0, max 9.02`."""
    ordered = sorted(values, key=lambda name: (_PAIRS_FIRST.get(name, 2), name))
    return ", ".join(f"{name.replace('_', ' ')} {_quantity(values[name])}" for name in ordered)


def _quantity(value: object) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return grouped(value) if is_number else shown(value)  # type: ignore[arg-type]


def seconds(value: float) -> str:
    """A duration: 0.08 s, 12.3 s, 4 min 3 s."""
    if value >= 120:
        return f"{int(value // 60)} min {int(value % 60)} s"
    return f"{value:.1f} s" if value >= 10 else f"{value:.2f} s"


def size(value: float) -> str:
    """A number of bytes: 12 kB, 3.4 MB."""
    return f"{value / 1e6:,.1f} MB" if value >= 1e6 else f"{value / 1e3:,.0f} kB"
