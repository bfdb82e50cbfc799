"""The plan of a sync: the current state of the target ref, the possible states of Redis, and how to make them equal."""

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
"""Most targets of unfinished syncs; with more of them, comparing every entity is cheaper."""
_KEY_FORMAT = 1
"""Version of the format of entity names; see `entity_keys`."""


class Mode(StrEnum):
    """How much of a view a sync examines."""

    NOTHING = "nothing"
    CHANGES = "changes"
    COMPARE = "compare"
    REBUILD = "rebuild"


@dataclass(frozen=True)
class Plan:
    """What a sync will do, and why.

    Attributes:
        before: states that the rows in Redis may come from.
    """

    mode: Mode
    why: str
    before: tuple[PinnedTable, ...] = ()


def load_target(lake: Lakehouse, view: FeatureView) -> tuple[PinnedView, Target]:
    """Load the current state of a view's table on the target ref.

    Raises:
        UnknownTableError: the table does not exist.
        ContractError: the table lacks what the view declares, or the view's codec can't store a type.
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
    """Plan how to make Redis equal to a target.

    Raises:
        UsageError: Redis contains the view of another ref.
    """
    if synced.watermark and synced.watermark.reference != target.reference:
        raise UsageError(
            f"Redis has {pinned.name} as {synced.watermark.reference} has it, not {target.reference}.",
            hint="Use another online_prefix for another ref; `--full` replaces the view in Redis.",
        )
    known, whole = synced.watermark, whole_mode(codec_of(pinned.view, pinned.table))
    if known is None:
        return Plan(whole, "the view is not in Redis")
    if known.rule != target.rule:
        return Plan(whole, "the view or its columns changed")
    states = tuple(dict.fromkeys((known, *synced.unfinished)))
    if any(each.uuid != target.uuid for each in states):
        return Plan(Mode.COMPARE, "the table was created again")
    if any(each.rule != target.rule for each in states):
        return Plan(Mode.COMPARE, "an unfinished sync used another declaration of the view")
    if synced.server != server.get("run_id", ""):
        return Plan(Mode.COMPARE, "Redis was restarted, or is another server")
    if len(synced.unfinished) > _MOST_UNFINISHED:
        return Plan(Mode.COMPARE, f"{len(synced.unfinished)} syncs did not finish")
    if int(server.get("evicted_keys", 0)) != synced.evicted:
        return Plan(Mode.COMPARE, "Redis evicted keys")
    if all(each.snapshot_id == target.snapshot_id for each in states):
        return Plan(Mode.NOTHING, "Redis already has this snapshot")
    try:
        before = tuple(pinned_table(lake, each) for each in states if each.snapshot_id != target.snapshot_id)
        for table in (*before, pinned.table):
            table.require_files()
    except UsageError:
        return Plan(Mode.COMPARE, "a snapshot whose rows Redis may contain was collected")
    except ContractError:
        return Plan(Mode.COMPARE, "the table has delete files")
    return Plan(Mode.CHANGES, f"since snapshot {known.snapshot_id}", before)


def pinned_table(lake: Lakehouse, target: Target) -> PinnedTable:
    """Load the table of a state that a sync wrote.

    Raises:
        UsageError: the snapshot was collected.
    """
    at = At(target.reference, target.commit)
    return PinnedTable.of(lake.settings, target.table, at, target.metadata_location, target.snapshot_id)


def whole_mode(codec: RowCodec) -> Mode:
    """How a whole view is written: as a new generation, or in place if the codec has only one generation."""
    return Mode.REBUILD if codec.generation is None else Mode.COMPARE


def rule_of(view: FeatureView, table: PinnedTable) -> str:
    """Digest of what decides an entity's row: the view's rule, its layout, and the ids and types of its columns."""
    declared = view.to_json()
    kept = ("keys", "event_timestamp", "created_timestamp", "tie_break", "ttl_seconds", "codec", "version")
    columns = [[name, table.columns[name].id, table.columns[name].type] for name in view.columns]
    formats = {"packed": packed.VERSION, "key": _KEY_FORMAT, "head": FORMAT}
    rule = {name: declared[name] for name in (*kept, *(("model",) if view.model else ()))}
    rule_text = json.dumps([rule, view.feature_names, columns, formats], sort_keys=True)
    return hashlib.sha256(rule_text.encode()).hexdigest()
