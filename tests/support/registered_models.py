"""Small models for tests of the registry: real artifacts, whose content is never loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asgard.common.settings import Settings
from asgard.model.artifacts.artifact import Artifact, ModelSpec
from asgard.model.artifacts.formats import Format
from asgard.model.artifacts.signature import Column, Signature
from asgard.model.registry import Registry
from asgard.model.versions import Binding, ModelVersion

SIGNATURE = Signature((Column("visits", "bigint"), Column("spend", "double")), "binary", ("stays", "leaves"))


def artifact(content: bytes = b"tree", signature: Signature = SIGNATURE, **params: Any) -> Artifact:
    """Make an artifact of a model called churn."""
    spec = ModelSpec("churn", Format.LIGHTGBM, signature, {"python": "3.11.9"}, seed=7, params=params)
    return Artifact.of(spec, content)


def new_run(registry: Registry) -> str:
    """Create an empty training run in MLflow, and return its id."""
    found = registry.client.get_experiment_by_name("trainings")
    experiment = found.experiment_id if found else registry.client.create_experiment("trainings")
    return str(registry.client.create_run(experiment).info.run_id)


def register(
    registry: Registry,
    name: str,
    folder: Path,
    *,
    made: Artifact | None = None,
    binding: Binding | None = None,
    metrics: Mapping[str, float] | None = None,
    **more: Any,
) -> ModelVersion:
    """Register one more version."""
    saved = (made or artifact()).save(folder)
    return registry.register(
        name, saved, new_run(registry), binding or Binding(code_version="c0de"), metrics or {"roc_auc": 0.8}, **more
    )


def open_registry(settings: Settings) -> Registry:
    """Open the registry of some settings."""
    return Registry.of(settings)
