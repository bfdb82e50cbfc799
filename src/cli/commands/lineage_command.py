"""`asgard lineage`: where a table's rows or one prediction come from, and who read them."""

from typing import TYPE_CHECKING, Annotated

import typer

from asgard.common.errors import UsageError
from asgard.common.names import TableName
from asgard.jobs.options import DirOption, JsonOption, RefOption, SetOption, settings_from
from asgard.jobs.reporting import show_json, show_note

if TYPE_CHECKING:
    from asgard.lakehouse.catalog.lake import Lakehouse
    from asgard.lakehouse.catalog.snapshots import At


def lineage(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="layer.name")],
    interval: Annotated[
        str | None,
        typer.Option("--interval", metavar="PERIOD", help="Only these rows: 2024-01-05, 2024-01, or FIRST..LAST."),
    ] = None,
    downstream: Annotated[bool, typer.Option("--downstream", help="Show who read the rows, at all levels.")] = False,
    files: Annotated[bool, typer.Option("--files", help="List every source file, however many there are.")] = False,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key", metavar="NAME=VALUE", help="A key of the entity whose prediction to explain. Repeatable."
        ),
    ] = None,
    model_version: Annotated[
        str | None,
        typer.Option("--model-version", help="With --key: e.g. 1.2.0 (default: the one that predicted last)."),
    ] = None,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", help="With --key: computes the values of on-demand features.")
    ] = None,
    ref: RefOption = None,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show where a table's rows or one prediction come from.

    With --interval, the rows of some intervals: the runs that computed them, what these read of each input, and
    whether that is still there, down to source files. With --downstream, which intervals of which tables read the rows.
    """
    from asgard.lakehouse.catalog.lake import Lakehouse
    from asgard.lakehouse.catalog.snapshots import resolve

    name, entity = TableName.parse(table), _entity(key)
    _require_entity(entity, {"--pipeline": pipeline, "--model-version": model_version})
    if entity and (interval or downstream):
        raise UsageError(
            f"--key explains one prediction; {'--interval' if interval else '--downstream'} is about a table's rows.",
            hint="Give one of them.",
        )
    lake = Lakehouse.connect(settings_from(settings, directory))
    at = resolve(lake, ref)
    if entity:
        _explain(lake, name, at, entity, model_version, pipeline, as_json=as_json, list_files=files)
    elif interval or downstream:
        _follow(lake, name, at, interval, downstream=downstream, as_json=as_json, list_files=files)
    else:
        _show_tree(lake, name, at, as_json=as_json, list_files=files)


def _explain(
    lake: "Lakehouse",
    name: TableName,
    at: "At",
    entity: dict[str, str],
    model_version: str | None,
    pipeline: str | None,
    *,
    as_json: bool,
    list_files: bool,
) -> None:
    from asgard.cli.explained import show_explained
    from asgard.lakehouse.declaring.loading import load_pipeline
    from asgard.model.provenance.explain import explain

    explained = explain(lake, name, at, entity, model_version, load_pipeline(pipeline) if pipeline else None)
    if as_json:
        show_json(explained.to_json())
    else:
        show_explained(explained, list_files=list_files)


def _follow(
    lake: "Lakehouse",
    name: TableName,
    at: "At",
    interval: str | None,
    *,
    downstream: bool,
    as_json: bool,
    list_files: bool,
) -> None:
    from asgard.cli.interval_lineage import show_backward, show_forward
    from asgard.lakehouse.declaring.periods import parse_period, published_cadence
    from asgard.lakehouse.freshness.stretch import EVERYTHING
    from asgard.lakehouse.lineage.asked import rows_of_period
    from asgard.lakehouse.lineage.backward import backward
    from asgard.lakehouse.lineage.forward import forward
    from asgard.lakehouse.lineage.states import States

    period = parse_period(interval) if interval else None
    lake.content(name, str(at))
    states = States(lake, at)
    stretch = EVERYTHING
    if period is not None:
        has_cadence = published_cadence(states.now(name).properties) is not None
        names = [name] if has_cadence else sorted(lake.nessie.entries(str(at)))
        states.read(names)
        stretch = rows_of_period(name, {each: states.now(each) for each in names}, period)
    if downstream:
        found = forward(states, name, [stretch])
        show_json(found.to_json()) if as_json else show_forward(found)
    else:
        node = backward(states, name, [stretch])
        show_json(node.to_json()) if as_json else show_backward(node, list_files=list_files)


def _show_tree(lake: "Lakehouse", name: TableName, at: "At", *, as_json: bool, list_files: bool) -> None:
    from asgard.cli.explained import show_node
    from asgard.lakehouse.lineage.tree import lineage as find_lineage
    from asgard.lakehouse.runs.foreign_words import foreign_lines

    root = find_lineage(lake, name, at)
    if as_json:
        show_json(root.to_json())
        return
    show_node(root, "", list_files=list_files)
    for line in foreign_lines(root.foreign_heads):
        show_note(line)


def _require_entity(entity: dict[str, str], options: dict[str, str | None]) -> None:
    for option, value in options.items():
        if value and not entity:
            raise UsageError(
                f"{option} applies to one prediction only.", hint="Give its entity: --key customer_id=123."
            )


def _entity(given: list[str] | None) -> dict[str, str]:
    keys: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name or name in keys:
            raise UsageError(
                f"--key {text!r} is {'given twice' if name in keys else 'not NAME=VALUE'}.",
                hint="E.g. --key customer_id=123.",
            )
        keys[name] = value
    return keys
