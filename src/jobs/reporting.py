"""How jobs talk to people and to programs: progress on stderr, results on stdout."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from asgard.lakehouse.run import RunResult

Say = Callable[[str], None]


@contextmanager
def progress_lines(*, quiet: bool = False) -> Iterator[Say]:
    """A `say` that shows what is going on: a live line on a terminal, plain lines elsewhere.

    Args:
        quiet: say nothing (for `--json`).
    """
    started = time.monotonic()

    def stamped(line: str) -> str:
        return f"{time.monotonic() - started:6.1f}s  {line}"

    if quiet:
        yield lambda _line: None
    elif sys.stderr.isatty():
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        with console.status("starting") as status:

            def say_live(line: str) -> None:
                console.print(stamped(line), style="dim")
                status.update(line)

            yield say_live
    else:

        def say_plain(line: str) -> None:
            sys.stderr.write(stamped(line) + "\n")
            sys.stderr.flush()

        yield say_plain


def show_json(content: object) -> None:
    """Print one machine-readable object on stdout."""
    sys.stdout.write(json.dumps(content, indent=2, allow_nan=False, default=str) + "\n")


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str = "nothing") -> None:
    """Print rows as a table: framed on a terminal, tab-separated elsewhere."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            sys.stdout.write("\t".join(map(_cell, row)) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not rows:
        console.print(empty, style="dim")
        return
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*map(_cell, row))
    console.print(table)


def show_runs(results: Sequence[RunResult], *, as_json: bool) -> None:
    """Print how runs ended."""
    if as_json:
        show_json({"runs": [result.to_json() for result in results]})
        return
    rows = [
        (
            result.run_id,
            result.status,
            name,
            f"+{write['rows_added']:,} -{write['rows_removed']:,}",
            f"{write['rows']:,}",
            _checks(result, name),
        )
        for result in results
        for name, write in (result.tables or {"": {"rows_added": 0, "rows_removed": 0, "rows": 0}}).items()
    ]
    show_table(("RUN", "STATUS", "TABLE", "ROWS", "NOW", "CHECKS"), rows, empty="no run was needed")


def _checks(result: RunResult, table: str) -> str:
    if result.verdict is None:
        return ""
    found = [check for audit in result.verdict.outcome.tables if audit.table == table for check in audit.results]
    failed = sum(not check.passed for check in found)
    free = sum(check.answered_by == "statistics" for check in found)
    return f"{len(found) - failed} of {len(found)} passed, {free} without a scan"


def _cell(value: object) -> str:
    return "" if value is None else str(value)
