"""A gold table of customers, a feature view over it, and labels, shared by tests of features."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from tests.conftest import Fresh

from asgard.features import register
from asgard.features.views import Feature, FeatureView, feature_view
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.declaring.declaration import Table, declare_table
from asgard.lakehouse.runs.run import RunRequest, execute

START = datetime(2024, 1, 1, tzinfo=UTC)
COLUMNS = "customer_id bigint, event_timestamp timestamp, created_at timestamp, amount double, visits int"
Rows = Sequence[tuple[int, int, float, int]]


def gold(fresh: Fresh, **properties: Any) -> Table:
    """Declare a gold table with the tests' columns."""
    return declare_table(str(fresh.table("gold")), **{"mode": "append", **properties})


def put(lake: Lakehouse, table: Table, rows: Rows) -> None:
    """Publish rows of (customer, day, amount, visits)."""
    execute(lake, RunRequest("test"), lambda attempt: attempt.write(table, frame(lake, rows)), lambda _line: None)


def frame(lake: Lakehouse, rows: Rows) -> Any:
    """Make a DataFrame of the rows, with their timestamps."""
    timed = [
        (customer, START + timedelta(days=day), START + timedelta(days=day), amount, visits)
        for customer, day, amount, visits in rows
    ]
    return lake.spark.createDataFrame(timed, COLUMNS)


def view_of(table: Table, **properties: Any) -> FeatureView:
    """Declare a view of such a table, named after the table."""
    given: dict[str, Any] = {
        "table": str(table.name),
        "keys": ("customer_id",),
        "features": [Feature("amount", "double", "dollars"), Feature("visits", "int")],
        "created_timestamp": "created_at",
    }
    return feature_view(f"view_{table.name.name}", **given | properties)


def registered(lake: Lakehouse, *views: FeatureView) -> tuple[Any, ...]:
    """Register views at main's head, and pin them."""
    register.apply(lake, "tests", register.plan(lake, views, resolve(lake, None)))
    return register.registered_views(lake, [view.name for view in views])


def labels_file(folder: Path, rows: Sequence[tuple[int, float]]) -> str:
    """Write a Parquet file of labels for (customer, day)."""
    path = folder / "labels.parquet"
    times = [START + timedelta(days=day) for _, day in rows]
    pd.DataFrame({"customer_id": [customer for customer, _ in rows], "event_timestamp": times, "label": 1}).to_parquet(
        path
    )
    return str(path)


def plain(location: str) -> str:
    """Return a location without its scheme."""
    return "/" + location.removeprefix("file:").lstrip("/")
