"""`asgard history`: the states that a table had."""

from typing import TYPE_CHECKING, Annotated

import typer

from asgard.common.names import TableName
from asgard.jobs.options import DirOption, JsonOption, RefOption, SetOption, settings_from
from asgard.jobs.reporting import show_json, show_table
from asgard.lakehouse.catalog.lake import Lakehouse

if TYPE_CHECKING:
    from asgard.lakehouse.runs.table_history import TableVersion


def history(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="layer.name")],
    ref: RefOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many states to show.")] = 20,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the states that a table had: when, by which run, which rows."""
    from asgard.lakehouse.catalog.snapshots import resolve
    from asgard.lakehouse.runs.table_history import table_history

    name = TableName.parse(table)
    lake = Lakehouse(settings_from(settings, directory))
    lake.reach()
    versions = table_history(lake, name, resolve(lake, ref), limit)
    if as_json:
        show_json({"table": str(name), "states": [each.to_json() for each in versions]})
        return
    show_table(
        ("PUBLISHED", "SNAPSHOT", "RUN", "JOB", "MODE", "INTERVALS", "ROWS", "NOW", "FILES", "COMMIT", "NOTE"),
        [
            (
                f"{each.published:%Y-%m-%d %H:%M:%S}",
                each.snapshot_id,
                each.run_id or "no recorded run",
                each.job,
                each.mode or each.operation,
                each.intervals,
                "" if each.rows_added is None else f"+{each.rows_added:,} -{each.rows_removed:,}",
                "" if each.rows is None else f"{each.rows:,}",
                each.files,
                each.commit[:12],
                _note(each),
            )
            for each in versions
        ],
    )


def _note(version: "TableVersion") -> str:
    words = [version.problem, version.by]
    if version.reverts:
        words.append(f"reverts run {version.reverts}")
    if version.reverted_by:
        words.append(f"reverted by run {version.reverted_by}")
    return "; ".join(each for each in (*words, version.why) if each)
