"""Feature views as a version, or a run's record, is bound to them: pinned again, whatever was registered since."""

from asgard.common.errors import UsageError
from asgard.common.settings import Settings
from asgard.features.pinned import PinnedTable, PinnedView
from asgard.features.views import FeatureView
from asgard.lakehouse.catalog.snapshots import At
from asgard.model.versions import BoundView


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
