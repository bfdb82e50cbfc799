"""`asgard uningest`: take a file's rows, or those of a run, out of a bronze table."""

from typing import Annotated

import typer

from asgard.common.names import check_run_id
from asgard.jobs.counted import counted
from asgard.jobs.ingest_job import bronze_table
from asgard.jobs.options import DirOption, JsonOption, RunIdOption, SetOption, TakeOverOption, settings_from
from asgard.jobs.reporting import progress_lines, show_json, show_runs
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.loading import load_pipeline


def uningest(
    table: Annotated[str, typer.Argument(help="The table: bronze.<name>.")],
    what: Annotated[str, typer.Argument(metavar="FILE|RUN", help="A file as it landed, its name alone, or a run id.")],
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", help="The pipeline that declares the table: a module or a path.")
    ] = None,
    take_over: TakeOverOption = False,
    run_id: RunIdOption = None,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Take a file's or a run's rows out of a bronze table.

    Intervals that read them are stale then: `asgard backfill --stale` computes them.
    """
    from asgard.ingest import uningest as room

    lake = Lakehouse(settings_from(settings, directory), "asgard uningest")
    with progress_lines(quiet=as_json) as say, counted(lake, "uningest", say) as note:
        lake.reach()
        asked = check_run_id(run_id) if run_id else None
        declared = load_pipeline(pipeline) if pipeline else None
        result = room.uningest(lake, bronze_table(table, declared), what, say, run_id=asked, take_over=take_over)
        note(result.run)
    if as_json:
        taken = [{"source": each.source, "rows": each.rows, "run_id": each.run_id} for each in result.entries]
        show_json({**result.run.to_json(), "taken_out": taken})
    else:
        show_runs([result.run], as_json=False)
    return 0
