"""What the report says of tables: the flow of rows, the audits of their last runs, and where they come from."""

import platform
from collections.abc import Mapping
from typing import Any

from asgard.common.errors import AsgardError
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.report.drawings import Box
from asgard.report.facts import LAYERS, Facts, TableFact, layer_of
from asgard.report.format import counted, grouped, size


def boxes(facts: Facts) -> list[Box]:
    """Files and tables, with the rows that went in and came out."""
    boxes = []
    for table in facts.tables:
        if table.layer not in LAYERS:
            continue
        for file in table.files:
            name = f"{file.name} "  # a file and a table may have the same name
            boxes.append(Box(name, 0, (counted(file.rows, "row"), size(file.bytes)), "file"))
        inputs = (*table.inputs, *(f"{file.name} " for file in table.files))
        passed = sum(bool(check["passed"]) for check in table.checks)
        rows_in = facts.rows_in(table)
        lines = (
            f"{grouped(rows_in)} in → {grouped(table.rows)} out" if rows_in else counted(table.rows, "row"),
            f"{passed} of {len(table.checks)} checks passed" if table.checks else "no checks",
        )
        boxes.append(Box(table.name, LAYERS.index(table.layer) + 1, lines, layer_of(table.name), inputs))
    return boxes


def table_row(facts: Facts, table: TableFact) -> Mapping[str, Any]:
    """A table as a line."""
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


def audit(table: TableFact) -> Mapping[str, Any]:
    """What the audit of a table's last run said."""
    checks = table.checks
    return {
        "table": table.name,
        "layer": layer_of(table.name),
        "passed": sum(bool(check["passed"]) for check in checks),
        "free": sum(check["answered_by"] == "statistics" for check in checks),
        "checks": checks,
    }


def provenance(facts: Facts, around: Mapping[str, str]) -> Mapping[str, Any]:
    """Whose code wrote what is there, by which runs."""
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
        ],
    }


def surroundings(lake: Lakehouse) -> Mapping[str, str]:
    """Names and values that only this machine and these services know."""
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
