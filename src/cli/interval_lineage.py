"""Print the lineage of single intervals for people: where their rows come from, and who read them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from asgard.cli.explained import folded_names

if TYPE_CHECKING:
    from asgard.lakehouse.freshness.stretch import Stretch
    from asgard.lakehouse.lineage.backward import Computed, InputRead, IntervalNode
    from asgard.lakehouse.lineage.forward import Downstream, Reader
    from asgard.lakehouse.lineage.sources import Sources

_RUNS, _STRETCHES = 3, 4


def show_backward(node: "IntervalNode", *, list_files: bool) -> None:
    """Print where the rows of some intervals come from, an input below what read it."""
    _Printer(list_files=list_files).node(node, "")


class _Printer:
    """Prints a node once; where the same rows are read again, it says so."""

    def __init__(self, *, list_files: bool) -> None:
        self._list_files = list_files
        self._printed: set[int] = set()

    def node(self, node: "IntervalNode", indent: str) -> None:
        what = _of_node(node)
        if id(node) in self._printed:
            typer.echo(f"{indent}{node.table}  {what}, as above")
            return
        self._printed.add(id(node))
        typer.echo(f"{indent}{node.table}  {what}")
        for line in _about(node):
            typer.echo(f"{indent}  {line}")
        if node.sources is not None:
            for line in _of_sources(node.sources, list_files=self._list_files):
                typer.echo(f"{indent}  {line}")
        for each in node.inputs:
            typer.echo(f"{indent}  read {each.table}, {_stretches(each.stretches)}: {_still(each)}")
            if each.node is not None:
                self.node(each.node, f"{indent}    ")


def _of_node(node: "IntervalNode") -> str:
    if not node.intervals:
        return f"all rows, snapshot {node.snapshot}" if node.computed else _stretches(node.stretches)
    at_most = "" if node.is_exact else "at most "
    return f"{at_most}{_intervals(node.count, node.intervals)}"


def _about(node: "IntervalNode") -> list[str]:
    lines = []
    if not node.has_state:
        lines.append("not written by Asgard 0.2 or later: what its rows were computed from is not recorded")
    if node.computed:
        lines.append(f"computed by {_runs(node.computed)}")
    if node.unknown:
        lines.append(f"computed by a version before 0.2, from what is not recorded: {_some(node.unknown)}")
    not_there = [each for each in node.unrecorded if each not in node.unknown]
    if not_there:
        lines.append(f"without a record, so not computed: {_some(not_there)}")
    if node.doubtful:
        lines.append(f"in doubt, changed by others than recorded runs: {_some(node.doubtful)}")
    return lines


def _runs(computed: "Sequence[Computed]") -> str:
    if len(computed) == 1:
        return f"run {computed[0].run}, code {computed[0].code}"
    shown = ", ".join(f"{each.run} (code {each.code}: {_some(each.intervals)})" for each in computed[-_RUNS:])
    if len(computed) <= _RUNS:
        return f"{len(computed)} runs: {shown}"
    codes = len({each.code for each in computed})
    return f"{len(computed):,} runs with {codes} {'code' if codes == 1 else 'codes'}, the last ones {shown}"


def _still(read: "InputRead") -> str:
    if read.snapshot is None:
        return "still there" if read.node else "still there; not followed further"
    if read.node is None:
        return f"changed since; its state at snapshot {read.snapshot} is gone, or one of very many"
    return f"changed since; this is what was read, at snapshot {read.snapshot}"


def _of_sources(sources: "Sources", *, list_files: bool) -> list[str]:
    files, lines = sources.files, []
    if files:
        at_most = "" if sources.is_exact else "at most "
        rows = f", {sum(each.rows or 0 for each in files):,} rows" if sources.is_exact else ""
        if list_files or len(files) == 1:
            lines += [
                f"{at_most}file {each.name}"
                + ("" if each.rows is None else f", {each.rows:,} rows")
                + f", run {each.run}"
                for each in files
            ]
        else:
            lines.append(f"{at_most}{folded_names([each.name for each in files])}{rows}; --files lists them")
    elif sources.runs:
        lines.append(f"written by {_some([f'run {each}' for each in sources.runs])}, which name no source file")
    if sources.unnamed:
        lines.append(f"{sources.unnamed:,} rows name no source file")
    if sources.foreign:
        shown = _some([str(each) for each in sources.foreign])
        lines.append(f"data files by snapshots of no recorded run: {shown}")
    return lines or ["no row"]


def show_forward(found: "Downstream") -> None:
    """Print who read some rows of a table, level by level."""
    typer.echo(f"{found.table}  {_stretches(found.stretches)}")
    for each in found.readers:
        typer.echo(f"{'  ' * each.level}{each.table}  {_of_reader(each)}")
    for name in found.unknown:
        typer.echo(f"  {name}  read them too: which rows it read is not recorded")
    for consumer in found.consumers:
        current = "the current one" if consumer.is_current else "not the current one"
        typer.echo(
            f"  {consumer.kind} {consumer.name}  reads {consumer.table} at snapshot {consumer.snapshot}, {current}"
        )
    if not (found.readers or found.unknown or found.consumers):
        typer.echo("  nothing read these rows")


def _of_reader(reader: "Reader") -> str:
    at_most = "" if reader.is_exact else "at most "
    what = _intervals(reader.count, reader.intervals) if reader.intervals else "all rows"
    through = ", ".join(map(str, reader.inputs))
    if not reader.outdated:
        state = ""
    elif reader.intervals:
        state = f"; {reader.outdated:,} of them read rows that have changed since"
    else:
        state = "; what it read has changed since"
    return f"{at_most}{what}, from {through}{state}"


def _intervals(count: int, intervals: Sequence[str]) -> str:
    return intervals[0] if count == 1 else f"{count:,} intervals {_some(intervals)}"


def _stretches(stretches: "Sequence[Stretch]") -> str:
    return _some([str(each) for each in stretches])


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _STRETCHES:,} more" if len(texts) > _STRETCHES else ""
    return ", ".join(texts[:_STRETCHES]) + more
