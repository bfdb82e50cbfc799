"""Print lineage for people: a tree of tables, runs and files, below the table or prediction that it explains."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from asgard.lakehouse.lineage.tree import LineageNode
    from asgard.model.provenance.explain import Explained, Used
    from asgard.model.versions import Binding


_LISTED = 10
"""The largest number of files that is listed; if there are more, they are only counted."""


def show_explained(explained: "Explained", *, list_files: bool = False) -> None:
    """Print a prediction, and below it its model, features and sources."""
    row, run, version = explained.row, explained.run.to_json(), explained.version
    typer.echo(
        f"prediction {row['prediction']}  of {row['predicted_at']}, features as known at {row['features_as_of']}"
    )
    if version is None:
        typer.echo(f"  model {explained.model}")
    else:
        binding = version.binding
        typer.echo(f"  model {version}, now in {version.stage}; MLflow run {version.run_id}")
        typer.echo(f"    trained by {version.created_by} at {version.created[:19]}, code {_code(binding)}")
        for table, snapshot in binding.tables.items():
            typer.echo(f"    on {table}  snapshot {snapshot}")
    typer.echo(f"  published by {run['job']} {run['run_id']} (code {(run['code_version'] or '')[:12]})")
    if explained.segment:
        typer.echo(f"  {explained.segment}")
    for used in explained.used:
        _show_used(used)
    if explained.on_demand:
        typer.echo("  on-demand features, computed from these by the pipeline")
    for name in explained.on_demand:
        typer.echo(f"    {name}{f' = {explained.computed[name]}' if name in explained.computed else ''}")
    for source in explained.sources:
        show_node(source, "  ", list_files=list_files)
    for each in explained.missing:
        typer.echo(f"  missing: {each}")


def show_node(node: "LineageNode", indent: str, *, list_files: bool = False) -> None:
    """Print a state of a table, and below it the files and tables that it was computed from.

    Args:
        node: to print.
        indent: of its line.
        list_files: print every file; else many files are counted.
    """
    run = node.run.attempt if node.run else None
    made = f"by {run.start.get('job')} {run.run_id} (code {run.start.get('code_version', '')[:12]})" if run else ""
    if not node.made_by_run or not made:
        made = f"not made by a recorded run{f'; the latest recorded run is {made[3:]}' if made else ''}"
    typer.echo(f"{indent}{node.table}  snapshot {node.snapshot_id}  {made}")
    if node.run and node.run.reverts:
        rows_of = f", so its rows are those of run {node.computed_by.attempt.run_id}" if node.computed_by else ""
        typer.echo(f"{indent}  this run reverted run {node.run.reverts}{rows_of}")
    if node.unrecorded:
        noun = "snapshot" if node.unrecorded == 1 else "snapshots"
        typer.echo(f"{indent}  {node.unrecorded:,} {noun} without a recorded run: the origin of their rows is unknown")
    for model in node.predicted_by:
        typer.echo(f"{indent}  predicted by {model}")
    is_folded = len(node.files) > _LISTED and not list_files
    if is_folded:
        typer.echo(f"{indent}  {folded_names(node.files)}; --files lists them")
    for file in () if is_folded else node.files:
        typer.echo(f"{indent}  file {file}")
    for source in node.inputs:
        show_node(source, indent + "  ", list_files=list_files)
    if node.predicted_by and not indent:
        keys = " ".join(f"--key {name}=VALUE" for name in node.keys) or "--key NAME=VALUE"
        typer.echo(f"one prediction: asgard lineage {node.table} {keys}")


def folded_names(files: Sequence[str]) -> str:
    """Files as their number and the names of the first and the last: `300 files, 2024-01-01.csv .. 2024-10-27.csv`."""
    names = sorted(name.rpartition("/")[2] for name in files)
    return f"{len(names):,} files, {names[0]} .. {names[-1]}" if len(names) > 1 else f"1 file, {names[0]}"


def _show_used(used: "Used") -> None:
    bound = used.bound
    when = f"row of {used.event:%Y-%m-%d %H:%M:%S}" if used.event else "no row was known"
    typer.echo(
        f"  features of {bound.view} version {bound.version}  {bound.table}  snapshot {bound.snapshot_id}, {when}"
    )
    for name, value in used.values.items():
        aside = "" if used.learned is None or name in used.learned else "  (not an input of the model itself)"
        typer.echo(f"    {name} = {value}{aside}")


def _code(binding: "Binding") -> str:
    return f"{binding.code_version[:12]}{' (dirty)' if binding.dirty else ''}"
