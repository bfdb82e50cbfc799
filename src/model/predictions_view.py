"""A model's published predictions as a feature view, registered, synced and looked up like any other view.

```python
churn = shop.add(model("churn", ...))
shop.add(predictions_view("churn_scores", model=churn, online=True, ttl="14d"))
```
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from asgard.common import arguments
from asgard.common.arguments import declares
from asgard.common.errors import DeclarationError
from asgard.common.names import check_identifier
from asgard.features.views import SHARED, Codec, Feature, FeatureView, feature_view
from asgard.model.batch.request import predictions_of
from asgard.model.batch.table import AS_OF, PREDICTED_AT, SCORE, VERSION
from asgard.model.declaration import Model
from asgard.model.metrics import Task


@dataclass(frozen=True)
class PredictionsView:
    """Predictions of a model; `predictions_view(...)` makes it.

    Attributes:
        name: unique in its pipeline.
        model: the model whose predictions they are.
        keys: columns that name an entity; (): the keys of the model's views.
        shared: the properties that it shares with a feature view: ttl, online, codec, and so on.
    """

    name: str
    model: Model
    keys: tuple[str, ...] = ()
    shared: Mapping[str, object] = field(default_factory=dict, hash=False)

    def derived(self, views: Mapping[str, FeatureView]) -> FeatureView:
        """Build the feature view, given the other views of its pipeline.

        Raises:
            DeclarationError: its keys are unknown.
        """
        unknown = [name for name in self.model.views if name not in views]
        if unknown and not self.keys:
            raise DeclarationError(
                f"Predictions view {self.name}: model {self.model.name} learns from {', '.join(unknown)}, which its "
                "pipeline does not declare.",
                hint="Name the columns of its entity: keys=('customer_id',).",
            )
        kind = "array<double>" if self.model.task is Task.MULTICLASS else "double"
        view = feature_view(
            self.name,
            table=str(predictions_of(self.model.name)),
            keys=self.keys or tuple(dict.fromkeys(key for name in self.model.views for key in views[name].keys)),
            features=(
                Feature(SCORE, kind, f"what {self.model.name} says: {_MEANING[self.model.task]}"),
                Feature(VERSION, "string", "of the model"),
            ),
            event_timestamp=AS_OF,
            created_timestamp=PREDICTED_AT,
            **self.shared,  # type: ignore[arg-type]
        )
        return replace(view, model=self.model.name)


_MEANING: Mapping[Task, str] = {
    Task.BINARY: "the second class's probability",
    Task.MULTICLASS: "each class's probability",
    Task.REGRESSION: "the value",
}


@declares(
    "Predictions view {name}",
    SHARED,
    name=arguments.text("'churn_scores'"),
    model=arguments.instance(Model, "the model that model(...) made", "churn"),
    keys=arguments.names("('customer_id',)"),
)
def predictions_view(
    name: str,
    *,
    model: Model,
    keys: Sequence[str] = (),
    ttl: timedelta | str | None = None,
    online: bool = False,
    codec: str = Codec.PACKED,
    owner: str = "",
    description: str = "",
    tags: Sequence[str] = (),
    version: int = 1,
) -> PredictionsView:
    """Declare a view of a model's predictions, with the model version, as `asgard batch-predict` publishes them.

    The latest prediction of each entity counts: from the latest run over all entities, or from a later run. Entities
    missing from the latest run over all entities are not in the view.

    Args:
        name: name of the view.
        model: the model whose predictions are read.
        keys: columns that name an entity; required if the pipeline does not declare the model's views.
        ttl: how long a prediction counts after the as-of time of its features.
        online, codec, owner, description, tags, version: as in `feature_view`.

    Raises:
        DeclarationError: the declaration can't work; the message names the view and what to change.
    """
    return PredictionsView(
        check_identifier(name, "name of a predictions view"),
        model,
        tuple(keys),
        {
            "ttl": ttl,
            "online": online,
            "codec": codec,
            "owner": owner or model.owner,
            "description": description or f"What the model {model.name} says of each entity.",
            "tags": tuple(tags),
            "version": version,
        },
    )
