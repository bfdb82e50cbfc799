"""A run id stands for one piece of work: what a job was asked under it first, and whether it was published.

```
_asgard/runs/<run_id>/request.json     what the caller of the run id asked first; a failed one may be asked otherwise
```
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from asgard.common.errors import UsageError
from asgard.common.names import LOG_MARGIN, RunId, run_id_time
from asgard.lakehouse.catalog.lake import Lakehouse


def settled(lake: Lakehouse, run_id: RunId, job: str, work: Mapping[str, Any], now: datetime) -> datetime:
    """Note what a run id is given for, and return the moment of the first such request.

    A restart with the same run id gets the moment of the first start: it computes what was asked then.

    Args:
        lake: whose runs.
        run_id: given by the caller.
        job: its name.
        work: what it was asked to do, as plain values.
        now: the moment of this request.

    Raises:
        UsageError: the run id was published for other work; the message shows the difference.
    """
    path = f"runs/{run_id}/request.json"
    asked: dict[str, Any] = json.loads(json.dumps({"job": job, "target": lake.target, **work}, default=str))
    note = json.dumps({"asked": asked, "now": now.isoformat()}, indent=1, sort_keys=True).encode()
    if lake.storage.create(path, note):
        return now
    first = lake.storage.read_json(path) or {}
    before = first.get("asked", {})
    if before == asked:
        return datetime.fromisoformat(first["now"]).astimezone(UTC)
    if is_published(lake, run_id):
        raise UsageError(
            f"Run id {run_id!r} was published for other work: {'; '.join(_differences(before, asked))}.",
            hint="A run id stands for one piece of work. Give another one for this.",
        )
    lake.storage.write(path, note)
    return now


def is_published(lake: Lakehouse, run_id: RunId) -> bool:
    """Whether the target ref's log has a publish of a run id, or of a run whose id begins with it and a hyphen."""
    log = lake.nessie.log(lake.target, since=run_id_time(run_id) - LOG_MARGIN)
    found = (entry.properties.get("asgard.run-id", "") for entry in log)
    return any(each == run_id or each.startswith(f"{run_id}-") for each in found)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield f"{name} was {_shown(before.get(name))}, and is {_shown(now.get(name))} now"


def _shown(value: Any) -> str:
    return "not given" if value in (None, [], {}, "") else json.dumps(value)
