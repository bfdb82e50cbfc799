"""What a sync has to do: what the target ref has now, which states Redis may be of, and what follows."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from asgard.common.errors import ContractError, UsageError
from asgard.features.pinned import PinnedTable, PinnedView, require_columns
from asgard.features.views import FeatureView
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import At
from asgard.serving.codecs import packed
from asgard.serving.codecs.base import RowCodec
from asgard.serving.lookup.view_header import FORMAT
from asgard.serving.redis_access.state import Synced, Target
from asgard.serving.sync.rows import codec_of

_MOST_UNFINISHED = 5
"""Targets that did not come about, beyond which comparing everything is cheaper."""
_KEY_FORMAT = 1
"""How entities are named; see `entities`."""


class Mode(StrEnum):
    """How much of a view a sync looks at."""

    NOTHING = "nothing"
    CHANGES = "changes"
    COMPARE = "compare"
    REBUILD = "rebuild"


@dataclass(frozen=True)
class Plan:
    """What a sync will do, and why.

    Attributes:
        before: states that Redis may be of.
    """

    mode: Mode
    why: str
    before: tuple[PinnedTable, ...] = ()


def load_target(lake: Lakehouse, view: FeatureView) -> tuple[PinnedView, Target]:
    """A view's table as the target ref has it now.

    Raises:
        UnknownTableError: it is not there.
        ContractError: it does not have what the view declares, or the view's codec can't hold it.
    """
    at = At(lake.target, lake.nessie.head(lake.target))
    table = PinnedTable.load(lake, view.table, at)
    require_columns(view, table)
    codec_of(view, table)
    snapshot = table.state.table.current_snapshot()
    written = datetime.fromtimestamp(snapshot.timestamp_ms / 1000 if snapshot else 0, UTC)
    return PinnedView(view, table), Target(
        table=view.table,
        uuid=str(table.state.table.metadata.table_uuid),
        reference=at.reference,
        commit=at.commit,
        metadata_location=table.metadata_location,
        snapshot_id=table.snapshot_id,
        written=written.isoformat(timespec="milliseconds"),
        rule=rule_of(view, table),
    )


def plan(lake: Lakehouse, pinned: PinnedView, target: Target, synced: Synced, server: Mapping[str, str]) -> Plan:
    """What has to be done so that Redis equals a target.

    Raises:
        UsageError: Redis has the view of another ref.
    """
    if synced.watermark and synced.watermark.reference != target.reference:
        raise UsageError(
            f"Redis has {pinned.name} as {synced.watermark.reference} has it, not {target.reference}.",
            hint="Use another online_prefix for another ref; `--full` puts this one in its place.",
        )
    known, whole = synced.watermark, whole_mode(codec_of(pinned.view, pinned.table))
    if known is None:
        return Plan(whole, "Redis does not know the view")
    if known.rule != target.rule:
        return Plan(whole, "the view or its columns changed")
    states = tuple(dict.fromkeys((known, *synced.unfinished)))
    if any(each.uuid != target.uuid for each in states):
        return Plan(Mode.COMPARE, "the table was made anew")
    if any(each.rule != target.rule for each in states):
        return Plan(Mode.COMPARE, "an unfinished sync was of another declaration")
    if synced.server != server.get("run_id", ""):
        return Plan(Mode.COMPARE, "Redis was restarted, or is another one")
    if len(synced.unfinished) > _MOST_UNFINISHED:
        return Plan(Mode.COMPARE, f"{len(synced.unfinished)} syncs did not end")
    if int(server.get("evicted_keys", 0)) != synced.evicted:
        return Plan(Mode.COMPARE, "Redis evicted keys")
    if all(each.snapshot_id == target.snapshot_id for each in states):
        return Plan(Mode.NOTHING, "Redis has this snapshot")
    try:
        before = tuple(pinned_table(lake, each) for each in states if each.snapshot_id != target.snapshot_id)
        for table in (*before, pinned.table):
            table.require_files()
    except UsageError:
        return Plan(Mode.COMPARE, "a snapshot that Redis may have was collected")
    except ContractError:
        return Plan(Mode.COMPARE, "the table has delete files")
    return Plan(Mode.CHANGES, f"since snapshot {known.snapshot_id}", before)


def pinned_table(lake: Lakehouse, target: Target) -> PinnedTable:
    """The table of a state that Redis was made equal to.

    Raises:
        UsageError: it was collected.
    """
    at = At(target.reference, target.commit)
    return PinnedTable.of(lake.settings, target.table, at, target.metadata_location, target.snapshot_id)


def whole_mode(codec: RowCodec) -> Mode:
    """How all of a view is written: anew beside the old rows, or in their place where readers know no other."""
    return Mode.REBUILD if codec.generation is None else Mode.COMPARE


def rule_of(view: FeatureView, table: PinnedTable) -> str:
    """Digest of what decides a row: the view's rule and layout, and which columns they are."""
    declared = view.to_json()
    kept = ("keys", "event_timestamp", "created_timestamp", "tie_break", "ttl_seconds", "codec", "version")
    columns = [[name, table.columns[name].id, table.columns[name].type] for name in view.columns]
    formats = {"packed": packed.VERSION, "key": _KEY_FORMAT, "head": FORMAT}
    rule = {name: declared[name] for name in (*kept, *(("model",) if view.model else ()))}
    rule_text = json.dumps([rule, view.feature_names, columns, formats], sort_keys=True)
    return hashlib.sha256(rule_text.encode()).hexdigest()
