"""The command line: which commands there are. What they do lives in the jobs and in `cli.inspect`."""

from collections.abc import Sequence

import typer

from asgard.cli import inspect
from asgard.jobs import backfill_job, ingest_job
from asgard.jobs.entrypoint import run_app
from asgard.local import commands as local

app = typer.Typer(
    name="asgard",
    help="A lakehouse whose every write is audited on a branch before it is published.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_LOCAL, _WRITE, _LOOK = "One machine", "Write", "Look"

app.command("up", rich_help_panel=_LOCAL)(local.up)
app.command("down", rich_help_panel=_LOCAL)(local.down)
app.command("status", rich_help_panel=_LOCAL)(local.status)
app.command("ingest", rich_help_panel=_WRITE)(ingest_job.command)
app.command("backfill", rich_help_panel=_WRITE)(backfill_job.command)
app.command("plan", rich_help_panel=_LOOK)(inspect.plan)
app.command("audit", rich_help_panel=_LOOK)(inspect.audit)
app.command("tables", rich_help_panel=_LOOK)(inspect.tables)
app.command("runs", rich_help_panel=_LOOK)(inspect.runs)
app.command("branches", rich_help_panel=_LOOK)(inspect.branches)
app.command("diff", rich_help_panel=_LOOK)(inspect.diff)
app.command("lineage", rich_help_panel=_LOOK)(inspect.lineage)
app.command("settings", rich_help_panel=_LOOK)(inspect.settings)
app.command("jars", rich_help_panel=_LOOK)(inspect.jars)


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        from asgard import __version__

        typer.echo(__version__)
        raise typer.Exit


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_app(app, argv, prog_name="asgard")
