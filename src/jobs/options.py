"""The command-line options that several jobs share, declared once."""

from collections.abc import Sequence
from typing import Annotated

import typer

from asgard.common.errors import SettingsError
from asgard.common.settings import Settings, load_settings

PipelineOption = Annotated[
    str, typer.Option("--pipeline", "-p", help="The pipeline: a module, a path, or archive.zip:module.")
]
SelectOption = Annotated[
    list[str] | None,
    typer.Option("--select", "-s", help="Tables: gold.*, +gold.metrics (and its inputs). Repeatable; default: all."),
]
RunIdOption = Annotated[
    str | None, typer.Option("--run-id", help="Run id, published at most once; a restart must give the same one.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting; overrides environment and file. Repeatable."),
]
DirOption = Annotated[
    str | None, typer.Option("--dir", help="Project folder of the local services (default: .asgard).")
]
RefOption = Annotated[
    str | None, typer.Option("--ref", help="Branch, tag, commit or time to read (default: the target ref).")
]
TakeOverOption = Annotated[
    bool, typer.Option("--take-over", help="Also write tables that a pipeline of another name published.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
StartOption = Annotated[str | None, typer.Option("--start", help="Start of the range, e.g. 2024-01-01.")]
EndOption = Annotated[str | None, typer.Option("--end", help="End of the range, exclusive, e.g. 2024-02-01.")]


def settings_from(given: Sequence[str] | None = None, directory: str | None = None) -> Settings:
    """The settings of this process, with those given on the command line.

    Raises:
        SettingsError: `--set` has no `=` or names an unknown setting; or a value is not allowed.
    """
    flags: dict[str, str | None] = {"project_dir": directory}
    for item in given or ():
        name, equals, value = item.partition("=")
        if not equals:
            raise SettingsError(f"--set {item!r} is not NAME=VALUE.", hint="E.g. --set nessie_ref=dev.")
        flags[name.strip().lower().replace("-", "_")] = value
    return load_settings(flags)
