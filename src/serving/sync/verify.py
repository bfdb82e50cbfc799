"""Verification that Redis contains exactly the rows of its recorded snapshot."""

import hashlib
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from asgard.common.aliases import Say
from asgard.common.errors import ConflictError, ServiceError, UsageError
from asgard.features.joins import duck
from asgard.features.pinned import PinnedView, require_columns
from asgard.features.views import FeatureView
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.serving.codecs.base import EncodedBatch, RowCodec, Value
from asgard.serving.lookup.view_header import Head
from asgard.serving.redis_access.state import Synced
from asgard.serving.redis_access.store import Store
from asgard.serving.sync import changes
from asgard.serving.sync.plan import pinned_table, rule_of
from asgard.serving.sync.rows import SnapshotEntities, SnapshotRows

_SHOWN = 20
_WIDTH = 1 << 256


class Wrong(StrEnum):
    """What is wrong with an entity in Redis."""

    MISSING = "missing"
    OTHER = "other"
    BEYOND = "beyond"


@dataclass(frozen=True)
class Verification:
    """The result of comparing Redis with a snapshot.

    Attributes:
        entities: number of entities in the snapshot.
        digest, digest_redis: sums of the SHA-256 of each entity's name and value; equal for equal contents.
        missing: number of entities missing in Redis. other: with another value in Redis. beyond: only in Redis.
        examples: names of some of these entities, and what is wrong.
    """

    view: str
    snapshot_id: int
    entities: int
    digest: str
    digest_redis: str
    missing: int
    other: int
    beyond: int
    examples: tuple[tuple[str, str], ...]

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.missing or self.other or self.beyond)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        examples = [{"entity": entity, "wrong": wrong} for entity, wrong in self.examples]
        return {**asdict(self), "equal": self.is_equal, "examples": examples}


def verify(lake: Lakehouse, store: Store, view: FeatureView, say: Say = print) -> Verification:
    """Compare every entity of a view; nothing is written.

    Raises:
        UsageError: the view was never synced to this Redis, has an unfinished sync or a changed declaration, or its
            snapshot was collected.
        ServiceError: the view's head is not the one that the last sync wrote.
        ConflictError: the view was synced meanwhile.
    """
    synced = store.synced(view.name)
    known = synced.watermark
    if known is None:
        raise UsageError(f"Redis does not have the view {view.name}.", hint="Run `asgard online-sync` first.")
    if synced.unfinished:
        raise UsageError(
            f"A sync of {view.name} is running, or did not finish: Redis is between two snapshots.",
            hint="Run `asgard online-sync` first: it completes an unfinished sync.",
        )
    pinned = PinnedView(view, pinned_table(lake, known))
    require_columns(view, pinned.table)
    if known.rule != rule_of(view, pinned.table):
        raise UsageError(
            f"The declaration of {view.name}, or Asgard's own format, changed since it was synced.",
            hint="Run `asgard online-sync` first: it writes the whole view again.",
        )
    _require_head(store, view.name, synced)
    say(f"{view.name}: comparing {synced.rows:,} entities with snapshot {known.snapshot_id}")
    rows = SnapshotRows(pinned)
    with duck.connect(lake.settings) as connection:
        tally = _Tally(store, rows.codec, store.keys(view.name).row(synced.generation), SnapshotEntities(connection))
        for batch in rows.of(connection, changes.EVERY):
            tally.add(batch)
        tally.add_beyond()
    _require_still(store, view.name, synced)
    return Verification(
        view.name,
        known.snapshot_id,
        rows.seen,
        f"{tally.published_sum:064x}",
        f"{tally.stored_sum:064x}",
        tally.counts[Wrong.MISSING],
        tally.counts[Wrong.OTHER],
        tally.counts[Wrong.BEYOND],
        tuple(tally.examples),
    )


class _Tally:
    """Counts and digests of the comparison."""

    def __init__(self, store: Store, codec: RowCodec, start: bytes, published: SnapshotEntities) -> None:
        self._store, self._codec, self._start, self._published = store, codec, start, published
        self.published_sum = self.stored_sum = 0
        self.counts = dict.fromkeys(Wrong, 0)
        self.examples: list[tuple[str, str]] = []

    def add(self, batch: EncodedBatch) -> None:
        """Compare rows of the snapshot with Redis."""
        self._published.add(batch.entities)
        stored_values = self._codec.read(self._store, self._start, batch.entities)
        for entity, value, stored in zip(batch.entities, batch.values, stored_values, strict=True):
            self.published_sum = (self.published_sum + _hash(entity, value)) % _WIDTH
            if stored is not None:
                self.stored_sum = (self.stored_sum + _hash(entity, stored)) % _WIDTH
            if stored != value:
                self._note(entity, Wrong.MISSING if stored is None else Wrong.OTHER)

    def add_beyond(self) -> None:
        """Count the entities that are in Redis but not in the snapshot."""
        for entities in self._published.surplus(self._codec.stored_entities(self._store, self._start)):
            stored_values = self._codec.read(self._store, self._start, entities)
            for entity, value in zip(entities, stored_values, strict=True):
                if value is not None:
                    self.stored_sum = (self.stored_sum + _hash(entity, value)) % _WIDTH
                    self._note(entity, Wrong.BEYOND)

    def _note(self, entity: bytes, wrong: Wrong) -> None:
        self.counts[wrong] += 1
        if len(self.examples) < _SHOWN:
            self.examples.append((self._codec.shown(entity), str(wrong)))


def _hash(entity: bytes, value: Value) -> int:
    parts = (entity, value) if isinstance(value, bytes) else (entity, *value)
    return int.from_bytes(hashlib.sha256(b"".join(len(each).to_bytes(4, "little") + each for each in parts)).digest())


def _require_head(store: Store, view: str, synced: Synced) -> None:
    text, known = store.values([store.keys(view).head.encode()])[0], synced.watermark
    head = Head.from_text(text, view) if text else None
    if head is None or known is None or (head.generation, head.commit) != (synced.generation, known.commit):
        raise ServiceError(
            f"The head of {view} in Redis, which lookups read first, is not the one that the last sync wrote.",
            hint="Another program may have written it: `asgard online-sync --full` rewrites the view.",
        )


def _require_still(store: Store, view: str, before: Synced) -> None:
    now = store.synced(view)
    if (now.watermark, now.generation, now.unfinished) != (before.watermark, before.generation, before.unfinished):
        raise ConflictError(
            f"{view} was synced meanwhile: the comparison is incomplete.", hint="Verify the view again."
        )
