"""Apply a pipeline's feature views, for `asgard features apply` and after a backfill's publish."""

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asgard.features.register import ViewChange
    from asgard.features.views import Declared
    from asgard.lakehouse.catalog.lake import Lakehouse
    from asgard.lakehouse.declaring.pipeline import Pipeline


def apply_views(
    lake: "Lakehouse", declared: "Declared", changes: "list[ViewChange]", say: Any, *, feast: bool = True
) -> None:
    """Apply a plan, and make the Feast registry equal to the registrations."""
    from asgard.features import register

    register.apply(lake, declared.pipeline, changes, say)
    if feast:
        from asgard.features.feast import registry as feast_registry

        feast_registry.synchronise(lake, tuple(declared.on_demand.values()), say, pipeline=declared.pipeline)


def apply_all(lake: "Lakehouse", pipeline: "Pipeline", say: Any) -> None:
    """Register every view of a pipeline whose table is published, at the snapshots published now."""
    from asgard.features import register
    from asgard.features.feast import registry as feast_registry
    from asgard.features.views import Declared
    from asgard.lakehouse.catalog.snapshots import resolve

    declared = Declared.of(pipeline)
    published = lake.nessie.contents(lake.target, {view.table for view in declared.views.values()})
    views = [view for view in declared.views.values() if view.table in published]
    for view in register.split_waiting(lake, tuple(declared.views.values()))[1]:
        say(register.what_it_waits_for(view))
    require_applicable(lake, pipeline)
    changes = register.plan(lake, views, resolve(lake, None))
    apply_views(lake, declared, changes, say, feast=False)
    if feast_is_installed() and not feast_registry.is_current(lake, tuple(declared.on_demand.values())):
        feast_registry.synchronise(lake, tuple(declared.on_demand.values()), say, pipeline=declared.pipeline)


def require_applicable(lake: "Lakehouse", pipeline: "Pipeline") -> None:
    """Refuse what would make an apply fail; called before anything is published.

    Raises:
        UsageError: another pipeline registered views with these names.
        DeclarationError: Feast can't store an on-demand feature.
    """
    from asgard.features import register
    from asgard.features.feast import registry as feast_registry
    from asgard.features.views import Declared
    from asgard.lakehouse.catalog.registrations import Registrations

    declared = Declared.of(pipeline)
    registered = Registrations(lake.storage).current(register.KIND).values()
    register.require_own(registered, declared.views, pipeline.name)
    if feast_is_installed():
        feast_registry.require_portable(tuple(declared.on_demand.values()))


def needed_columns(pipeline: "Pipeline") -> "dict[tuple[str, str], dict[str, str]]":
    """The columns that each declared view needs, with the types of its features."""
    from asgard.features.register import KIND
    from asgard.features.views import Declared

    return {
        (KIND, view.name): {**dict.fromkeys(view.columns, ""), **{each.name: each.type for each in view.features}}
        for view in Declared.of(pipeline).views.values()
    }


def feast_is_installed() -> bool:
    """Whether Feast is installed, so that its registry is kept in sync."""
    return importlib.util.find_spec("feast") is not None
