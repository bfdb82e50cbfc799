"""Writing the rows of a plan, by DuckDB on this machine or by Spark; and deleting rows that nobody reads."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard.common.aliases import Say
from asgard.common.errors import AsgardError, ServiceError, UsageError
from asgard.features.joins import duck
from asgard.features.joins.engines import Engine
from asgard.features.views import Codec
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.serving.codecs.base import IN_PLACE, EncodedBatch
from asgard.serving.codecs.choose import row_codec
from asgard.serving.redis_access.fence import Fenced
from asgard.serving.redis_access.state import GENERATION
from asgard.serving.redis_access.store import Store
from asgard.serving.sync import changes
from asgard.serving.sync.current_predictions import is_current
from asgard.serving.sync.plan import Mode, Plan
from asgard.serving.sync.rows import SnapshotRows
from asgard.serving.sync.sending import send

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MOST_TOUCHED = 1_000_000
"""Most entities that are passed to Spark by their keys; with more of them, Spark compares every entity."""


@dataclass(frozen=True)
class Counted:
    """Counts of a view's entities in one sync.

    Attributes:
        entities: entities examined.
        written: entities whose row was written.
        deleted: entities removed from Redis.
    """

    entities: int = 0
    written: int = 0
    deleted: int = 0

    def __add__(self, other: "Counted") -> "Counted":
        return Counted(self.entities + other.entities, self.written + other.written, self.deleted + other.deleted)


@dataclass(frozen=True)
class Writing:
    """The part of a sync that writes rows.

    Attributes:
        generation: the generation to write.
        rows: rows of the target.
        engine: the engine that reads the rows.
    """

    lake: Lakehouse
    store: Store
    fenced: Fenced
    generation: str
    rows: SnapshotRows
    engine: Engine

    def run(self, plan: Plan, say: Say) -> tuple[Mode, Counted]:
        """Carry out a plan; if files of earlier states turn out to be missing, every entity is compared.

        Returns:
            The mode that was used, and the counts.

        Raises:
            ConflictError: another sync of the view began meanwhile.
            ServiceError: Redis refuses; the rows of a new generation are deleted.
        """
        try:
            return self._run(plan)
        except UsageError as error:
            if plan.mode is not Mode.CHANGES:
                raise
            say(f"{self.rows.pinned.name}: {error.message} Comparing every entity instead")
            self.rows.seen = 0
            return self._run(Plan(Mode.COMPARE, error.message))
        except ServiceError:
            if plan.mode is Mode.REBUILD:
                with suppress(AsgardError):  # the unfinished generation takes memory, and nobody will read it
                    sweep(self.store, self.fenced, self.fenced.synced.generation, (self.generation,))
            raise

    def _run(self, plan: Plan) -> tuple[Mode, Counted]:
        view, table = self.rows.pinned.view, self.rows.pinned.table
        with duck.connect(self.lake.settings) as connection:
            mode, wanted = plan.mode, changes.EVERY
            if mode is Mode.CHANGES:
                wanted = changes.touched(connection, view, plan.before, table)
                if self.engine is Engine.SPARK and (wanted.entities or 0) > _MOST_TOUCHED:
                    mode, wanted = Mode.COMPARE, changes.EVERY
            write = self._by_spark if self.engine is Engine.SPARK and wanted.entities != 0 else self._by_duckdb
            counted = write(connection, wanted, only_differing=mode is Mode.COMPARE)
            if mode is Mode.COMPARE:
                counted += self._sent(self.rows.surplus(connection, self.store, self._start))
        return mode, counted

    def _by_duckdb(self, connection: "DuckDBPyConnection", wanted: changes.Changes, *, only_differing: bool) -> Counted:
        if only_differing:
            batches = self.rows.differing(connection, self.store, self._start)
        else:
            batches = self.rows.of(connection, wanted)
        sent = self._sent(batches)
        return Counted(self.rows.seen, sent.written, sent.deleted)

    def _by_spark(self, connection: "DuckDBPyConnection", wanted: changes.Changes, *, only_differing: bool) -> Counted:
        from asgard.serving.sync.spark_rows import WriteTask, write_on_spark

        pinned, touched = self.rows.pinned, None
        if wanted.relation:
            touched = connection.sql(f"FROM {wanted.relation}").to_arrow_table()
        task = WriteTask(
            **self.store.address,
            permit=self.fenced.permit,
            generation=self.generation,
            codec=str(pinned.view.codec),
            view=pinned.name,
            keys={name: pinned.table.columns[name].type for name in pinned.view.keys},
            features={each.name: each.type for each in pinned.view.features},
            before=self.fenced.synced.fields,
            only_differing=only_differing,
        )
        condition = is_current(connection, pinned.table) if pinned.view.model else "true"
        return Counted(*write_on_spark(self.lake, pinned, task, touched, condition))

    def _sent(self, batches: Iterable[EncodedBatch]) -> Counted:
        """Send batches, and count rows written and deleted; `entities` are counted where they are read."""
        return Counted(0, *send(self.fenced, self.rows.codec, self.generation, batches))

    @property
    def _start(self) -> bytes:
        return self.fenced.keys.row(self.generation)


def sweep(store: Store, fenced: Fenced, current: str, left_over: Sequence[str]) -> None:
    """Delete the rows of all generations except the current one: the previous one, and those of unfinished syncs.

    Other keys under the view's prefix are kept. If Redis lost the view's state ("" is left over), rows are recognized
    by the form of their generation's name.

    Raises:
        ConflictError: another sync of the view began.
        ServiceError: Redis refuses.
    """
    if not left_over:
        return
    keys = fenced.keys
    if IN_PLACE in left_over:
        old = row_codec(Codec.FEAST, keys.view, {}, {}, fenced.synced.fields)
        for entities in old.stored_entities(store, keys.row(IN_PLACE)):
            fenced.write(old, IN_PLACE, EncodedBatch(deleted=entities))
    if "" in left_over:
        is_dead = re.compile(re.escape(keys.start) + GENERATION + b":", re.DOTALL).match
        for names in store.names(keys.start):
            fenced.drop([name for name in names if is_dead(name) and not name.startswith(keys.row(current))])
    for generation in {*left_over} - {"", IN_PLACE, current}:
        for names in store.names(keys.row(generation)):
            fenced.drop(names)
    fenced.drop([], left_over)
