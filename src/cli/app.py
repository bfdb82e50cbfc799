"""The command line: the list of commands, and the module of each.

A command's module is imported when that command is called, so that `asgard --help` answers at once. A test verifies
that the help texts below equal the commands' own docstrings.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from asgard.jobs.command_class import JobCommand
from asgard.jobs.entrypoint import run_app


@dataclass(frozen=True)
class Command:
    """One command: its name (`group name` in a group), its panel in the help, function, and first line of its help."""

    name: str
    panel: str
    home: str
    help: str

    def load(self) -> Callable[..., Any]:
        """Import the command's function."""
        module, _, function = self.home.partition(":")
        return getattr(import_module(module), function)  # type: ignore[no-any-return]

    def stub(self) -> Callable[..., Any]:
        """A placeholder that only appears in the list of commands."""

        def listed() -> None:
            raise AssertionError(f"{self.name} was listed, not loaded")

        listed.__doc__ = self.help
        return listed


_LOCAL, _WRITE, _FEATURES, _MODELS, _SERVE, _LOOK = "One machine", "Write", "Features", "Models", "Online", "Look"
_OWN = "asgard.cli.commands"


def _commands(module: str, panel: str, *commands: tuple[str, str, str]) -> tuple[Command, ...]:
    """Commands of one module; for each its name, its function, and the first line of its help."""
    return tuple(Command(name, panel, f"{module}:{function}", help) for name, function, help in commands)


COMMANDS = (
    Command(
        "demo", _LOCAL, "asgard.local.demo.demo:demo", "Run a complete example on real data, from an empty folder."
    ),
    *_commands(
        "asgard.local.commands",
        _LOCAL,
        ("up", "up", "Start Nessie, Redis and MLflow, or find them running."),
        ("down", "down", "Stop the services of a project folder; their data is kept."),
        ("status", "status", "Show the services of a project folder, and what is behind what is published."),
    ),
    Command("ingest", _WRITE, "asgard.jobs.ingest_job:command", "Ingest files or a database table into bronze."),
    Command("accept", _WRITE, f"{_OWN}.accept_command:accept", "Accept what others wrote to a table."),
    Command(
        "uningest", _WRITE, f"{_OWN}.uningest_command:uningest", "Take a file's or a run's rows out of a bronze table."
    ),
    Command("revert", _WRITE, f"{_OWN}.revert_command:revert", "Undo what one published run wrote, as a new run."),
    Command(
        "backfill", _WRITE, "asgard.jobs.backfill_job:command", "Compute tables for a date range, or what is missing."
    ),
    *_commands(
        f"{_OWN}.features_command",
        _FEATURES,
        ("features apply", "apply", "Register views at the snapshots published now."),
        ("features list", "list_views", "List the registered feature views."),
        ("features show", "show", "Show one view: features, files, history."),
        ("features diff", "diff", "Show what an apply would change."),
        ("features training-set", "training_set", "Join labels to the features known at their time."),
        ("features impact", "impact", "Show what a change to a table's schema affects."),
    ),
    Command("train", _MODELS, "asgard.jobs.train_job:command", "Train a model and register its version."),
    Command(
        "batch-predict",
        _MODELS,
        "asgard.jobs.batch_predict_job:command",
        "Score the latest features, and publish the predictions.",
    ),
    *_commands(
        f"{_OWN}.model_command",
        _MODELS,
        ("model list", "list_versions", "List models: versions and stages."),
        ("model show", "show", "Show one version: data, code, metrics, files, history."),
        ("model promote", "promote", "Move a version to its next stage."),
        ("model rollback", "rollback", "Bring an archived version back to Production."),
        ("model verify", "verify", "Verify a version's files and facts against its registration."),
        ("model compare", "compare", "Show the differences between two versions."),
    ),
    Command("model reproduce", _MODELS, f"{_OWN}.reproduce_command:reproduce", "Train a version again and compare."),
    Command("online-sync", _SERVE, "asgard.jobs.online_sync_job:command", "Make Redis equal to what is published."),
    Command("lookup", _SERVE, f"{_OWN}.lookup_command:lookup", "Show the features of one entity in Redis."),
    Command(
        "lookup-check",
        _SERVE,
        f"{_OWN}.lookup_check_command:lookup_check",
        "Verify logged lookups against the snapshots that they name.",
    ),
    *_commands(
        "asgard.cli.inspect",
        _LOOK,
        ("plan", "plan", "Show what a backfill would compute, read and check."),
        ("audit", "audit", "Run a table's checks on any branch, tag or commit."),
        ("tables", "tables", "List the tables of a ref: rows, size, snapshot, owner."),
        ("runs", "runs", "List runs, newest first, and how they ended."),
        ("branches", "branches", "List branches and tags, and the runs they belong to."),
        ("diff", "diff", "Show the differences between two refs, by table."),
    ),
    Command(
        "lineage",
        _LOOK,
        f"{_OWN}.lineage_command:lineage",
        "Show where a table's rows or one prediction come from.",
    ),
    Command(
        "history",
        _LOOK,
        f"{_OWN}.history_command:history",
        "Show the states that a table had: when, by which run, which rows.",
    ),
    Command(
        "report",
        _LOOK,
        f"{_OWN}.report_command:report",
        "Write a page about a pipeline: tables, runs, models, online.",
    ),
    Command("metrics", _LOOK, f"{_OWN}.metrics_command:metrics", "Print all metrics in Prometheus's text format."),
    *_commands(
        "asgard.cli.inspect",
        _LOOK,
        ("settings", "settings", "Print every setting, and where its value came from."),
        ("jars", "jars", "Print the jars that spark-submit needs, for its --jars."),
    ),
)


class _Grouped(TyperGroup):
    """The list of commands by panel, in plain text: loading Rich takes half of the time that help may take."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section per panel."""
        for panel in dict.fromkeys(command.panel for command in COMMANDS):
            with formatter.section(panel):
                formatter.write_dl([(each.name, each.help) for each in COMMANDS if each.panel == panel])


def build(argv: Sequence[str]) -> typer.Typer:
    """Build the application for these arguments; only the command that they name is imported."""
    app = typer.Typer(
        name="asgard",
        cls=_Grouped,
        rich_markup_mode=None,
        help="A lakehouse that audits every write on a branch before it publishes it.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    words = [argument for argument in argv if not argument.startswith("-")]
    groups: dict[str, typer.Typer] = {"": app}
    for command in COMMANDS:
        group, _, name = command.name.rpartition(" ")
        if group not in groups:
            groups[group] = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=f"Commands on {group}.")
            app.add_typer(groups[group], name=group)
        path = command.name.split()
        groups[group].command(name, cls=JobCommand)(command.load() if words[: len(path)] == path else command.stub())
    app.callback(invoke_without_command=True)(_version)
    return app


def _version(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        from asgard import __version__

        typer.echo(__version__)
        raise typer.Exit


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    return run_app(build(given), argv, prog_name="asgard")
