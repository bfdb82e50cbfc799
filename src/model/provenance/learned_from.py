"""The data that a version was trained on: its views at a published state, and its on-demand features.

A view is pinned as recorded in a version's binding or in a run's record, regardless of later registrations.
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
        UsageError: the snapshot was collected, or files of it are missing.
    """
    at = At(bound.target, bound.commit)
    table = PinnedTable.of(settings, bound.table, at, bound.metadata_location, bound.snapshot_id)
    table.require_files()
    return table


def pinned_view(settings: Settings, bound: BoundView, declared: FeatureView | None = None) -> PinnedView:
    """A view as declared then, on its table at the bound snapshot.

    Args:
        settings: settings for access to the storage.
        bound: the bound view.
        declared: declaration to use if none was recorded.

    Raises:
        UsageError: its declaration, its snapshot or files of the snapshot are missing.
    """
    view = FeatureView.from_json(bound.declared) if bound.declared is not None else declared
    if view is None:
        raise UsageError(
            f"It was not recorded how view {bound.view} was declared in version {bound.version}.",
            hint="An older Asgard used it; declare the view again, or train and predict again.",
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
    """The views that a version was trained on, with their tables as registered now or at a published state.

    A view's version increases when the meaning of its features changes. So the view's version must be the one that the
    model was trained on: the version registered now, or one registered at a published state.

    Args:
        lake: the lakehouse with the views.
        version: the model's version.
        as_of: a branch, tag, commit or time to read the tables at.
        snapshot: snapshot of the views' table, in any published state.
        accept_view_change: also accept views of other versions.

    Raises:
        UsageError: a view is no longer registered, or in another version; or the snapshot does not exist.
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
    """Views whose version registered now differs from the one that a version was trained on, in words with a remedy."""
    registered = Registrations(lake.storage).current(KIND)
    problems = []
    for each in version.binding.views:
        if each.view not in registered:
            problems.append(f"view {each.view} is no longer registered. Register it: `asgard features apply`.")
            continue
        now = FeatureView.from_json(registered[each.view].declared)
        if now.version != each.version:
            error = _other_version(version, each, now)
            problems.append(f"{error.message} {error.hint}")
    return tuple(problems)


def functions_of(
    version: ModelVersion, pipeline: "Pipeline | None", *, accept_change: bool = False
) -> tuple[OnDemandFeature, ...]:
    """The on-demand features that a version was trained with, for computing them without request values.

    Args:
        version: the model's version.
        pipeline: pipeline that declares them.
        accept_change: also accept functions whose code changed since.

    Raises:
        UsageError: the version needs such features, but no pipeline is given or it does not declare them; their code
            differs from the training's; or they need values of a request.
    """
    wanted = version.binding.details.get("on_demand", ())
    if not wanted:
        return ()
    if pipeline is None:
        raise UsageError(
            f"{version} uses the on-demand features {', '.join(wanted)}, whose code is in its pipeline.",
            hint=f"Pass --pipeline; it was trained by {version.binding.details.get('pipeline') or 'one'}.",
        )
    declarations = Declared.of(pipeline)
    declared = declarations.on_demand
    lacking = [name for name in wanted if name not in declared]
    if lacking:
        raise UsageError(
            f"Pipeline {pipeline.name} does not declare {', '.join(lacking)}, which {version} uses.",
            hint=f"It declares {', '.join(declared) or 'no on-demand feature'}.",
        )
    functions = tuple(declared[name] for name in wanted)
    _require_no_request(version, functions, declarations)
    recorded = version.binding.details.get(ON_DEMAND_CODE, {})
    changed = [each.name for each in functions if differs(recorded.get(each.name), each)]
    if changed and not accept_change:
        raise UsageError(
            f"{version} was trained with other code of {', '.join(changed)} than pipeline {pipeline.name} has now.",
            hint=f"Train it again; or pass a --pipeline with the code of commit {version.binding.code_version[:12]}; "
            "or pass --accept-view-change, if the results are the same.",
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
                f"{version} uses {each.name}, which needs {', '.join(lacking)} of a request: batch-predict has none.",
                hint="Predict a frame of your own that contains the feature; or train without it: features=(...).",
            )


def _state(
    lake: Lakehouse, version: ModelVersion, tables: Sequence[TableName], as_of: str | None, snapshot: int | None
) -> At:
    if snapshot is None:
        return resolve(lake, as_of)
    if len(set(tables)) > 1:
        raise UsageError(
            f"{version} uses {len(set(tables))} tables: one snapshot does not identify the states of all.",
            hint="Pass --as-of with a commit or a time.",
        )
    return published_with(lake, tables[0], SnapshotId(snapshot))


def _measured(lake: Lakehouse, view: FeatureView, table: PinnedTable) -> PinnedView:
    require_columns(view, table)
    with duck.connect(lake.settings) as connection:
        return PinnedView(view, table, duck.measure(connection, view, table))


def _as_learned(
    lake: Lakehouse, version: ModelVersion, bound: BoundView, now: FeatureView, table: PinnedTable
) -> FeatureView:
    """A view as registered at a snapshot, in the version that the model was trained on.

    Raises:
        UsageError: the view was never registered so.
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
        f"{version} was trained on version {bound.version} of view {bound.view}; registered now is version "
        f"{now.version}, whose features may have another meaning.",
        hint=f"Train it again; or read a state at which version {bound.version} was registered, e.g. --as-of "
        f"{bound.commit[:16]}; or pass --accept-view-change, if the features mean the same.",
    )
