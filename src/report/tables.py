"""The report's facts about tables: the graph, the catalog with columns and checks, and the provenance."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from asgard.common.errors import AsgardError
from asgard.common.settings import redact_url
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.columns_text import read_columns
from asgard.lakehouse.declaring.declaration import Table
from asgard.report.drawings import Box
from asgard.report.facts import ReportFacts, TableFact, checks_of, layer_of
from asgard.report.features import ViewFact
from asgard.report.format import counted, grouped, size

_FILES_SHOWN = 4
FILES, PREDICTIONS = "files", "predictions"
"""Columns of the graph in addition to the layers."""


def anchor(table: str) -> str:
    """The id of a table's card."""
    return f"table-{table.replace('.', '-')}"


def columns_of(facts: ReportFacts) -> list[str]:
    """The graph's columns from the left: files, layers in the order of their tables, predictions."""
    depths: dict[str, int] = {}
    for table in facts.catalog:  # each table comes after its inputs
        depths[table.name] = 1 + max((depths.get(name, 0) for name in table.inputs), default=0)
    layers: dict[str, list[int]] = {}
    for table in facts.catalog:
        if not table.model:
            layers.setdefault(table.layer, []).append(depths[table.name])
    ordered = sorted(layers, key=lambda layer: (sum(layers[layer]) / len(layers[layer]), layer))
    return [
        *([FILES] if any(table.files for table in facts.catalog) else []),
        *ordered,
        *([PREDICTIONS] if any(table.model for table in facts.catalog) else []),
    ]


def boxes(facts: ReportFacts) -> list[Box]:
    """Boxes of files and tables, with rows in and out, and failed checks."""
    columns = columns_of(facts)
    found: list[Box] = []
    for table in facts.catalog:
        files = list(_file_boxes(table, {box.name for box in found}))
        found += files
        found.append(
            Box(
                table.name,
                columns.index(PREDICTIONS if table.model else table.layer),
                (_rows_line(facts, table), _checks_line(table)),
                layer_of(table.name),
                (*table.inputs, *(file.name for file in files)),
                mark=_mark(table),
                link=f"#{anchor(table.name)}",
            )
        )
    return found


def _file_boxes(table: TableFact, taken: set[str]) -> Iterator[Box]:
    """One box per file of a table, or one box for many files; names that are taken are not used."""
    if len(table.files) > _FILES_SHOWN:
        rows, bytes_ = (sum(getattr(file, what) or 0 for file in table.files) for what in ("rows", "bytes"))
        yield Box(f"{len(table.files):,} files of {table.name}", 0, (counted(rows, "row"), size(bytes_)), "file")
        return
    for file in table.files:
        name = f"{file.name} "  # a file and a table, or two files, may have the same name
        while name in taken:
            name += " "
        taken.add(name)
        yield Box(name, 0, (counted(file.rows, "row"), *([size(file.bytes)] if file.bytes is not None else [])), "file")


def _rows_line(facts: ReportFacts, table: TableFact) -> str:
    if table.problem:
        return "can't be read"
    if not table.is_published:
        return "not published yet"
    if table.rows is None:
        return "rows not counted"
    if table.model:
        return f"{counted(table.rows, 'prediction')}{_predicted_by(table)}"
    rows_in = facts.rows_in(table)
    if not rows_in:
        return counted(table.rows, "row")
    return f"{grouped(rows_in)} in → {grouped(table.rows)} out"


def _predicted_by(table: TableFact) -> str:
    version = table.run.attempt.start.get("params", {}).get("model") if table.run else None
    return f" by {version}" if version else ""


def _checks_line(table: TableFact) -> str:
    if table.refused is not None:
        checks = checks_of(table.refused, table.name)
        return f"{sum(not check['passed'] for check in checks)} of {len(checks)} checks failed, not published"
    if not table.checks:
        return "no checks" if table.is_published else ""
    passed = sum(bool(check["passed"]) for check in table.checks)
    return f"{passed} of {len(table.checks)} checks passed"


def _mark(table: TableFact) -> str:
    """`bad`: its newest batch was refused; `warn`: a check of severity warning failed; "": neither."""
    if table.refused is not None:
        return "bad"
    return "" if all(check["passed"] for check in table.checks) else "warn"


def graph_columns(facts: ReportFacts, drawn: Sequence[Box]) -> list[Mapping[str, Any]]:
    """The graph as lists, for screens that are too narrow for the drawing."""
    names = {box.name: box for box in drawn}
    return [
        {
            "title": column,
            "boxes": [
                {"box": box, "inputs": [names[name] for name in box.inputs if name in names]}
                for box in drawn
                if box.column == place
            ],
        }
        for place, column in enumerate(columns_of(facts))
    ]


def card(facts: ReportFacts, table: TableFact, views: Sequence[ViewFact], now: datetime) -> Mapping[str, Any]:
    """A table's card in the catalog."""
    described, declared = table.described, table.declared
    checks = _checks(table)
    return {
        "name": table.name,
        "anchor": anchor(table.name),
        "layer": layer_of(table.name),
        "description": described.get("description") or (declared.description if declared else ""),
        "is_published": table.is_published,
        "problem": table.problem,
        "rows": table.rows,
        "written": described.get("written"),
        "mark": _mark(table),
        "facts": {name: value for name, value in _properties(facts, table).items() if value},
        "columns": list(_columns(table, views)),
        "checks": checks,
        "judged": sum(check["passed"] is not None for check in checks),
        "passed": sum(bool(check["passed"]) for check in checks),
        "free": sum(check["answered_by"] == "statistics" for check in checks),
        "refused": table.refused.attempt.run_id if table.refused else "",
        "waiting": table.waiting,
        "now": now,
    }


def _properties(facts: ReportFacts, table: TableFact) -> dict[str, str]:
    described, declared = table.described, table.declared
    write = table.run.attempt.record["writes"][table.name] if table.run else {}
    files = [file.name for file in table.files]
    more = f"and {len(files) - _FILES_SHOWN:,} more files"
    return {
        "Owner": _either(described.get("owner"), declared and declared.owner),
        "Belongs to": _other_owner(facts, table),
        "Made from": ", ".join([*table.inputs, *files[:_FILES_SHOWN], *([more] if len(files) > _FILES_SHOWN else [])]),
        "Predictions of": table.model and f"the model {table.model}",
        "Rows": "not counted: only a scan could count them" if described and table.rows is None else "",
        "Rows in": grouped(facts.rows_in(table)) if facts.rows_in(table) and not table.model else "",
        "Last run": f"{counted(write['rows_added'], 'row')} added, {grouped(write['rows_removed'])} removed"
        if write
        else "",
        "Kept as": f"{counted(described['files'], 'file')}, {size(described['bytes'])}" if described else "",
        "Key": ", ".join(declared.keys) if declared else "",
        "Write mode": _mode(declared) if declared else "",
        "Computed": described.get("intervals", "").replace("/", " to ").replace(",", ", "),
        "Used by": described.get("consumers", ""),
        "Update frequency": described.get("update_frequency", ""),
        "Retention": declared.retention if declared else "",
        "Tags": described.get("tags", ""),
    }


def _other_owner(facts: ReportFacts, table: TableFact) -> str:
    """The pipeline that published the table, if it is another one."""
    owner = table.described.get("pipeline", "")
    return f"pipeline {owner}, which published it" if owner not in ("", facts.pipeline) and not table.model else ""


def _either(published: object, declared: object) -> str:
    return str(published or declared or "")


def _mode(table: Table) -> str:
    interval = f", {table.interval.unit} by {table.interval.column}" if table.interval else ""
    partitions = f"; partitioned by {', '.join(table.partitioned_by)}" if table.partitioned_by else ""
    return f"{str(table.mode).replace('_', ' ')}{interval}{partitions}"


def _columns(table: TableFact, views: Sequence[ViewFact]) -> Iterator[Mapping[str, str]]:
    """The columns as published, or else as declared, with the use of each."""
    declared = table.declared
    published: Mapping[str, str] = table.described.get("columns", {})
    written = read_columns(declared.columns) if declared and declared.columns and not published else {}
    reading = [fact.view for fact in views if str(fact.view.table) == table.name]
    for name, kind in (published or written).items():
        uses = ["key"] if declared and name in declared.keys else []
        uses += ["interval"] if declared and declared.interval and name == declared.interval.column else []
        uses += [f"feature of {view.name}" for view in reading if name in view.feature_names]
        yield {"name": name, "type": kind, "use": ", ".join(uses)}


def _checks(table: TableFact) -> list[Mapping[str, Any]]:
    """The results of the last audit, and declared checks that no run has evaluated yet."""
    answered = {check["name"] for check in table.checks}
    waiting = [
        {"name": check.name, "severity": str(check.severity), "passed": None, "answered_by": ""}
        for check in (table.declared.audited_checks if table.declared else ())
        if check.name not in answered
    ]
    return [*table.checks, *waiting]


def provenance(facts: ReportFacts, around: Mapping[str, str]) -> Mapping[str, Any]:
    """The code and the runs that wrote the current state."""
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
        **around,
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
            if table.is_published
        ],
    }


def surroundings(lake: Lakehouse) -> Mapping[str, str]:
    """Names and values of this machine and of the connected services."""
    from asgard import __version__

    return {
        "Java for Spark": _java(lake),
        "Python": platform.python_version(),
        "Asgard": __version__,
        "Nessie": f"{redact_url(lake.nessie.uri)}, repository of {lake.nessie.repository().created}",
        "Warehouse": redact_url(lake.settings.warehouse),
    }


def _java(lake: Lakehouse) -> str:
    from asgard.common.java import Purpose, find_java

    try:
        found = find_java(Purpose.SPARK, lake.settings)
    except AsgardError:
        return ""
    return f"{found.version} ({found.source})"
