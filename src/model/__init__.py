"""Models: trained on pinned features, versioned in MLflow, verified before they are loaded, predicted on Spark."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asgard.model.artifacts.artifact import Artifact
    from asgard.model.udf import predict_udf, score_frame

__all__ = ["Artifact", "predict_udf", "score_frame"]

_HOMES = dict.fromkeys(("predict_udf", "score_frame"), "asgard.model.udf")
_HOMES["Artifact"] = "asgard.model.artifacts.artifact"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that declaring a model stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'asgard.model' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
