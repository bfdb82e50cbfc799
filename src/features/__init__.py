"""Feature views, windows and point-in-time joins over the gold tables."""

from typing import TYPE_CHECKING

from asgard.common.lazy import lazy

if TYPE_CHECKING:
    from asgard.features import user_features
    from asgard.features.aggregates import aggregate
    from asgard.features.views import Feature, FeatureView, feature_view, on_demand
    from asgard.features.windows import windowed

__all__ = ["Feature", "FeatureView", "aggregate", "feature_view", "on_demand", "user_features", "windowed"]

__getattr__ = lazy(
    __name__,
    {
        "aggregate": "asgard.features.aggregates",
        "Feature": "asgard.features.views",
        "feature_view": "asgard.features.views",
        "FeatureView": "asgard.features.views",
        "on_demand": "asgard.features.views",
        "windowed": "asgard.features.windows",
    },
    modules={"user_features": "asgard.features.user_features"},
)
