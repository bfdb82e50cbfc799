"""Models: trained on pinned features, versioned in MLflow, verified before they are loaded, predicted on Spark."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from asgard.common.lazy import lazy

if TYPE_CHECKING:
    from asgard.model.artifacts.artifact import Artifact
    from asgard.model.declaration import FitResult, Script, TrainingData, model
    from asgard.model.lifecycle import Stage, Version
    from asgard.model.registry import Registry
    from asgard.model.udf import predict_udf, score_frame

__all__ = [
    "Artifact",
    "FitResult",
    "Registry",
    "Script",
    "Stage",
    "TrainingData",
    "Version",
    "model",
    "predict_udf",
    "score_frame",
]

__getattr__ = lazy(
    __name__,
    {
        "Artifact": "asgard.model.artifacts.artifact",
        "FitResult": "asgard.model.declaration",
        "model": "asgard.model.declaration",
        "predict_udf": "asgard.model.udf",
        "Registry": "asgard.model.registry",
        "score_frame": "asgard.model.udf",
        "Script": "asgard.model.declaration",
        "Stage": "asgard.model.lifecycle",
        "TrainingData": "asgard.model.declaration",
        "Version": "asgard.model.lifecycle",
    },
)


class _Package(ModuleType):
    """`from asgard import model` gives this package, since it has that name; called, it declares a model."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """See `asgard.model.declaration.model`."""
        return self.model(*arguments, **keywords)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name, like any module: functions that Spark ships to its workers may refer to it."""
        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package
