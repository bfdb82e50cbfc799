"""The report's facts about runs: the result of each, the failed audit, the times, and the graph of branches."""

from collections.abc import Mapping, Sequence
from typing import Any

from asgard.lakehouse.runs.history import RunSummary
from asgard.lakehouse.runs.run import Status
from asgard.report.drawings import Line
from asgard.report.facts import ATTEMPTS_READ, GraphLine, ReportFacts, checks_of, rows_of_batch

STEPS = ("begin", "write", "audit", "publish")
SAMPLE_ROWS, SAMPLE_COLUMNS = 5, 7
_RUNS_TIMED = 12
_RUNS_LISTED = 30
_GOOD = frozenset({Status.PUBLISHED, Status.ALREADY_PUBLISHED, Status.UNCHANGED})
_BAD = frozenset({Status.AUDIT_FAILED, Status.FAILED, "died"})
_OWN_COLUMNS = ("_source_file", "_source_row")


def listed(facts: ReportFacts) -> Mapping[str, Any]:
    """The newest runs that had work to do, one line each, and the number of others."""
    active = [run for run in facts.runs if run.status != Status.UNCHANGED]
    return {
        "lines": [_line(run) for run in active[:_RUNS_LISTED]],
        "older": max(0, len(active) - _RUNS_LISTED),
        "idle": len(facts.runs) - len(active),
        "all": facts.are_all_runs,
        "read": ATTEMPTS_READ,
    }


def _line(run: RunSummary) -> Mapping[str, Any]:
    start, record = run.attempt.start, run.attempt.record
    writes = {name: write for name, write in record.get("writes", {}).items() if not name.startswith("ledger.")}
    checks = [(name, check) for name in record.get("writes", {}) for check in checks_of(run, name)]
    return {
        "run_id": run.attempt.run_id,
        "attempt": run.attempt.attempt,
        "job": start.get("job", "run"),
        "started": start.get("started"),
        "by": start.get("user", ""),
        "code": str(start.get("code_version", ""))[:12],
        "status": run.status,
        "style": style_of(run.status),
        "tables": [
            {"name": name, "added": int(write["rows_added"]), "removed": int(write["rows_removed"])}
            for name, write in writes.items()
        ],
        "passed": sum(bool(check["passed"]) for _, check in checks),
        "checks": len(checks),
        "failing": [
            check["name"] if len(writes) == 1 else f"{name}: {check['name']}"
            for name, check in checks
            if not check["passed"]
        ],
        "error": run.attempt.outcome.get("error") or "",
        "seconds": sum(_step_seconds(run).values()),
    }


def style_of(status: str) -> str:
    """The style of a run's status: `good`, `bad`, or `warn` for neither."""
    return "good" if status in _GOOD else "bad" if status in _BAD else "warn"


def failed(facts: ReportFacts) -> Mapping[str, Any] | None:
    """The newest failed audit, and the commits of main then and now."""
    if not facts.failed_audits:
        return None
    run = facts.failed_audits[0]
    record = run.attempt.record
    columns = {table.name: tuple(table.described.get("columns", ())) for table in facts.tables}
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
        "is_mended": not any(table.refused for table in facts.tables if table.name in record["writes"]),
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
    """The check's columns, the row's source, and further columns that fit, in the table's order."""
    columns_of_sample = {name for row in sample for name in row}
    order = dict.fromkeys((*wanted, *_OWN_COLUMNS, *columns, *sorted(columns_of_sample)))
    own = {name for name in columns_of_sample if name.startswith("_") and name not in _OWN_COLUMNS}
    return [name for name in order if name in columns_of_sample - own][:SAMPLE_COLUMNS]


def timings(runs: Sequence[RunSummary]) -> list[Mapping[str, Any]]:
    """The newest runs and the duration of each step, oldest first."""
    timed = [run for run in runs if run.attempt.record and any(_step_seconds(run).values())][:_RUNS_TIMED]
    longest = max((sum(_step_seconds(run).values()) for run in timed), default=1.0)
    return [
        {
            "label": f"{run.attempt.start.get('job', 'run')}: {_tables_in_short(run)}",
            "run_id": run.attempt.run_id,
            "status": run.status,
            "style": style_of(run.status),
            "total": sum(_step_seconds(run).values()),
            "parts": [
                {"step": step, "seconds": taken, "percent": 100 * taken / longest}
                for step, taken in _step_seconds(run).items()
            ],
        }
        for run in reversed(timed)
    ]


def _step_seconds(run: RunSummary) -> dict[str, float]:
    seconds = run.attempt.outcome.get("seconds") or run.attempt.record.get("seconds", {})
    return {step: float(seconds.get(step, 0)) for step in STEPS}


def _tables_in_short(run: RunSummary) -> str:
    names = [name for name in run.attempt.record.get("writes", {}) if not name.startswith("ledger.")]
    return names[0] if len(names) == 1 else f"{len(names)} tables"


def rail(facts: ReportFacts) -> list[Line]:
    """The graph's lines; if the whole log is shown, also the empty beginning of main below them."""
    end = len(facts.graph)
    lines = [
        Line(None if line.base == end and not facts.is_whole_log else line.base, published=line.commit is not None)
        for line in facts.graph
    ]
    return [*lines, Line(end, published=True)] if facts.is_whole_log and lines else lines


def commit(line: GraphLine) -> Mapping[str, Any]:
    """A line of the graph in words."""
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
