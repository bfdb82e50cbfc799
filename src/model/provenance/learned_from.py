"""What a version learned from: its views at a published state, and its on-demand features.

A view is pinned as a version, or the record of a run, is bound to it: whatever was registered since.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from asgard.common.errors import UsageError
from asgard.common.names import SnapshotId, TableName
from asgard.common.settings import Settings
from asgard.features.function_digest import differs
from asgard.features.joins import duck
from asgard.features.pinned import PinnedTable, PinnedView, require_columns
from asgard.features.register import KIND, registered_views
from asgard.features.views import Declared, FeatureView, OnDemandFeature
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.registrations import Registrations
from asgard.lakehouse.catalog.snapshots import At, published_with, resolve
from asgard.model.versions import ON_DEMAND_CODE, BoundView, ModelVersion

if TYPE_CHECKING:
    from asgard.lakehouse.declaring.pipeline import Pipeline


def pinned_table(settings: Settings, bound: BoundView) -> PinnedTable:
    """A view's table at the snapshot that it is bound to.

    Raises:
        UsageError: it was collected, or files of it are gone.
    """
    at = At(bound.target, bound.commit)
    table = PinnedTable.of(settings, bound.table, at, bound.metadata_location, bound.snapshot_id)
    table.require_files()
    return table


def pinned_view(settings: Settings, bound: BoundView, declared: FeatureView | None = None) -> PinnedView:
    """A view as it was, on its table as it was.

    Args:
        settings: how storage is reached.
        bound: which.
        declared: used where the declaration was not noted.

    Raises:
        UsageError: its declaration, its snapshot or files of it are gone.
    """
    view = FeatureView.from_json(bound.declared) if bound.declared is not None else declared
    if view is None:
        raise UsageError(
            f"Nobody noted how view {bound.view} was declared in version {bound.version}.",
            hint="It was used by an older Asgard; declare the view again, or train and predict anew.",
        )
    return PinnedView(view, pinned_table(settings, bound))


def pinned_views(
    lake: Lakehouse,
    version: ModelVersion,
    as_of: str | None = None,
    snapshot: int | None = None,
    *,
    accept_view_change: bool = False,
) -> tuple[PinnedView, ...]:
    """The views that a version learned from: as registered now, or as a published state had their tables.

    A view's version counts up when its features mean something else. So the one that is read has to be the one that
    was learned from: that of now; or that of a state at which it was registered in that version.

    Args:
        lake: where they are.
        version: whose.
        as_of: a branch, tag, commit or time.
        snapshot: of the views' table, in any published state.
        accept_view_change: read views of other versions, too.

    Raises:
        UsageError: a view is not registered any more, or in another version; or there is no such snapshot.
    """
    bound = version.binding.views
    registered = registered_views(lake, [each.view for each in bound])
    if as_of is not None and snapshot is not None:
        raise UsageError("Both --as-of and --snapshot were given.", hint="Keep one.")
    if as_of is None and snapshot is None:
        if not accept_view_change:
            for each, pinned in zip(bound, registered, strict=True):
                if pinned.view.version != each.version:
                    raise _other_version(version, each, pinned.view)
        return registered
    views = [pinned.view for pinned in registered]
    changed = [not accept_view_change and view.version != each.version for each, view in zip(bound, views, strict=True)]
    tables = [
        each.table if is_other else view.table for each, view, is_other in zip(bound, views, changed, strict=True)
    ]
    at = _state(lake, version, tables, as_of, snapshot)
    views_read = []
    for each, view, name, is_other in zip(bound, views, tables, changed, strict=True):
        table = PinnedTable.load(lake, name, at)
        views_read.append(_measured(lake, _as_learned(lake, version, each, view, table) if is_other else view, table))
    return tuple(views_read)


def changed_views(lake: Lakehouse, version: ModelVersion) -> tuple[str, ...]:
    """Views that a version learned from in another version than is registered now, each in words with what to do."""
    registered = Registrations(lake.storage).current(KIND)
    problems = []
    for each in version.binding.views:
        if each.view not in registered:
            problems.append(f"view {each.view} is not registered any more. Register it: `asgard features apply`.")
            continue
        now = FeatureView.from_json(registered[each.view].declared)
        if now.version != each.version:
            error = _other_version(version, each, now)
            problems.append(f"{error.message} {error.hint}")
    return tuple(problems)


def functions_of(
    version: ModelVersion, pipeline: "Pipeline | None", *, accept_change: bool = False
) -> tuple[OnDemandFeature, ...]:
    """The on-demand features that a version learned from, as they are computed where no request brings values.

    Args:
        version: whose.
        pipeline: that declares them.
        accept_change: take functions whose code changed since, too.

    Raises:
        UsageError: they are needed, and the pipeline does not declare them, or none is given; their code is not what
            the version learned from; or they need values of a request.
    """
    wanted = version.binding.details.get("on_demand", ())
    if not wanted:
        return ()
    if pipeline is None:
        raise UsageError(
            f"{version} learned from the on-demand features {', '.join(wanted)}, whose code is in its pipeline.",
            hint=f"Say --pipeline; it was trained by {version.binding.details.get('pipeline') or 'one'}.",
        )
    declarations = Declared.of(pipeline)
    declared = declarations.on_demand
    lacking = [name for name in wanted if name not in declared]
    if lacking:
        raise UsageError(
            f"Pipeline {pipeline.name} does not declare {', '.join(lacking)}, which {version} learned from.",
            hint=f"It declares {', '.join(declared) or 'no on-demand feature'}.",
        )
    functions = tuple(declared[name] for name in wanted)
    _require_no_request(version, functions, declarations)
    recorded = version.binding.details.get(ON_DEMAND_CODE, {})
    changed = [each.name for each in functions if differs(recorded.get(each.name), each)]
    if changed and not accept_change:
        raise UsageError(
            f"{version} learned from other code of {', '.join(changed)} than pipeline {pipeline.name} has now.",
            hint=f"Train it again; or name a --pipeline with the code of commit {version.binding.code_version[:12]}; "
            "or say --accept-view-change, if it computes the same.",
        )
    return functions


def _require_no_request(version: ModelVersion, functions: Sequence[OnDemandFeature], declarations: Declared) -> None:
    """Refuse functions of values that are neither keys nor features of the version's views."""
    views = [declarations.views[each.view] for each in version.binding.views if each.view in declarations.views]
    known = {name for view in views for name in (*view.keys, *view.feature_names)}
    for each in functions:
        lacking = [name for name in each.request if name not in known]
        if lacking:
            raise UsageError(
                f"{version} learned from {each.name}, which needs {', '.join(lacking)} of a request: "
                "batch-predict has none.",
                hint="Predict a frame of your own that has the feature; or train without it: features=(...).",
            )


def _state(
    lake: Lakehouse, version: ModelVersion, tables: Sequence[TableName], as_of: str | None, snapshot: int | None
) -> At:
    if snapshot is None:
        return resolve(lake, as_of)
    if len(set(tables)) > 1:
        raise UsageError(
            f"{version} learned from {len(set(tables))} tables: one snapshot does not say what to read.",
            hint="Say --as-of with a commit or a time.",
        )
    return published_with(lake, tables[0], SnapshotId(snapshot))


def _measured(lake: Lakehouse, view: FeatureView, table: PinnedTable) -> PinnedView:
    require_columns(view, table)
    with duck.connect(lake.settings) as connection:
        return PinnedView(view, table, duck.measure(connection, view, table))


def _as_learned(
    lake: Lakehouse, version: ModelVersion, bound: BoundView, now: FeatureView, table: PinnedTable
) -> FeatureView:
    """A view as it was registered at a snapshot in the version that was learned from.

    Raises:
        UsageError: it never was.
    """
    registered = [
        FeatureView.from_json(each.declared)
        for each in Registrations(lake.storage).history(KIND, bound.view)
        if (each.table, each.snapshot_id) == (table.name, table.snapshot_id)
    ]
    same_version = [view for view in registered if view.version == bound.version]
    if not same_version:
        raise _other_version(version, bound, now)
    return same_version[-1]


def _other_version(version: ModelVersion, bound: BoundView, now: FeatureView) -> UsageError:
    return UsageError(
        f"{version} learned from version {bound.version} of view {bound.view}; registered is version {now.version}, "
        "whose features may mean something else.",
        hint=f"Train it again; or read a state at which version {bound.version} was registered, e.g. --as-of "
        f"{bound.commit[:16]}; or say --accept-view-change, if the features mean the same.",
    )
