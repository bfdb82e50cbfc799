"""model reproduce: train a version again from its recorded inputs, and report whether the result is the same.

Reads: the version's files in MLflow, its feature snapshots and labels, its code in git. Writes: only a hold and a
folder, both removed at the end.
"""

from typing import Annotated

import typer

from asgard.common.errors import ExitCode
from asgard.jobs.options import DirOption, JsonOption, SetOption, settings_from
from asgard.jobs.reporting import progress_lines, show_json, show_table


def reproduce(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="E.g. churn@1.2.0, or churn@production.")],
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", help="Where its pipeline is now (default: as recorded).")
    ] = None,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Train a version again and compare."""
    from asgard.lakehouse.catalog.lake import Lakehouse
    from asgard.model.provenance import reproduce as again
    from asgard.model.registry import Registry

    lake = Lakehouse.connect(settings_from(settings, directory), "asgard model")
    registered = Registry.of(lake.settings).find(version)
    with progress_lines(quiet=as_json) as say:
        verdict = again.reproduce(lake, registered, pipeline, say)
    if as_json:
        show_json(verdict.to_json())
    else:
        show_table(
            ("WHAT", "RECORDED", "NOW", "VERDICT"),
            [(each.what, _short(each.recorded), _short(each.now), each.difference) for each in verdict.comparisons],
        )
        for reason in verdict.reasons:
            typer.echo(reason)
        typer.echo(f"\n{registered}: {verdict}")
    return ExitCode.DONE if verdict.reproduced else ExitCode.FAILED


def _short(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_short, value[:2])) + (", ..." if len(value) > 2 else "")
    return value[:24] if isinstance(value, str) else str(value)
