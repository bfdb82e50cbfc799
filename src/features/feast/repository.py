"""Declarations of the Feast repository that Asgard maintains, so that `feast apply` in it changes nothing.

`feast apply` deletes objects that no Python file of its folder declares. Asgard's file in that folder uses this module
to declare all objects that Asgard put into the registry.
"""

from pathlib import Path
from typing import Any


def registered(folder: Path) -> dict[str, Any]:
    """The objects that Asgard put into a repository's registry, by variable name.

    Args:
        folder: of the repository.
    """
    from feast import FeatureStore

    from asgard.features.feast.registry import PIPELINE, is_own

    store = FeatureStore(repo_path=str(folder))
    views = [each for each in store.list_feature_views() if is_own(each)]
    functions = [each for each in store.list_on_demand_feature_views() if PIPELINE in each.tags]
    used = {name for view in views for name in view.entities}
    entities = [each for each in store.list_entities() if each.name in used]
    requests = {source.name: source for each in functions for source in each.source_request_sources.values()}
    objects = [store.get_project(store.project), *entities, *views, *functions, *requests.values()]
    return {f"registered_{number}": each for number, each in enumerate(objects)}
