"""The latency of lookups: observed in the process that serves them, and scraped from it.

```python
from asgard.monitoring.lookups import lookup_latency
from asgard.serving import OnlineStore

store = OnlineStore("redis://127.0.0.1:6379/0", observe=lookup_latency("production"))
```
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from asgard.monitoring.events import LATENCY_BUCKETS
from asgard.monitoring.metrics import PREDICTION_LATENCY, WAREHOUSE

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_BUCKETS = (0.0001, 0.00025, 0.0005, *LATENCY_BUCKETS)
"""Upper bounds, in seconds; most lookups take less than the smallest bound for batches."""


def lookup_latency(
    environment: str, registry: "CollectorRegistry | None" = None, warehouse: str = ""
) -> Callable[[Sequence[str], float], None]:
    """A histogram of lookups, for the clients' argument `observe`; create it once per process, for all its clients.

    Args:
        environment: the metric's label.
        registry: a registry of prometheus_client; by default its global one.
        warehouse: the metric's label, if the process knows it.

    Returns:
        A function of a lookup's views, which are joined by commas as the label `model`, and its seconds.
    """
    from prometheus_client import REGISTRY, Histogram

    histogram = Histogram(
        PREDICTION_LATENCY.name,
        PREDICTION_LATENCY.help,
        PREDICTION_LATENCY.labels,
        registry=registry or REGISTRY,
        buckets=_BUCKETS,
    )

    def observe(views: Sequence[str], seconds: float) -> None:
        labels = {"model": ",".join(views), "side": "", "source": "lookup", "environment": environment}
        labels[WAREHOUSE] = warehouse
        histogram.labels(**labels).observe(seconds)

    return observe
