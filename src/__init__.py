"""Asgard: a lakehouse in PySpark that audits every write on a branch before it publishes it.

Names that pipelines use are here: `from asgard import Pipeline, Daily, checks, feature_view, model`. Names that read
models and the online store are in `asgard.model` and `asgard.serving`. The public names are `__all__` of `asgard`,
`asgard.features`, `asgard.model` and `asgard.serving`; everything else is internal and may change in any release.
"""

from typing import TYPE_CHECKING

from asgard.common.lazy import lazy

if TYPE_CHECKING:
    from asgard.features.aggregates import aggregate
    from asgard.features.views import Feature, feature_view, on_demand
    from asgard.features.windows import windowed
    from asgard.lakehouse.declaring.declaration import Daily, Hourly, Monthly, Table, Weekly, Yearly
    from asgard.lakehouse.declaring.intervals import TimeRange
    from asgard.lakehouse.declaring.pipeline import Pipeline
    from asgard.model.declaration import FitResult, Script, TrainingData, model
    from asgard.model.predictions_view import predictions_view
    from asgard.validation import checks

__version__ = "0.1.0"
__all__ = [
    "Daily",
    "Feature",
    "FitResult",
    "Hourly",
    "Monthly",
    "Pipeline",
    "Script",
    "Table",
    "TimeRange",
    "TrainingData",
    "Weekly",
    "Yearly",
    "__version__",
    "aggregate",
    "checks",
    "feature_view",
    "model",
    "on_demand",
    "predictions_view",
    "windowed",
]

__getattr__ = lazy(
    __name__,
    {
        "aggregate": "asgard.features.aggregates",
        "Daily": "asgard.lakehouse.declaring.declaration",
        "Feature": "asgard.features.views",
        "feature_view": "asgard.features.views",
        "FitResult": "asgard.model.declaration",
        "Hourly": "asgard.lakehouse.declaring.declaration",
        "Monthly": "asgard.lakehouse.declaring.declaration",
        "on_demand": "asgard.features.views",
        "Pipeline": "asgard.lakehouse.declaring.pipeline",
        "predictions_view": "asgard.model.predictions_view",
        "Script": "asgard.model.declaration",
        "Table": "asgard.lakehouse.declaring.declaration",
        "TimeRange": "asgard.lakehouse.declaring.intervals",
        "TrainingData": "asgard.model.declaration",
        "Weekly": "asgard.lakehouse.declaring.declaration",
        "windowed": "asgard.features.windows",
        "Yearly": "asgard.lakehouse.declaring.declaration",
    },
    modules={"checks": "asgard.validation.checks", "model": "asgard.model"},
)
