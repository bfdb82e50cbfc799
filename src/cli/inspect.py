"""Commands that only read: plan, audit, tables, runs, branches, diff, settings, jars."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from asgard.common.errors import AuditFailedError, UsageError
from asgard.common.names import TableName, check_run_id
from asgard.jobs.options import (
    DirOption,
    EndOption,
    JsonOption,
    PipelineOption,
    RefOption,
    SelectOption,
    SetOption,
    StartOption,
    settings_from,
)
from asgard.jobs.reporting import progress_lines, show_json, show_note, show_table

if TYPE_CHECKING:
    from asgard.lakehouse.catalog.lake import Lakehouse
    from asgard.validation.checks import Check
    from asgard.validation.results import CheckResult

TableArgument = Annotated[str, typer.Argument(metavar="TABLE", help="layer.name")]


def plan(
    pipeline: PipelineOption,
    select: SelectOption = None,
    start: StartOption = None,
    end: EndOption = None,
    intervals_per_run: Annotated[
        int | None, typer.Option("--intervals-per-run", min=1, help="As in the backfill: intervals per run.")
    ] = None,
    stale: Annotated[bool, typer.Option("--stale", help="As the backfill will have it.")] = False,
    changed: Annotated[bool, typer.Option("--changed", help="As the backfill will have it.")] = False,
    full_refresh: Annotated[bool, typer.Option("--full-refresh", help="As the backfill will have it.")] = False,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a backfill would compute, read and check."""
    from asgard.jobs import backfill_job
    from asgard.lakehouse.declaring.loading import load_pipeline
    from asgard.lakehouse.freshness.words import left_lines
    from asgard.lakehouse.runs.causes import Causes

    declared = load_pipeline(pipeline)
    window = backfill_job.parse_window(start, end)
    params = backfill_job.Params(
        tuple(select or ()), window, intervals_per_run, stale=stale, changed=changed, full_refresh=full_refresh
    )
    lake = _lake(settings, directory)
    base = lake.nessie.head(lake.target)
    found = backfill_job.plan(lake, declared, params, base)
    causes = Causes(lake, declared, f"{lake.target}@{base}")
    rows: list[dict[str, Any]] = [
        {
            "run": number,
            **step.to_json(),
            "downstream": sorted(str(name) for name in declared.downstream(step.table.name)),
        }
        for number, steps in enumerate(found.runs, 1)
        for step in steps
    ]
    if as_json:
        left = [each.to_json() for each in found.left]
        findings = [{**each.to_json(), "cause": causes.of(each)} for each in found.findings]
        show_json({"runs": len(found.runs), "steps": rows, "notes": found.notes, "findings": findings, "left": left})
        return
    for note in found.notes:
        show_note(note)
    show_table(
        ("RUN", "TABLE", "MODE", "INTERVALS", "IF INPUTS CHANGE", "WHY", "READS", "CHECKS", "DOWNSTREAM"),
        [
            (
                row["run"],
                row["table"],
                row["mode"],
                ", ".join(row["intervals"]),
                ", ".join(row["if_inputs_change"]),
                f"{row['reason']}{_of_another(row['belongs_to'])}",
                ", ".join(row["reads"]),
                len(row["checks"]),
                ", ".join(row["downstream"]),
            )
            for row in rows
        ],
        empty="" if found.left else "nothing is missing",
    )
    for line in left_lines(found.left, causes.of, declared):
        show_note(line)


def _of_another(owner: str) -> str:
    return f"; of pipeline {owner}: refused without --take-over" if owner else ""


def audit(
    table: TableArgument,
    pipeline: Annotated[str | None, typer.Option("--pipeline", "-p", help="Where its checks are declared.")] = None,
    check: Annotated[
        list[str] | None, typer.Option("--check", help="A further check, e.g. 'not_null(email)'. Repeatable.")
    ] = None,
    ref: RefOption = None,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a table's checks on any branch, tag or commit."""
    from asgard.lakehouse.catalog.snapshots import resolve
    from asgard.lakehouse.declaring.loading import load_pipeline
    from asgard.lakehouse.declaring.sql_files import parse_check
    from asgard.lakehouse.runs.audit import audit_published

    name = TableName.parse(table)
    checks: list[Check] = [parse_check(text) for text in check or ()]
    if pipeline is not None:
        declared = load_pipeline(pipeline)
        checks = [*declared[name].audited_checks, *checks]
        if not checks:
            raise UsageError(
                f"Pipeline {declared.name} declares no checks for {name}.", hint="Give one: --check 'not_null(email)'."
            )
    if not checks:
        raise UsageError(
            f"There is nothing to check {name} against.", hint="Give --pipeline MODULE, or --check 'not_null(email)'."
        )
    lake = _lake(settings, directory)
    at = resolve(lake, ref)
    lake.content(name, str(at))
    with progress_lines(quiet=as_json) as say:
        say(f"auditing {name} at {at.reference}")
        outcome = audit_published(lake, name, at, checks)
    audited = outcome.tables[0]
    if as_json:
        show_json(outcome.to_json())
    else:
        show_checks(audited.results)
    if not audited.passed:
        failed = ", ".join(result.name for result in audited.blocking)
        raise AuditFailedError(f"{name} at {at.reference} fails: {failed}.", hint="The SQL above finds the rows.")


def show_checks(results: "tuple[CheckResult, ...]") -> None:
    """Print checks and their measurements, and for each failed check some rows and the SQL that finds them."""
    show_table(
        ("CHECK", "RESULT", "MEASURED", "BOUNDS", "FAILING", "BY"),
        [
            (
                result.name,
                "passed" if result.passed else f"failed ({result.severity})",
                _pairs(result.measured),
                _pairs(result.bounds),
                "" if result.failing_rows is None else f"{result.failing_rows:,}",
                result.answered_by,
            )
            for result in results
        ],
    )
    for result in results:
        if not result.passed:
            typer.echo(f"\n{result.name}: {result.error or result.sample_sql or ''}")
            for row in result.sample:
                typer.echo(f"  {_pairs(row)}")


def tables(
    ref: RefOption = None, directory: DirOption = None, settings: SetOption = None, as_json: JsonOption = False
) -> None:
    """List the tables of a ref: rows, size, snapshot, owner."""
    from asgard.lakehouse.catalog.snapshots import resolve
    from asgard.lakehouse.runs.foreign_heads import foreign_heads
    from asgard.lakehouse.runs.foreign_words import foreign_lines
    from asgard.lakehouse.runs.history import describe_contents

    lake = _lake(settings, directory)
    at = resolve(lake, ref)
    tables, others = describe_contents(lake, at)
    foreign = foreign_heads(lake, at)
    if as_json:
        heads = {str(each.table): each.to_json() for each in foreign}
        tables = [{**each, "foreign": heads.get(each["table"])} for each in tables]
        show_json({"tables": tables, "others": [each.to_json() for each in others]})
        return
    show_table(
        ("TABLE", "ROWS", "FILES", "MB", "WRITTEN", "INTERVALS", "OWNER"),
        [
            (
                row["table"],
                f"{row['rows']:,}",
                row["files"],
                f"{row['bytes'] / 1e6:,.1f}",
                (row["written"] or "")[:19],
                row["intervals"],
                row["owner"],
            )
            for row in tables
        ],
        empty="no table yet",
    )
    if others:
        typer.echo("\nother contents, of other tools or not readable:")
        show_table(("NAME", "KIND", "WHY IT IS NOT ABOVE"), [(each.name, each.kind, each.problem) for each in others])
    for line in foreign_lines(foreign):
        show_note(line)


def runs(
    run_id: Annotated[str | None, typer.Argument(metavar="RUN", help="Only this run, with its checks.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many attempts to show.")] = 20,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List runs, newest first, and how they ended.

    Below the list: tables of the target ref that others changed since their last run.
    """
    from asgard.lakehouse.catalog.snapshots import resolve
    from asgard.lakehouse.runs.foreign_heads import foreign_heads
    from asgard.lakehouse.runs.foreign_words import foreign_lines
    from asgard.lakehouse.runs.history import list_runs

    lake = _lake(settings, directory)
    wanted = check_run_id(run_id) if run_id else None
    runs = [run.to_json() for run in list_runs(lake, limit=limit, run_id=wanted)]
    if wanted and not runs:
        raise UsageError(f"There is no run {wanted}.", hint="`asgard runs` lists the existing runs.")
    foreign = [] if wanted else foreign_heads(lake, resolve(lake, None))
    if as_json:
        show_json({"runs": runs, **({} if wanted else {"foreign": [each.to_json() for each in foreign]})})
        return
    show_table(
        ("RUN", "TRY", "JOB", "STATUS", "TABLES", "CHECKS", "SECONDS", "BY"),
        [
            (
                run["run_id"],
                run["attempt"],
                run["job"],
                _status(run),
                ", ".join(run["tables"]),
                f"{sum(check['passed'] for check in run['checks'])}/{len(run['checks'])}" if run["checks"] else "",
                round(sum(run["seconds"].values()), 1) if run["seconds"] else "",
                run["user"],
            )
            for run in runs
        ],
        empty="no run yet",
    )
    for run in runs if wanted else ():
        _show_run(run)
    for line in foreign_lines(foreign):
        show_note(line)


def _status(run: dict[str, Any]) -> str:
    return f"{run['status']} by {run['reverted_by']}" if run["reverted_by"] else str(run["status"])


def _show_run(run: dict[str, Any]) -> None:
    typer.echo(f"\nattempt {run['attempt']}: {_status(run)}{': ' + run['error'] if run['error'] else ''}")
    if run["reverts"]:
        typer.echo(f"reverts run {run['reverts']}{': ' + why if (why := run['params'].get('why')) else ''}")
    typer.echo(f"code {run['code_version']}{' (dirty)' if run['dirty'] else ''}, commit {run['commit'] or '-'}")
    if run["record_intact"] is False:
        typer.echo("the record differs from the published one: its SHA-256 is not the one in the commit")
    for name, read in run["reads"].items():
        typer.echo(f"read {name} at snapshot {read['snapshot_id']}")
    if not run["checks"]:
        typer.echo("no check was run")
        return
    show_table(
        ("CHECK", "RESULT", "MEASURED", "BOUNDS", "BY"),
        [
            (
                check["name"],
                "passed" if check["passed"] else f"failed ({check['severity']})",
                _pairs(check["measured"]),
                _pairs(check["bounds"]),
                check["answered_by"],
            )
            for check in run["checks"]
        ],
    )


def branches(directory: DirOption = None, settings: SetOption = None, as_json: JsonOption = False) -> None:
    """List branches and tags, and the runs they belong to."""
    from asgard.lakehouse.runs.history import list_branches

    branches = list_branches(_lake(settings, directory))
    if as_json:
        show_json({"branches": branches})
        return
    show_table(
        ("NAME", "KIND", "COMMIT", "RUN", "RENEWED"),
        [
            (
                f"{row['name']}{' (target)' if row['target'] else ''}",
                row["kind"],
                row["hash"][:12],
                row["run_id"],
                (row["renewed"] or "")[:19],
            )
            for row in branches
        ],
    )


def diff(
    before: Annotated[str, typer.Argument(help="Branch, tag, commit or time.")],
    after: Annotated[str, typer.Argument(help="Branch, tag, commit or time.")],
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the differences between two refs, by table."""
    from asgard.lakehouse.catalog.snapshots import resolve
    from asgard.lakehouse.runs.history import differences

    lake = _lake(settings, directory)
    tables = differences(lake, resolve(lake, before), resolve(lake, after))
    if as_json:
        show_json({"tables": tables})
        return
    show_table(
        ("TABLE", "CHANGE", "ROWS BEFORE", "ROWS AFTER", "COLUMNS"),
        [
            (
                row["table"],
                row["change"] if row["kind"] == "Iceberg table" else f"{row['change']} ({row['kind']})",
                "?" if row["rows_before"] is None else f"{row['rows_before']:,}",
                "?" if row["rows_after"] is None else f"{row['rows_after']:,}",
                " ".join(
                    [f"+{name}" for name in row["columns_added"]]
                    + [f"-{name}" for name in row["columns_dropped"]]
                    + [f"~{name}" for name in row["columns_retyped"]]
                ),
            )
            for row in tables
        ],
        empty="no difference",
    )
    for row in tables:
        if row["problem"]:
            typer.echo(f"{row['table']}: {row['problem']}")


def settings(directory: DirOption = None, settings: SetOption = None, as_json: JsonOption = False) -> None:
    """Print every setting, and where its value came from."""
    from asgard.common.settings import DEFINITIONS, Secret, redact_url

    loaded = settings_from(settings, directory)
    rows: list[dict[str, Any]] = []
    for definition in DEFINITIONS:
        value = getattr(loaded, definition.name)
        shown = None if value is None else "***" if isinstance(value, Secret) else redact_url(str(value))
        source = loaded.sources[definition.name]
        rows.append({"name": definition.name, "value": shown, "source": source, "help": definition.help})
    if as_json:
        show_json({"settings": rows})
    else:
        columns = ("name", "value", "source", "help")
        show_table(tuple(map(str.upper, columns)), [[row[column] for column in columns] for row in rows])


def jars(directory: DirOption = None, settings: SetOption = None, as_json: JsonOption = False) -> None:
    """Print the jars that spark-submit needs, for its --jars."""
    from asgard.common.spark_utils import spark_jars

    paths = [str(path) for path in spark_jars(settings_from(settings, directory))]
    if as_json:
        show_json({"jars": paths})
    else:
        typer.echo(",".join(paths))


def _lake(given: list[str] | None, directory: str | None) -> "Lakehouse":
    from asgard.lakehouse.catalog.lake import Lakehouse

    return Lakehouse.connect(settings_from(given, directory))


def _pairs(values: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
