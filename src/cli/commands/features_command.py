"""features: register views of gold tables, and join labels to the features known at their time.

Reads: gold tables at published snapshots, and a pipeline's declarations. Writes: registrations under `_asgard/`,
holds, the Feast registry; training sets as Parquet files with a manifest, or as a table through a run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asgard.common.errors import UsageError
from asgard.common.names import TableName
from asgard.jobs.options import DirOption, JsonOption, PipelineOption, RefOption, SetOption, settings_from
from asgard.jobs.reporting import progress_lines, show_json, show_table

if TYPE_CHECKING:
    from asgard.features.views import Declared
    from asgard.lakehouse.catalog.lake import Lakehouse

ViewsOption = Annotated[
    list[str] | None, typer.Option("--view", "-v", help="A feature view. Repeatable; default: all of the pipeline.")
]


def apply(
    pipeline: PipelineOption,
    view: ViewsOption = None,
    prune: Annotated[bool, typer.Option("--prune", help="Remove views that the pipeline no longer declares.")] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Take over views that a pipeline of another name registered.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan without changing anything.")] = False,
    feast: Annotated[bool, typer.Option("--feast/--no-feast", help="Update the Feast registry, too.")] = True,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register views at the snapshots published now."""
    from asgard.cli.commands.features_plan import Planned
    from asgard.features.feast import registry as feast_registry
    from asgard.jobs.features_apply import apply_views

    lake, declared = _open(settings, directory, pipeline, prune=prune)
    if feast:
        feast_registry.require_portable(tuple(declared.on_demand.values()))
    planned = Planned.of(lake, declared, view or (), prune=prune, take_over=take_over)
    if not as_json:
        planned.show()
    if not dry_run:
        with progress_lines(quiet=as_json) as say:
            apply_views(lake, declared, planned.changes, say, feast=feast)
    if as_json:
        show_json({"applied": not dry_run, **planned.to_json()})


def diff(
    pipeline: PipelineOption,
    view: ViewsOption = None,
    prune: Annotated[bool, typer.Option("--prune", help="Assume an apply with --prune.")] = False,
    take_over: Annotated[bool, typer.Option("--take-over", help="Assume an apply with --take-over.")] = False,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what an apply would change."""
    from asgard.cli.commands.features_plan import Planned

    lake, declared = _open(settings, directory, pipeline, prune=prune)
    planned = Planned.of(lake, declared, view or (), prune=prune, take_over=take_over)
    if as_json:
        show_json(planned.to_json())
    else:
        planned.show()


def list_views(directory: DirOption = None, settings: SetOption = None, as_json: JsonOption = False) -> None:
    """List the registered feature views."""
    from asgard.features.register import KIND, ViewFreshness
    from asgard.lakehouse.catalog.registrations import Registrations

    lake = _lake(settings, directory)
    registered = Registrations(lake.storage).current(KIND).values()
    contents = lake.nessie.contents(lake.target, {each.table for each in registered})
    words = {
        ViewFreshness.NEWEST: "yes",
        ViewFreshness.BEHIND: "no: apply again",
        ViewFreshness.GONE: f"table gone from {lake.target}",
    }
    standings = [ViewFreshness.of(each, contents) for each in registered]
    rows = [
        {**each.to_json(), "behind": standing is not ViewFreshness.NEWEST, "standing": str(standing)}
        for each, standing in zip(registered, standings, strict=True)
    ]
    if as_json:
        show_json({"views": rows})
        return
    show_table(
        ("VIEW", "VERSION", "TABLE", "KEYS", "FEATURES", "ROWS", "SNAPSHOT", "NEWEST", "ONLINE", "REGISTERED"),
        [
            (
                row["name"],
                row["declared"]["version"],
                row["table"],
                ", ".join(row["declared"]["keys"]),
                len(row["declared"]["features"]),
                f"{row['facts']['rows']:,}",
                row["snapshot_id"],
                words[ViewFreshness(row["standing"])],
                row["declared"]["codec"] if row["online"] else "",
                row["registered"][:19],
            )
            for row in rows
        ],
        empty="no view is registered: use `asgard features apply`",
    )


def show(
    name: Annotated[str, typer.Argument(metavar="VIEW", help="A registered feature view.")],
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one view: features, files, history."""
    from asgard.features.register import KIND, ViewFreshness, registered_views
    from asgard.features.views import lasting
    from asgard.lakehouse.catalog.registrations import Registrations

    lake = _lake(settings, directory)
    pinned = registered_views(lake, [name])[0]
    history = Registrations(lake.storage).history(KIND, name)
    standing = ViewFreshness.of(history[-1], lake.nessie.contents(lake.target, (pinned.view.table,)))
    if as_json:
        show_json(
            {
                "view": history[-1].to_json(),
                "standing": str(standing),
                "files": list(pinned.table.files),
                "history": [each.to_json() for each in history],
            }
        )
        return
    view, facts = pinned.view, pinned.facts
    typer.echo(f"{view.name} version {view.version}: {view.description or 'no description'}")
    if view.model:
        typer.echo(
            f"  predictions of the model {view.model}; online: of its latest run over all entities, and later runs"
        )
    typer.echo(f"  {view.table} at snapshot {pinned.table.snapshot_id}, {len(pinned.table.files)} files, none copied")
    if standing is ViewFreshness.BEHIND:
        typer.echo(f"  {lake.target} has a newer state of the table: `asgard features apply` registers it")
    if standing is ViewFreshness.GONE:
        typer.echo(f"  {lake.target} no longer has this table: the view reads the state that its hold keeps")
    typer.echo(
        f"  keys {', '.join(view.keys)}; event timestamp {view.event_timestamp}; a row counts {lasting(view.ttl)}"
    )
    if facts is not None:
        typer.echo(
            f"  {facts.rows:,} rows of {facts.entities:,} entities; {facts.ties:,} tied, {facts.late:,} known late, "
            f"{facts.unusable:,} without key or timestamp"
        )
    show_table(("FEATURE", "TYPE", "MEANING"), [(each.name, each.type, each.description) for each in view.features])
    typer.echo("")
    show_table(
        ("NUMBER", "REGISTERED", "SNAPSHOT", "COMMIT", "BY", "CODE"),
        [
            (
                each.number,
                each.registered[:19],
                "removed" if each.removed else each.snapshot_id,
                each.commit[:12],
                each.user,
                each.code_version[:12],
            )
            for each in reversed(history)
        ],
    )


def training_set(
    labels: Annotated[str, typer.Option("--labels", help="File (Parquet, CSV, TSV, JSON lines) or table of labels.")],
    out: Annotated[str, typer.Option("--out", help="Parquet file or folder to write, or a table: layer.name.")],
    views: Annotated[
        list[str] | None,
        typer.Option(
            "--views", "-v", help="Feature views, also separated by commas. Default: all registered except predictions."
        ),
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", "-p", help="Pipeline of the on-demand features, and of the views that --ref pins."),
    ] = None,
    time_column: Annotated[
        str, typer.Option("--time-column", help="The column with the labels' time.")
    ] = "event_timestamp",
    ref: RefOption = None,
    full_names: Annotated[bool, typer.Option("--full-names", help="Name features view__feature.")] = False,
    engine: Annotated[str, typer.Option("--engine", help="auto, duckdb or spark.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")] = False,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Join labels to the features known at their time."""
    from asgard.features import register
    from asgard.features.joins.engines import Engine
    from asgard.features.joins.labels import Labels
    from asgard.features.pinned import PinnedTable, PinnedView, require_columns
    from asgard.features.training_sets.build import SetRequest, build, build_table
    from asgard.features.views import Declared
    from asgard.lakehouse.catalog.snapshots import resolve
    from asgard.lakehouse.declaring.loading import load_pipeline

    if engine not in tuple(Engine):
        raise UsageError(f"--engine is {engine!r}.", hint=f"Use one of {', '.join(Engine)}.")
    names = [name.strip() for text in views or () for name in text.split(",") if name.strip()]
    declared = Declared.of(load_pipeline(pipeline)) if pipeline else Declared("", {}, {})
    lake = _lake(settings, directory)
    at = (
        resolve(lake, resolve(lake, ref).commit) if ref else None
    )  # by commit: data that is only on a branch is not published
    if at is None:
        pinned = register.registered_views(lake, names)
    elif pipeline is None:
        raise UsageError("--ref pins declared views, but no pipeline is given.", hint="Give --pipeline, too.")
    else:
        chosen = declared.select(names) if names else declared.features
        pinned = tuple(PinnedView(view, PinnedTable.load(lake, view.table, at)) for view in chosen)
        for each in pinned:
            require_columns(each.view, each.table)
    if not pinned:
        raise UsageError("No feature view is registered.", hint="Register one: `asgard features apply --pipeline ...`.")
    have = {each.name for each in pinned}
    functions = tuple(each for each in declared.on_demand.values() if set(each.views) <= have)
    request = SetRequest(
        pinned, Labels(labels, time_column, at.commit if at else None), functions, full_names, Engine(engine)
    )
    table = _table_name(out)
    with progress_lines(quiet=as_json) as say:
        if table is not None:
            manifest = build_table(lake, request, table, say=say)
        else:
            manifest = build(lake, request, Path(out), overwrite=overwrite, say=say).manifest
    if as_json:
        show_json(dict(manifest))
        return
    typer.echo(f"{out}: {manifest['rows']:,} rows, digest {manifest['digest'][:16]}")
    for name, count in manifest["without_features"].items():
        typer.echo(f"  {name}: {manifest['rows'] - count:,} labels have features, {count:,} have none")


def impact(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="layer.name")],
    column: Annotated[
        list[str] | None, typer.Option("--column", "-c", help="Show only what uses this column. Repeatable.")
    ] = None,
    ref: Annotated[
        str | None, typer.Option("--ref", help="Branch, tag, commit or time: show what publishing it would break.")
    ] = None,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a change to a table's schema affects."""
    from asgard.features.pinned import PinnedTable
    from asgard.lakehouse.catalog.registrations import Registrations, broken_by
    from asgard.lakehouse.catalog.snapshots import resolve

    name = TableName.parse(table)
    lake = _lake(settings, directory)
    published = PinnedTable.load(lake, name, resolve(lake, None))
    unknown = [each for each in column or () if each not in published.columns]
    if unknown:
        raise UsageError(f"{name} has no column {', '.join(unknown)}.", hint=f"It has {', '.join(published.columns)}.")
    registered = [each for each in Registrations(lake.storage).of_every_kind() if each.table == name]
    rows = [
        {
            "kind": each.kind,
            "name": each.name,
            "online": each.online,
            "columns": [used for used in each.columns if not column or used in column],
            "owner": each.declared.get("owner", ""),
        }
        for each in registered
        if not column or set(each.columns) & set(column)
    ]
    rows += _models_reading(lake, name, column or ())
    broken: list[dict[str, str]] = []
    if ref is not None:
        pinned = PinnedTable.load(lake, name, resolve(lake, ref))
        kinds = {each.name: each.type for each in pinned.columns.values()}
        broken = [
            {"kind": each.kind, "name": each.name, "why": why} for each, why in broken_by(registered, name, kinds)
        ]
    if as_json:
        show_json({"table": str(name), "uses": rows, "broken": broken})
        return
    show_table(
        ("KIND", "NAME", "ONLINE", "USES", "OWNER"),
        [
            (row["kind"], row["name"], "yes" if row["online"] else "", ", ".join(row["columns"]), row["owner"])
            for row in rows
        ],
        empty=f"nothing registered uses {name}",
    )
    for each in broken:
        typer.echo(f"{each['kind']} {each['name']} would break with {ref}: {each['why']}")
    if rows and ref is not None and not broken:
        typer.echo(f"nothing would break with {ref}")


def _models_reading(lake: "Lakehouse", table: TableName, columns: "Sequence[str]") -> list[dict[str, Any]]:
    """The model versions, except archived ones, trained on views of a table; none if no MLflow is set."""
    if lake.settings.mlflow_tracking_uri is None:
        return []
    from asgard.features.views import FeatureView
    from asgard.model.lifecycle import Stage
    from asgard.model.registry import Registry

    registry, rows = Registry.of(lake.settings), []
    for version in (each for name in registry.names() for each in registry.model(name).everything):
        if version.problem and version.stage is not Stage.ARCHIVED:
            typer.echo(f"what {version} reads is unknown: {version.problem}", err=True)
        bound = [each for each in version.binding.views if each.table == table and each.declared is not None]
        used = dict.fromkeys(name for each in bound for name in FeatureView.from_json(each.declared or {}).columns)
        wanted = [name for name in used if not columns or name in columns]
        if version.stage is not Stage.ARCHIVED and wanted:
            what = f"{version} ({version.stage})"
            rows.append(
                {"kind": "model", "name": what, "online": False, "columns": wanted, "owner": version.created_by}
            )
    return rows


def _table_name(out: str) -> TableName | None:
    if "/" in out or Path(out).suffix in (".parquet", ".pq"):
        return None
    try:
        return TableName.parse(out)
    except UsageError:
        return None


def _open(
    settings: list[str] | None, directory: str | None, pipeline: str, *, prune: bool
) -> "tuple[Lakehouse, Declared]":
    from asgard.features.views import Declared
    from asgard.lakehouse.declaring.loading import load_pipeline

    declared = Declared.of(load_pipeline(pipeline))
    if not declared.views and not prune:
        raise UsageError(
            f"{pipeline} declares no feature view.",
            hint="Add one: pipeline.add(feature_view('...', ...)); --prune removes the views that it declared before.",
        )
    return _lake(settings, directory), declared


def _lake(settings: list[str] | None, directory: str | None) -> "Lakehouse":
    from asgard.lakehouse.catalog.lake import Lakehouse

    return Lakehouse.connect(settings_from(settings, directory), "asgard features")
