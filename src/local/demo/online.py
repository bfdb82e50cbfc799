"""The demo's last part: sync features and scores to Redis, then publish and sync a correction and a deletion."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.aliases import Say
from asgard.common.errors import RunError
from asgard.features import register
from asgard.features.views import Declared, FeatureView
from asgard.jobs import backfill_job, ingest_job, online_sync_job
from asgard.jobs.features_apply import apply_views
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.declaring.intervals import TimeRange
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.runs.history import list_runs
from asgard.local.demo import models as demo_models
from asgard.local.demo.lookups import OnlineFacts, Seen
from asgard.model.versions import ModelVersion
from asgard.serving import OnlineStore
from asgard.serving.redis_access.store import Store
from asgard.serving.sync.status import online_views, status
from asgard.serving.sync.verify import verify

if TYPE_CHECKING:
    from examples.retail.data import Corrections


LOOKED_AT = datetime(2018, 1, 2, tzinfo=UTC)
"""The time of the demo's lookups: the data ends the day before, and rows are valid for two weeks."""
NOTES = "online.json"
"""File of the project folder with the lookups before and after; Redis itself contains only the present state."""
_SELECTED = ("silver.transactions_cleaned+", "silver.demographics_cleaned")
_END = "2018-02-01"


@dataclass(frozen=True)
class Served:
    """What a call did for lookups, and the current state.

    Attributes:
        published: whether this call published the corrections; else an earlier call did.
        written, deleted: entities that this call's syncs wrote to Redis and deleted from it.
        facts: the lookups, and the current state.
    """

    published: bool
    written: int
    deleted: int
    facts: OnlineFacts

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        did = {"published": self.published, "written": self.written, "deleted": self.deleted}
        return {**self.facts.to_json(), "this_call": did}


def corrections_run(lake: Lakehouse, given: "Corrections") -> str | None:
    """The run that published the tables recomputed after the corrections; None if there is none yet."""
    wanted = str(_window(given))
    for run in list_runs(lake):
        record = run.attempt.record
        if run.is_published and record.get("params", {}).get("window") == wanted:
            return str(run.attempt.run_id)
    return None


def serve(
    lake: Lakehouse, pipeline: Pipeline, version: ModelVersion, given: "Corrections", folder: Path, say: Say
) -> Served:
    """Sync, look up, publish the corrections, predict again, sync and verify, look up again.

    Args:
        lake: the lakehouse.
        pipeline: the pipeline that declares the views.
        version: the version whose scores are looked up.
        given: the corrections.
        folder: the project folder.
        say: called with one line about each step.

    Raises:
        RunError: Redis differs from what is published.
        AsgardError: a job failed.
    """
    redis = _Redis(lake, _registered(lake, pipeline, version, say), given, say)
    notes = folder / NOTES
    seen = _read(notes)
    run_id = corrections_run(lake, given)
    if run_id is None:
        seen = {"before": redis.brought_up_to_date()}
        _note(notes, seen)
    is_new = run_id is None
    if run_id is None:
        run_id = _publish(lake, pipeline, given, say)
    demo_models.predict(lake, pipeline, version, say, as_of=lake.target)
    now = redis.brought_up_to_date()
    if is_new or "after" not in seen:
        seen = {**seen, "after": now}
        _note(notes, seen)
    facts = OnlineFacts(
        at=LOOKED_AT,
        corrected=given.corrected,
        sales_before=given.sales_before,
        sales_after=given.sales_after,
        erased=given.erased,
        run_id=run_id,
        before=seen.get("before"),
        after=Seen(seen["after"].synced, now.verified, now.rows),
        now=tuple(status(lake, redis.store, view).to_json() for view in redis.views),
    )
    return Served(is_new, redis.written, redis.deleted, facts)


class _Redis:
    """The views in Redis, and what this call changed there."""

    def __init__(self, lake: Lakehouse, views: Sequence[FeatureView], given: "Corrections", say: Say) -> None:
        self.lake, self.views, self.given, self.say = lake, views, given, say
        self.store = Store.of(lake.settings)
        self.lookups = OnlineStore(settings=lake.settings, timeout=5.0)
        self.written = self.deleted = 0

    def brought_up_to_date(self) -> Seen:
        """Sync all views, verify them, look the two households up, and return the result."""
        outcomes = online_sync_job.run(self.lake, self.store, self.views, self.say)
        outcomes.require_all()
        done = outcomes.done
        self.written += sum(each.counted.written for each in done)
        self.deleted += sum(each.counted.deleted for each in done)
        verified = [verify(self.lake, self.store, view, self.say) for view in self.views]
        if not all(each.is_equal for each in verified):
            raise RunError(
                f"Redis differs from what is published in {', '.join(e.view for e in verified if not e.is_equal)}.",
                hint="Check whether something else writes there; `asgard online-sync --full` rebuilds the views.",
            )
        names = [view.name for view in self.views]
        rows = {
            str(household): self.lookups.lookup(names, {"customer_id": household}, now=LOOKED_AT).to_json()
            for household in (self.given.corrected, self.given.erased)
        }
        plain = {
            "synced": [each.to_json() for each in done],
            "verified": [each.to_json() for each in verified],
            "rows": rows,
        }
        return Seen.from_json(json.loads(json.dumps(plain, default=str)))


def _registered(lake: Lakehouse, pipeline: Pipeline, version: ModelVersion, say: Say) -> tuple[FeatureView, ...]:
    """The online views of features and of the version's predictions; registers the latter if necessary."""
    declared = Declared.of(pipeline)
    scores = next(view for view in declared.views.values() if view.model == version.name)
    current = {view.name for view in online_views(lake, pipeline=pipeline.name)}
    if scores.name not in current:
        apply_views(lake, declared, register.plan(lake, [scores], resolve(lake, None), pipeline=pipeline.name), say)
    return online_views(lake, [view.name for view in declared.features if view.online] + [scores.name])


def _publish(lake: Lakehouse, pipeline: Pipeline, given: "Corrections", say: Say) -> str:
    """Ingest the corrections, and recompute the tables that depend on them; returns the run id."""
    for table, path in given.files.items():
        say(f"ingesting {path.name} into {table}")
        ingest_job.run(ingest_job.Params(pipeline[table], (str(path),)), lake, say)
    say(f"recomputing intervals from {given.since} on")
    params = backfill_job.Params(select=_SELECTED, window=_window(given))
    return str(backfill_job.run(params, lake, pipeline, say)[-1].run_id)


def _window(given: "Corrections") -> TimeRange:
    return TimeRange.parse(given.since, _END)


def _read(path: Path) -> dict[str, Seen]:
    if not path.exists():
        return {}
    return {name: Seen.from_json(raw) for name, raw in json.loads(path.read_text(encoding="utf-8")).items()}


def _note(path: Path, seen: dict[str, Seen]) -> None:
    path.write_text(json.dumps({name: asdict(each) for name, each in seen.items()}, indent=1), encoding="utf-8")
