"""`asgard lookup-check`: verify logged lookups against the published snapshots that they name.

Reads: logs that `asgard.serving.LookupLog` wrote, Nessie and gold tables. Writes: nothing.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from asgard.common.errors import ExitCode, UsageError
from asgard.jobs.options import DirOption, JsonOption, SetOption, settings_from


def lookup_check(
    logs: Annotated[list[Path], typer.Argument(metavar="LOG...", help="Files that LookupLog wrote.")],
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Verify logged lookups against the snapshots that they name."""
    from asgard.jobs.reporting import show_json, show_table
    from asgard.lakehouse.catalog.lake import Lakehouse
    from asgard.serving.lookup_audit.check import check

    lake = Lakehouse.connect(settings_from(settings, directory), "asgard lookup-check")
    checked = check(lake, _lines(logs))
    if as_json:
        show_json(checked.to_json())
    else:
        counts = (checked.lines, checked.equal, checked.later, checked.differing, checked.unchecked.total())
        show_table(
            ("LOOKUPS", "EQUAL", "OF A LATER SNAPSHOT", "DIFFERENT", "NOT CHECKED"), [[f"{each:,}" for each in counts]]
        )
        if checked.lines == checked.unchecked.total():
            typer.echo("nothing was checked" if checked.lines else "nothing was checked: the log is empty")
        for why, lines in sorted(checked.unchecked.items()):
            typer.echo(f"not checked, {lines:,}: {why}")
        for each in checked.examples:
            entity = ", ".join(f"{name}={value}" for name, value in each.entity.items())
            typer.echo(f"line {each.line}, {each.view} of {entity}, snapshot {each.snapshot_id}:")
            for name, (logged, right) in each.differences.items():
                typer.echo(f"  {name}: {logged!r} was looked up, {right!r} is in the snapshot")
    return ExitCode.FAILED if checked.differing else ExitCode.DONE


def _lines(paths: Sequence[Path]) -> Iterator[bytes]:
    for path in paths:
        try:
            with path.open("rb") as log:
                yield from log
        except OSError as error:
            raise UsageError(
                f"The log {path} can't be read: {error.strerror}.", hint="Name a file that LookupLog wrote."
            ) from error
