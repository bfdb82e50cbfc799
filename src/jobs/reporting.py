"""Output of jobs for people and programs: progress on stderr, results on stdout."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from asgard.common.aliases import Say
from asgard.jobs.answer import give
from asgard.lakehouse.runs.run import RunResult

_WHOLE = frozenset({"RUN", "BRANCH", "NAME", "TABLE", "SNAPSHOT", "VIEW"})
"""Columns whose cells people copy: like the first column's, they are never wrapped."""


@contextmanager
def progress_lines(*, quiet: bool = False) -> Iterator[Say]:
    """A `say` that shows progress: a live line on a terminal, plain lines elsewhere.

    Args:
        quiet: print nothing (for `--json`).
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


def show_note(line: str) -> None:
    """Print one line for people, on stderr: a table on stdout stays machine-readable."""
    sys.stderr.write(f"{line}\n")


def show_json(content: object) -> None:
    """Answer with one machine-readable object, on stdout."""
    give(content)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str = "nothing") -> None:
    """Print rows as a table: aligned on a terminal, where names are never cut; tab-separated elsewhere.

    Args:
        columns: the headers.
        rows: a cell for each column; None is an empty cell.
        empty: printed if there are no rows; on stderr if stdout is not a terminal.
    """
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            sys.stdout.write("\t".join(map(_cell, row)) + "\n")
        if not rows:
            sys.stderr.write(empty + "\n")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not rows:
        console.print(empty, style="dim")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    cells = [list(map(_cell, row)) for row in rows]
    least = 0  # width of all unwrapped cells and headers; if it exceeds the terminal's, the terminal breaks lines
    for number, column in enumerate(columns):
        whole = number == 0 or column in _WHOLE
        table.add_column(column, no_wrap=whole, overflow="fold")
        least += max(len(text) for text in (column, *(row[number] for row in cells if whole))) + 2
    for row in cells:
        table.add_row(*map(Text, row))
    console.size = (max(console.width, least), console.height)
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
    for result in results:
        for table, check in result.verdict.outcome.warnings if result.verdict else ():
            for line in check.told():
                sys.stderr.write(f"warning: {table}: {line}\n")


def _checks(result: RunResult, table: str) -> str:
    if result.verdict is None:
        return ""
    results = [check for audit in result.verdict.outcome.tables if audit.table == table for check in audit.results]
    failed = sum(not check.passed for check in results)
    warned = f", {failed} {'warning' if failed == 1 else 'warnings'}" if failed else ""  # failed errors publish nothing
    free = sum(check.answered_by == "statistics" for check in results)
    return f"{len(results) - failed} of {len(results)} passed{warned}, {free} without a scan"


def _cell(value: object) -> str:
    return "" if value is None else str(value)
