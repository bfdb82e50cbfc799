"""A small view in Redis without a lakehouse: customers and their totals, as a sync writes them."""

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from asgard.serving.codecs.packed import Packed
from asgard.serving.lookup.view_header import Head
from asgard.serving.redis_access.store import Store

VIEW = "totals"
EVENT = 1_700_000_000_000_000
"""Event timestamp of all rows, in microseconds."""


def put_view(
    url: str, totals: Mapping[int, float | None], *, generation: str = "1", snapshot: int = 1, ttl: float | None = None
) -> Store:
    """Write the rows, then the head; rows of other generations are kept."""
    store = Store(url)
    now = datetime.now(UTC)
    features = {"total": "double"}
    keys = {"customer_id": "bigint"}
    head = Head("packed", generation, VIEW, 1, keys, features, ttl, "gold.totals", snapshot, "c0ffee", now, now)
    batch = pa.RecordBatch.from_pydict({"total": pa.array(totals.values(), pa.float64())})
    values = Packed(features).encode(batch, np.full(len(totals), EVENT))
    names = store.keys(VIEW)
    start = names.row(generation)
    store.client.mset(dict(zip([start + str(each).encode() for each in totals], values, strict=True)))
    store.client.set(names.head, head.to_text())
    return store
