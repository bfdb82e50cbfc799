"""`asgard up`, `asgard down` and `asgard status`: the services of one machine, from the command line."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from asgard.common.settings import Settings
from asgard.jobs.options import SetOption, settings_from

if TYPE_CHECKING:
    from asgard.local.data_status import DataStatus

Folder = Annotated[
    str | None, typer.Option("--dir", metavar="DIR", help="Project folder (setting project_dir; by default .asgard).")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def up(
    directory: Folder = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Start only this: nessie, redis or mlflow. Repeatable.")
    ] = None,
    nessie_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Nessie's port.")] = None,
    redis_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Redis' port.")] = None,
    mlflow_port: Annotated[int | None, typer.Option(min=1, max=65535, help="MLflow's port.")] = None,
    as_json: Json = False,
) -> None:
    """Start Nessie, Redis and MLflow, or find them running."""
    from asgard.common.settings import load_settings
    from asgard.local.services import services

    settings = load_settings({"project_dir": directory})
    asked = {"nessie": nessie_port, "redis": redis_port, "mlflow": mlflow_port}
    services.up(
        settings,
        only=only or None,
        ports={name: port for name, port in asked.items() if port is not None},
        say=_say,
    )
    _print_status(load_settings({"project_dir": directory}), as_json)
    for name in ("nessie_uri", "redis_url", "mlflow_tracking_uri"):
        source = settings.sources[name]
        if source.startswith(("environment", "file")):
            _say(f"note: {name} is set by {source}; jobs use that, not the service of this folder")


def down(directory: Folder = None, as_json: Json = False) -> None:
    """Stop the services of a project folder; their data is kept."""
    from asgard.common.settings import load_settings
    from asgard.jobs.answer import give
    from asgard.local.services import services

    settings = load_settings({"project_dir": directory})
    stopped = services.down(settings, say=_say)
    if as_json:
        give({"dir": str(settings.project_dir.resolve()), "stopped": stopped})
    elif not stopped:
        _say(f"nothing runs in {settings.project_dir.resolve()}")


def status(
    directory: Folder = None,
    pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", "-p", help="Name the stale tables of this pipeline (default: setting pipeline)."),
    ] = None,
    overrides: SetOption = None,
    as_json: Json = False,
) -> None:
    """Show the services of a project folder, and what is behind what is published."""
    from asgard.local.data_status import data_status

    settings = settings_from(overrides, directory)
    _print_status(settings, as_json, lambda: data_status(settings, pipeline or settings.pipeline))


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _print_status(settings: Settings, as_json: bool, data: "Callable[[], DataStatus] | None" = None) -> None:
    """Print the services, the online views, and what is behind if it is asked for."""
    from asgard.jobs.answer import give
    from asgard.local import data_status
    from asgard.local.online_status import Online, online_status, show
    from asgard.local.services import services

    states = services.status(settings)
    is_there = settings.nessie_uri is not None and data_status.is_reachable(settings.nessie_uri)
    online = online_status(settings) if is_there else Online()
    behind = data() if data is not None and is_there else None
    if as_json:
        rows = [
            {
                "name": one.name,
                "state": one.state.value,
                "url": one.url,
                "pid": one.pid,
                "uptime_seconds": None if one.uptime_seconds is None else round(one.uptime_seconds, 1),
                "log": str(one.log),
            }
            for one in states
        ]
        content = {"dir": str(settings.project_dir.resolve()), "services": rows}
        known = {"online": [each.to_json() for each in online.views], "left_behind": list(online.left_behind)}
        give({**content, **known, **({"behind": behind.to_json() if behind else None} if data is not None else {})})
        return
    lines = [("SERVICE", "STATE", "URL", "PID", "UP", "LOG")]
    lines += [
        (one.name, one.state.value, one.url or "-", str(one.pid or "-"), _duration(one.uptime_seconds), str(one.log))
        for one in states
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    show(online)
    if behind is not None:
        data_status.show(behind)
    elif data is not None and settings.nessie_uri is not None:
        typer.echo(f"\nNessie at {settings.nessie_uri} does not answer: what is behind is not known")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {rest:02}s" if minutes else f"{rest}s"
