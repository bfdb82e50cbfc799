"""`asgard accept`: take what others wrote to a table as it is."""

from typing import Annotated

import typer

from asgard.common.names import TableName, check_run_id
from asgard.jobs.counted import counted
from asgard.jobs.options import DirOption, JsonOption, RunIdOption, SetOption, settings_from
from asgard.jobs.reporting import progress_lines, show_runs
from asgard.lakehouse.catalog.lake import Lakehouse


def accept(
    table: Annotated[str, typer.Argument(help="layer.name")],
    why: Annotated[str, typer.Option("--why", help="The reason, for the run's record.")],
    run_id: RunIdOption = None,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Accept what others wrote to a table.

    Its intervals are in doubt no longer; what read them before stays stale.
    """
    from asgard.lakehouse.runs import accept as room

    name = TableName.parse(table)
    lake = Lakehouse(settings_from(settings, directory), "asgard accept")
    with progress_lines(quiet=as_json) as say, counted(lake, "accept", say) as note:
        lake.reach()
        result = note(room.accept(lake, name, why, say, check_run_id(run_id) if run_id else None))
    show_runs([result], as_json=as_json)
    return 0
