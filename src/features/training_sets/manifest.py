"""What a training set's manifest says of where it comes from."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asgard.common.git_utils import code_version
from asgard.common.settings import Settings
from asgard.features.joins import duck
from asgard.features.joins.duck import quoted
from asgard.features.joins.joining import Join
from asgard.features.joins.labels import Labels
from asgard.features.pinned import PinnedTable


def described(settings: Settings, labels: Labels, table: PinnedTable | None, join: Join) -> dict[str, Any]:
    """Labels, views, code and query of a join.

    Args:
        settings: whose code version counts.
        labels: that went in.
        table: where they were; None for a file.
        join: what was joined to them.
    """
    code = code_version(settings)
    query = duck.join_sql(
        lambda pinned, columns: (
            f"(SELECT {', '.join(map(quoted, columns))} FROM {pinned.name} FOR VERSION AS OF {pinned.snapshot_id})"
        ),
        "labels",
        join.label_columns,
        join.views,
        join.names,
    )
    source: dict[str, Any] = {"source": labels.source, "time_column": labels.time}
    if table is None:
        source["sha256"] = _sha256(Path(labels.source))
    else:
        source |= {"commit": table.at.commit, "snapshot_id": table.snapshot_id}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "labels": source,
        "views": [pinned.describe() for pinned in join.views],
        "on_demand": [function.name for function in join.on_demand],
        "code_version": code.version,
        "dirty": code.dirty,
        "query": query,
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
