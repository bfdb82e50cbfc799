"""The Feast registry, kept equal to what is registered: Feast's SDK, CLI and UI work on it as on any other.

It lies in `<project>/feast`, a Feast repository like any: `feast -c <project>/feast feature-views list`.
"""

import ast
import fcntl
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.errors import DeclarationError, EnvironmentSetupError
from asgard.common.settings import Settings, unset_for_children
from asgard.features.register import KIND
from asgard.features.views import FeatureView, OnDemandFeature
from asgard.lakehouse.lake import Lakehouse
from asgard.lakehouse.registrations import Registration, Registrations

if TYPE_CHECKING:
    from feast import Entity, FeatureStore
    from feast import FeatureView as FeastView
    from feast.on_demand_feature_view import OnDemandFeatureView

Say = Callable[[str], None]
PROJECT = "asgard"
_CONFIG = """\
# Made by `asgard features apply`.
project: {project}
provider: local
registry:
{registry}
offline_store:
  type: asgard.features.feast_source.SnapshotOfflineStore
  project_dir: {project_dir}
online_store:
  type: sqlite
  path: online.db
entity_key_serialization_version: 3
"""


def repository(settings: Settings) -> Path:
    """The folder of the Feast repository."""
    return (settings.project_dir / "feast").resolve()


def import_feast() -> None:
    """Import Feast without what its import does to this process: it turns prometheus_client to several processes."""
    import feast  # noqa: F401
    import prometheus_client.values  # noqa: F401 - decides by the environment, once

    for name in ("PROMETHEUS_MULTIPROC_DIR", "PROMETHEUS_MULTIPROCESS_DIR", "prometheus_multiproc_dir"):
        unset_for_children(name)


def open_store(settings: Settings) -> "FeatureStore":
    """Feast's own entrance to the registry.

    Raises:
        EnvironmentSetupError: Feast is not installed.
    """
    try:
        import_feast()
        from feast import FeatureStore
    except ImportError as error:
        raise EnvironmentSetupError(
            "The Feast registry needs Feast.", hint="pip install 'asgard-lakehouse[features]', or say --no-feast"
        ) from error
    folder = repository(settings)
    folder.mkdir(parents=True, exist_ok=True)
    given = settings.feast_registry
    registry = (
        f"  registry_type: sql\n  path: {given}\n  cache_ttl_seconds: 60"
        if given and "://" in given
        else f"  path: {given or folder / 'registry.db'}\n  cache_ttl_seconds: 60\n"
        "  registry_store_type: asgard.features.feast_source.AtomicRegistryStore"
    )
    config = folder / "feature_store.yaml"
    wanted = _CONFIG.format(project=PROJECT, registry=registry, project_dir=settings.project_dir.resolve())
    if not config.exists() or config.read_text(encoding="utf-8") != wanted:
        config.write_text(wanted, encoding="utf-8")
    return FeatureStore(repo_path=str(folder))


def synchronise(lake: Lakehouse, on_demand: Sequence[OnDemandFeature], say: Say = lambda _line: None) -> None:
    """Bring the registry to what is registered: entities, views, on-demand features.

    Args:
        lake: whose registrations.
        on_demand: functions to register beside them; those that need unregistered views are left out.
        say: called with one line about what changed.

    Raises:
        EnvironmentSetupError: Feast is not installed.
    """
    registered = Registrations(lake.storage).current(KIND)
    with _alone(lake.settings):
        store = open_store(lake.settings)
        views = {name: _feast_view(each) for name, each in registered.items()}
        functions = [_feast_function(each, views) for each in on_demand if set(each.views) <= set(views)]
        kept = {each.name for each in functions}
        stale: list[Any] = [each for each in store.list_feature_views() if each.name not in views]
        stale += [each for each in store.list_on_demand_feature_views() if _is_stale(each, views, kept)]
        entities = {entity.name: entity for each in registered.values() for entity in _entities(each)}
        store.apply(
            [*entities.values(), *views.values(), *functions],
            objects_to_delete=stale,
            partial=not stale,
            skip_feature_view_validation=True,
        )
    say(f"Feast: {len(views)} views in {repository(lake.settings)}")


def _is_stale(each: "OnDemandFeatureView", views: "dict[str, FeastView]", kept: set[str]) -> bool:
    needs = {projection.name for projection in each.source_feature_view_projections.values()}
    return each.name not in kept and not needs <= set(views)


def _entities(registration: Registration) -> "Iterator[Entity]":
    from feast import Entity

    from asgard.features.feast_source import value_type

    for key in registration.declared["keys"]:
        yield Entity(name=key, join_keys=[key], value_type=value_type(registration.columns[key]))


def _feast_view(registration: Registration) -> "FeastView":
    from feast import FeatureView as FeastView
    from feast import Field
    from feast.types import from_value_type

    from asgard.features.feast_source import SnapshotSource, value_type

    view = FeatureView.from_json(registration.declared)
    tags = {
        **dict.fromkeys(view.tags, ""),
        "asgard.version": str(view.version),
        "asgard.table": str(view.table),
        "asgard.snapshot-id": str(registration.snapshot_id),
        "asgard.commit": registration.commit,
    }
    source = SnapshotSource(
        name=f"{view.table}:{view.name}",
        options={
            "view": dict(registration.declared),
            "target": registration.target,
            "commit": registration.commit,
            "metadata_location": registration.metadata_location,
            "snapshot_id": str(registration.snapshot_id),
            "facts": dict(registration.facts),
        },
        description=f"{view.table} at snapshot {registration.snapshot_id}",
        owner=view.owner,
    )
    fields = [Field(name=key, dtype=from_value_type(value_type(registration.columns[key]))) for key in view.keys]
    fields += [
        Field(name=each.name, dtype=from_value_type(value_type(each.type)), description=each.description)
        for each in view.features
    ]
    return FeastView(
        name=view.name,
        entities=list(_entities(registration)),
        schema=fields,
        source=source,
        ttl=view.ttl,
        online=view.online,
        description=view.description,
        tags=tags,
        owner=view.owner,
    )


def _feast_function(function: OnDemandFeature, views: "dict[str, FeastView]") -> "OnDemandFeatureView":
    import numpy as np
    import pandas as pd
    from feast import Field, RequestSource
    from feast.on_demand_feature_view import OnDemandFeatureView
    from feast.transformation.pandas_transformation import PandasTransformation
    from feast.types import from_value_type

    from asgard.features.feast_source import value_type

    text = _source_of(function)
    known: dict[str, Any] = {"pd": pd, "np": np}
    exec(compile(text, f"<{function.name}>", "exec"), known)  # noqa: S102 - the user's own function
    sources: list[Any] = []
    for view in function.views:
        wanted = [
            reference.partition(":")[2] for reference in function.inputs.values() if reference.startswith(f"{view}:")
        ]
        sources.append(views[view][list(dict.fromkeys(wanted))])
    if function.request:
        fields = [Field(name=one, dtype=from_value_type(value_type(kind))) for one, kind in function.request.items()]
        sources.append(RequestSource(name=f"{function.name}_request", schema=fields))
    return OnDemandFeatureView(
        name=function.name,
        schema=[Field(name=function.name, dtype=from_value_type(value_type(function.type)))],
        sources=sources,
        feature_transformation=PandasTransformation(known["transform"], text),
        mode="pandas",
        description=function.description,
    )


def _source_of(function: OnDemandFeature) -> str:
    """The function as Feast keeps functions: source text, which has pandas and numpy and nothing else.

    Raises:
        DeclarationError: it uses something else of its module.
    """
    used = inspect.getclosurevars(function.function)
    foreign = sorted({*used.globals, *used.nonlocals} - {"pd", "np"})
    if foreign:
        raise DeclarationError(
            f"On-demand feature {function.name} uses {', '.join(foreign)} of its module, which Feast would not have.",
            hint="Use only its parameters, pd and np; import inside the function; or say --no-feast.",
        )
    tree = ast.parse(textwrap.dedent(inspect.getsource(function.function)))
    own = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    own.decorator_list, own.returns, own.name = [], None, "compute"
    for argument in (*own.args.args, *own.args.kwonlyargs):
        argument.annotation = None
    given = {name: reference.replace(":", "__") for name, reference in function.inputs.items()}
    given |= {name: name for name in function.request}
    arguments = ", ".join(f"{name}=rows[{column!r}]" for name, column in given.items())
    return (
        "def transform(rows: pd.DataFrame) -> pd.DataFrame:\n"
        + textwrap.indent(ast.unparse(tree), "    ")
        + f"\n    return pd.DataFrame({{{function.name!r}: compute({arguments})}})\n"
    )


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One writer at a time on this machine: Feast reads its registry whole and writes it whole."""
    folder = repository(settings)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
