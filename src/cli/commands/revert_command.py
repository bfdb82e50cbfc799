"""`asgard revert`: undo what one published run wrote."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asgard.common.names import check_run_id
from asgard.jobs.counted import counted
from asgard.jobs.options import DirOption, JsonOption, RunIdOption, SetOption, settings_from
from asgard.jobs.reporting import progress_lines, show_json, show_note, show_runs, show_table
from asgard.lakehouse.catalog.lake import Lakehouse

if TYPE_CHECKING:
    from asgard.lakehouse.runs.revert_effects import Effects

_SHOWN = 8


def revert(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The id of the run to undo.")],
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", help="Where the tables' checks are declared. Default: no checks.")
    ] = None,
    why: Annotated[str, typer.Option("--why", help="The reason, for the run's record.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    run_id: RunIdOption = None,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Undo what one published run wrote, as a new run.

    The files that it added leave, and those that it removed come back; what later runs wrote elsewhere stays. It is
    refused if later runs changed its files, or computed its intervals again.
    """
    from asgard.lakehouse.declaring.loading import load_pipeline
    from asgard.lakehouse.runs import revert as room
    from asgard.lakehouse.runs.revert_effects import effects_of

    undone, own_id = check_run_id(run), check_run_id(run_id) if run_id else None
    declared = load_pipeline(pipeline) if pipeline else None
    lake = Lakehouse(settings_from(settings, directory), "asgard revert")
    lake.reach()
    plan = room.plan_at_head(lake, undone, own_id)
    shown: dict[str, Any] = {}
    if plan is not None:
        effects = effects_of(lake, plan)
        shown = {**room.described(plan), "effects": effects.to_json()}
        if dry_run and as_json:
            show_json(shown)
            return 0
        if not as_json:
            _show(shown, effects)
    if dry_run:
        return 0
    with progress_lines(quiet=as_json) as say, counted(lake, "revert", say) as note:
        result = note(room.revert(lake, undone, say, pipeline=declared, why=why, own_id=own_id))
    if as_json:
        show_json({**result.to_json(), "reverted": shown})
    else:
        show_runs([result], as_json=False)
    return 0


def _show(shown: Mapping[str, Any], effects: "Effects") -> None:
    """Show what a revert changes, and whom it concerns."""
    show_note(f"run {shown['run_id']} ({shown['job']}), published {shown['published'][:19]}:")
    show_table(
        ("TABLE", "ROWS OUT", "ROWS BACK", "INTERVALS", "NOTE"),
        [
            (
                each["table"],
                f"{each['rows_out']:,}",
                f"{each['rows_back']:,}",
                _listed(each["intervals"]),
                _note(each),
            )
            for each in shown["tables"]
        ],
    )
    for line in _lines(effects):
        show_note(line)


def _note(table: Mapping[str, Any]) -> str:
    if table["dropped"]:
        return "the run created it: it is dropped"
    words = ["no row is left: it stays, empty"] if table["left_empty"] else []
    if table["columns_that_stay"]:
        words.append(f"columns that stay: {', '.join(table['columns_that_stay'])}")
    return "; ".join(words)


def _lines(effects: "Effects") -> Iterator[str]:
    for run_id, (job, wrote) in effects.readers.items():
        yield f"read since by run {run_id} ({job}), which wrote {_listed(wrote)}"
    for each in effects.stale:
        where = f" {_listed([str(part).replace('/', ' to ') for part in each.intervals])}" if each.intervals else ""
        yield f"becomes stale: {each.table}{where} (of run {_listed(each.runs)})"
    if effects.follows:
        yield f"follows from that: {_listed(effects.follows)}"
    for view in effects.views:
        yield f"registered with these rows: {view}; it keeps them until `asgard features apply`"
    if effects.holds:
        yield f"kept with these rows: {_listed(effects.holds)}"


def _listed(values: "Any") -> str:
    texts = [str(each) for each in values]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more
