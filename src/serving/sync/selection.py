"""Which registered views are online."""

from collections.abc import Sequence

from asgard.common.errors import UsageError
from asgard.features.register import KIND
from asgard.features.views import FeatureView
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.registrations import Registration, Registrations


def registered_online(lake: Lakehouse) -> tuple[FeatureView, ...]:
    """All registered views that are kept online; () if there is none."""
    return tuple(FeatureView.from_json(each.declared) for each in _current(lake, "").values() if each.online)


def online_views(lake: Lakehouse, names: Sequence[str] = (), pipeline: str = "") -> tuple[FeatureView, ...]:
    """Registered views that are kept online.

    Args:
        lake: where they are registered.
        names: which; all of them for none.
        pipeline: only those that it declares.

    Raises:
        UsageError: a view is not registered, or not online; or there is none.
    """
    current = _current(lake, pipeline)
    online = [name for name, each in current.items() if each.online]
    listed = f"Online are {', '.join(online) or 'none'}."
    for name in names:
        if name not in current:
            raise UsageError(
                f"There is no registered feature view {name!r}.", hint=f"{listed} `asgard features apply` registers."
            )
        if name not in online:
            raise UsageError(f"Feature view {name} is not online.", hint=f"Declare it with online=True. {listed}")
    if not online:
        whose = f" of pipeline {pipeline}" if pipeline else ""
        raise UsageError(
            f"No registered feature view{whose} is online.",
            hint="Declare one with online=True, and say `asgard features apply`.",
        )
    return tuple(FeatureView.from_json(current[name].declared) for name in (names or online))


def _current(lake: Lakehouse, pipeline: str) -> dict[str, Registration]:
    found = Registrations(lake.storage).current(KIND)
    return {name: each for name, each in found.items() if not pipeline or each.pipeline == pipeline}
