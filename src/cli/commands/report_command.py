"""`asgard report`: a pipeline's tables, runs, features, models and online views as one HTML page.

Reads: the pipeline's declaration, Nessie, Iceberg's metadata, run records, registrations, MLflow and Redis. Writes: the
page. Spark does not start, and no table is scanned.
"""

from pathlib import Path
from typing import Annotated

import typer

from asgard.jobs.options import DirOption, JsonOption, PipelineOption, SetOption, settings_from


def report(
    pipeline: PipelineOption,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the page.")] = Path("report.html"),
    open_report: Annotated[bool, typer.Option("--open", help="Open the page in a browser at the end.")] = False,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Write a page about a pipeline: tables, runs, models, online.

    The page is one file that needs no other files and no network. It shows the graph, each table's columns, owner,
    checks and freshness, the runs and what failed, features, models with links into MLflow, and how far Redis is
    behind. Only published data is read; Spark does not start, and no table is scanned. An MLflow or Redis that does not
    answer is reported on the page.
    """
    from asgard.jobs.reporting import progress_lines, show_json
    from asgard.lakehouse.catalog.lake import Lakehouse
    from asgard.lakehouse.declaring.loading import load_pipeline
    from asgard.report import page

    declared = load_pipeline(pipeline)
    lake = Lakehouse.connect(settings_from(settings, directory), "asgard report")
    with progress_lines(quiet=as_json) as say:
        found = page.read(lake, declared, say)
        path = page.write(found, out).resolve()
    if as_json:
        show_json({"report": str(path), **found.to_json()})
    else:
        for remark in found.remarks:
            typer.echo(f"not on the page: {remark}", err=True)
        typer.echo(f"wrote {path}")
    if open_report:
        import webbrowser

        webbrowser.open(path.as_uri())
    return 0
