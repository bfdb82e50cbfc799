"""The Feast registry, kept in sync with what is registered: Feast's SDK, CLI and UI work on it as on any other.

It is in `<project>/feast`, an ordinary Feast repository: `feast -c <project>/feast feature-views list`.
"""

import ast
import fcntl
import hashlib
import importlib
import inspect
import json
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.aliases import Say
from asgard.common.errors import AsgardError, DeclarationError, EnvironmentSetupError, ServiceError, installing
from asgard.common.failpoints import failpoint
from asgard.common.settings import Settings, redact_url, unset_for_children
from asgard.features.feast.config import configuration, feast_project, is_sql, registry_file, repository
from asgard.features.register import KIND
from asgard.features.views import Codec, Feature, FeatureView, OnDemandFeature
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.registrations import Registration, Registrations

if TYPE_CHECKING:
    from feast import Entity, FeatureStore, Project
    from feast import FeatureView as FeastView
    from feast.on_demand_feature_view import OnDemandFeatureView

_DECLARES = "asgard_registered"
_REPOSITORY = """# Made by `asgard features apply`: with it, `feast apply` here keeps what Asgard registered.
from pathlib import Path

from asgard.features.feast.repository import registered

globals().update(registered(Path(__file__).parent))
"""
_STATE = ".applied.json"
PIPELINE = "asgard.pipeline"


def import_feast() -> None:
    """Import Feast without its side effect on this process: it switches prometheus_client to multi-process mode."""
    importlib.import_module("prometheus_client.values")  # reads the environment once, so import it before Feast
    import feast  # noqa: F401

    for name in ("PROMETHEUS_MULTIPROC_DIR", "PROMETHEUS_MULTIPROCESS_DIR", "prometheus_multiproc_dir"):
        unset_for_children(name)


def open_store(settings: Settings) -> "FeatureStore":
    """Feast's own client of the registry.

    Raises:
        EnvironmentSetupError: Feast is not installed.
    """
    try:
        import_feast()
        from feast import FeatureStore, RepoConfig
    except ImportError as error:
        raise EnvironmentSetupError(
            "The Feast registry needs Feast.", hint=installing("features") + " Or use --no-feast."
        ) from error
    folder = repository(settings)
    folder.mkdir(parents=True, exist_ok=True)
    shown = configuration(settings, secrets=False)
    lines = [f"{name}: {json.dumps(value)}\n" for name, value in shown.items()]  # any JSON is valid YAML
    _write(folder / "feature_store.yaml", "".join(["# Made by `asgard features apply`.\n", *lines]))
    _write(folder / f"{_DECLARES}.py", _REPOSITORY)
    config = RepoConfig(**configuration(settings, secrets=True), repo_path=folder)
    return FeatureStore(repo_path=str(folder), config=config)


def _write(path: Path, text: str) -> None:
    """Write a file atomically."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def synchronise(
    lake: Lakehouse, on_demand: Sequence[OnDemandFeature], say: Say = lambda _line: None, *, pipeline: str = ""
) -> None:
    """Update the registry to what is registered: entities, views, on-demand features.

    Args:
        lake: with the registrations.
        on_demand: functions to register too; those that need unregistered views are left out.
        say: called with one line about what changed.
        pipeline: declares the functions; other functions that it declared before are removed.

    Raises:
        EnvironmentSetupError: Feast is not installed, or lacks the database's driver.
        ServiceError: the registry can't be read or written.
    """
    failpoint("before-feast")
    with _alone(lake.settings):
        registered = Registrations(lake.storage).current(KIND)
        (repository(lake.settings) / _STATE).unlink(missing_ok=True)
        with _in_words(lake.settings):
            store = open_store(lake.settings)
            foreign = {each.name for each in store.list_feature_views() if not is_own(each)}
            held = {name: each for name, each in registered.items() if unfit(each) is None and name not in foreign}
            views = {name: _feast_view(each) for name, each in held.items()}
            functions = [_feast_function(each, views, pipeline) for each in on_demand if set(each.views) <= set(held)]
            entities = {entity.name: entity for each in held.values() for entity in _entities(each)}
            stale = _stale(store, views, {each.name for each in functions}, pipeline)
            store.apply(
                [_project(lake), *entities.values(), *views.values(), *functions],
                objects_to_delete=stale,
                partial=not stale,
                skip_feature_view_validation=True,
            )
        ours = [each for each in on_demand if set(each.views) <= set(registered)]
        state = json.dumps(_state(lake.settings, registered, ours))
        _write(repository(lake.settings) / _STATE, state)
    for name, odd in ((name, unfit(each)) for name, each in registered.items()):
        if odd is not None:
            say(f"{name}: left out of Feast's registry, which can't store {odd.name} ({odd.type})")
    for name in sorted(foreign & registered.keys()):
        say(
            f"{name}: left out of Feast's registry, which has a feature view of this name that Asgard did not make: "
            "rename or delete that view"
        )
    say(f"Feast: {len(views)} views in {repository(lake.settings)}")


def require_portable(on_demand: Sequence[OnDemandFeature]) -> None:
    """Refuse functions that Feast can't store, before anything is done.

    Raises:
        DeclarationError: a function uses other names of its module.
    """
    for function in on_demand:
        _source_of(function)


def is_current(lake: Lakehouse, on_demand: Sequence[OnDemandFeature]) -> bool:
    """Whether the registry matches what is registered, by the state file beside it; Feast is not called."""
    registered = Registrations(lake.storage).current(KIND)
    path = repository(lake.settings) / _STATE
    if not path.exists() or not (is_sql(lake.settings) or registry_file(lake.settings).exists()):
        return False
    noted = json.loads(path.read_text(encoding="utf-8"))
    ours = [each for each in on_demand if set(each.views) <= set(registered)]
    return bool(noted == _state(lake.settings, registered, ours))


def _state(
    settings: Settings, registered: Mapping[str, Registration], on_demand: Sequence[OnDemandFeature]
) -> dict[str, Any]:
    where = redact_url(settings.feast_registry or "") if is_sql(settings) else str(registry_file(settings))
    texts = {each.name: hashlib.sha256(_source_of(each).encode()).hexdigest() for each in on_demand}
    return {
        "registry": where,
        "project": feast_project(settings.online_prefix),
        "online_store": configuration(settings, secrets=False)["online_store"],
        "views": {n: f"{r.number}-{r.commit}" for n, r in registered.items()},
        "on_demand": texts,
    }


def _stale(store: "FeatureStore", views: "Mapping[str, FeastView]", functions: set[str], pipeline: str) -> list[Any]:
    """Objects of earlier applies that nothing needs any more; objects that others registered are kept."""
    from asgard.features.feast.source import SnapshotSource

    feast_views = store.list_feature_views()
    foreign = [each for each in feast_views if not is_own(each)]
    gone = [each for each in feast_views if is_own(each) and each.name not in views]
    kept_views = {*views, *(each.name for each in foreign)}
    old = [each for each in store.list_on_demand_feature_views() if each.name not in functions]
    old = [each for each in old if (pipeline and each.tags.get(PIPELINE) == pipeline) or _lacks(each, kept_views)]
    requests = {source.name for each in old for source in each.source_request_sources.values()}
    sources = {view.batch_source.name for view in views.values() if view.batch_source}
    dead = [
        each
        for each in store.list_data_sources()
        if each.name in requests or (isinstance(each, SnapshotSource) and each.name not in sources)
    ]
    kept = {entity for view in (*views.values(), *foreign) for entity in view.entities}
    names = {entity for each in gone for entity in each.entities} - kept
    return [*old, *gone, *dead, *(each for each in store.list_entities() if each.name in names)]


def _project(lake: Lakehouse) -> "Project":
    from feast import Project

    where = f"{lake.settings.warehouse} at {lake.target}"
    name = feast_project(lake.settings.online_prefix)
    return Project(name=name, description=f"What `asgard features apply` registered: gold tables of {where}.")


def is_own(view: "FeastView") -> bool:
    """Whether a feature view in a Feast registry was created by Asgard."""
    from asgard.features.feast.source import SnapshotSource

    return isinstance(view.batch_source, SnapshotSource)


def _lacks(each: "OnDemandFeatureView", views: set[str]) -> bool:
    return not {projection.name for projection in each.source_feature_view_projections.values()} <= views


def _entities(registration: Registration) -> "Iterator[Entity]":
    from feast import Entity

    from asgard.features.feast.source import value_type

    for key in registration.declared["keys"]:
        yield Entity(name=key, join_keys=[key], value_type=value_type(registration.columns[key]))


def unfit(registration: Registration) -> Feature | None:
    """The first feature of a view that Feast has no type for; only such a view is left out, not other views."""
    from asgard.features.feast.source import value_type

    for feature in FeatureView.from_json(registration.declared).features:
        try:
            value_type(feature.type)
        except KeyError:
            return feature
    return None


def _feast_view(registration: Registration) -> "FeastView":
    from feast import FeatureView as FeastView
    from feast import Field
    from feast.types import from_value_type

    from asgard.features.feast.source import SnapshotSource, value_type

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
        online=view.online and view.codec is Codec.FEAST,  # else Feast's own materialize would write there
        description=view.description,
        tags=tags,
        owner=view.owner,
    )


def _feast_function(
    function: OnDemandFeature, views: "Mapping[str, FeastView]", pipeline: str
) -> "OnDemandFeatureView":
    import numpy as np
    import pandas as pd
    from feast import Field, RequestSource
    from feast.on_demand_feature_view import OnDemandFeatureView
    from feast.transformation.pandas_transformation import PandasTransformation
    from feast.types import from_value_type

    from asgard.features.feast.source import value_type

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
        tags={PIPELINE: pipeline},
        description=function.description,
    )


def _source_of(function: OnDemandFeature) -> str:
    """The function as Feast stores it: source text, which can use pandas, numpy and nothing else.

    Raises:
        DeclarationError: it uses other names of its module.
    """
    used = inspect.getclosurevars(function.function)
    foreign = sorted({*used.globals, *used.nonlocals} - {"pd", "np"})
    if foreign:
        raise DeclarationError(
            f"On-demand feature {function.name} uses {', '.join(foreign)} of its module, which Feast does not store.",
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
    """Allow one writer at a time on this machine: Feast reads and writes its registry as a whole."""
    folder = repository(settings)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _in_words(settings: Settings) -> Iterator[None]:
    """Convert errors of Feast and its database to Asgard's errors."""
    where = redact_url(settings.feast_registry or "") if is_sql(settings) else str(registry_file(settings))
    try:
        yield
    except AsgardError:
        raise
    except ImportError as error:
        raise EnvironmentSetupError(
            f"The Feast registry {where} needs {error.name}, which is not installed.",
            hint="Install the database's driver, for PostgreSQL pip install 'psycopg[binary]'; or say --no-feast.",
        ) from error
    except Exception as error:
        raise ServiceError(
            f"The Feast registry {where} can't be updated: {str(error).splitlines()[0]}",
            hint="See the setting feast_registry. The registrations are complete: `asgard features apply` tries again.",
        ) from error
