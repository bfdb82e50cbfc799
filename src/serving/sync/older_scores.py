"""Online predictions that were computed from older features than the online features beside them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from asgard.common.names import RunId, TableName
from asgard.common.settings import REGISTERED
from asgard.features.views import FeatureView
from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.records import RunRecords


def older_scores(lake: Lakehouse, views: Iterable[FeatureView]) -> dict[str, tuple[TableName, ...]]:
    """Views of predictions whose latest run read older snapshots than the target ref has: view -> those tables.

    Args:
        lake: that they are published to.
        views: online ones; views of features are passed over.

    Raises:
        ServiceError: a record or metadata can't be read.
    """
    older = {}
    for each in views:
        content = lake.nessie.content(lake.target, each.table) if each.model else None
        if content is None or not content.is_table:
            continue
        state = TableState.load(content.metadata_location, lake.settings)
        read = dict(_read_by(lake, state.summary("asgard.run-id")))
        now = lake.nessie.contents(lake.target, read)
        moved = sorted(name for name, snapshot in read.items() if name in now and now[name].snapshot_id != snapshot)
        if moved:
            older[each.name] = tuple(moved)
    return older


def _read_by(lake: Lakehouse, run_id: str | None) -> Iterator[tuple[TableName, int]]:
    """The tables, with their snapshots, that a run of predictions read its features from."""
    attempts = RunRecords(lake.storage).attempts(RunId(run_id)) if run_id else []
    for attempt in attempts[:1]:
        prediction: Mapping[str, Any] = attempt.record.get("details", {}).get("prediction", {})
        for version in prediction.get("versions", ()):
            for view in version["views"]:
                yield TableName.parse(view["table"]), int(view["snapshot_id"])


def older_score_lines(
    lake: Lakehouse, older: Mapping[str, tuple[TableName, ...]], views: Iterable[FeatureView]
) -> Iterator[str]:
    """One line for each such view, and what to do."""
    models = {each.name: each.model for each in views}
    first = "`asgard features apply`, then " if lake.settings.predict_as_of == REGISTERED else ""
    for view, tables in older.items():
        yield (
            f"{view} has scores from older snapshots of {', '.join(map(str, tables))} than are published now: "
            f"{first}`asgard batch-predict --model {models[view]}`"
        )
