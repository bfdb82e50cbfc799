"""Several syncs of one view take turns in any order, and die anywhere: who was overtaken writes nothing, and the last
one leaves exactly its target.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.redis import redis_server

from asgard.common.errors import ConflictError
from asgard.common.names import CommitHash, SnapshotId, TableName
from asgard.serving.codecs.base import EncodedBatch
from asgard.serving.codecs.packed_rows import PackedRows
from asgard.serving.redis_access.fence import Fenced
from asgard.serving.redis_access.state import Target
from asgard.serving.redis_access.store import Store

ENTITIES = range(6)
VIEW = "turns"
CODEC = PackedRows({"entity": "bigint"}, {})
Rows = dict[int, int]
"""Entity -> value, at one snapshot."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as found:
        yield found


@dataclass
class Writer:
    """One sync, step by step, as `sync` does it: by entity, so that it can die between any two writes."""

    store: Store
    snapshots: list[Rows]
    snapshot: int
    is_full: bool
    fenced: Fenced | None = None
    generation: str = ""
    left: list[int] = field(default_factory=list)
    step: str = "token"

    def go_on(self) -> bool:
        """One step; whether it was the last.

        Raises:
            ConflictError: it was overtaken.
        """
        if self.fenced is None:
            self.fenced, self.step = self.store.fenced(VIEW, self.store.require_fit()), "note"
        elif self.step == "note":
            self._note(self.fenced)
        elif self.left:
            self._write(self.fenced, self.left.pop())
        elif self.step == "finish":
            self.fenced.finish(self.generation, self._target(self.snapshot), str(self.snapshot))
            self.step = "sweep"
        else:
            self._sweep(self.fenced)
            return True
        return False

    def _note(self, fenced: Fenced) -> None:
        before = fenced.synced
        is_fresh = self.is_full or before.watermark is None
        self.generation = fenced.begin(self._target(self.snapshot), None if is_fresh else before.generation)
        rows = self.snapshots[self.snapshot]
        if is_fresh:
            self.left = list(rows)
        else:
            assert before.watermark is not None
            states = [self.snapshots[each.snapshot_id] for each in (before.watermark, *before.unfinished)]
            self.left = [e for e in ENTITIES if any(state.get(e) != rows.get(e) for state in states)]
        self.step = "finish"

    def _write(self, fenced: Fenced, entity: int) -> None:
        value = self.snapshots[self.snapshot].get(entity)
        name = str(entity).encode()
        batch = EncodedBatch(deleted=[name]) if value is None else EncodedBatch([name], [str(value).encode()])
        fenced.write(CODEC, self.generation, batch)

    def _sweep(self, fenced: Fenced) -> None:
        keys, others = fenced.keys, fenced.synced
        kept = (keys.state.encode(), keys.head.encode())
        gone = {each for each in (*others.left_over, others.generation) if each not in ("", self.generation)}
        names = [name for batch in self.store.names(keys.start) for name in batch]
        current = keys.row(self.generation)
        fenced.drop([name for name in names if name not in kept and not name.startswith(current)], sorted(gone))

    def _target(self, snapshot: int) -> Target:
        table = TableName("gold", VIEW)
        return Target(table, "u", "main", CommitHash("c"), f"m{snapshot}", SnapshotId(snapshot), "", "r")


def found(store: Store) -> Rows:
    """What Redis has in the generation that lookups read."""
    start = store.keys(VIEW).row(store.synced(VIEW).generation)
    names = sorted({name for batch in CODEC.stored_entities(store, start) for name in batch})
    values = store.values([start + name for name in names])
    return {int(name): int(value or b"-1") for name, value in zip(names, values, strict=True)}


def expect_equal(store: Store, rows: Rows, snapshot: int) -> None:
    synced = store.synced(VIEW)
    assert found(store) == rows
    assert synced.rows == len(rows)
    assert synced.unfinished == ()
    assert synced.watermark is not None
    assert synced.watermark.snapshot_id == snapshot
    assert store.client.get(store.keys(VIEW).head) == str(snapshot).encode()


SNAPSHOTS = st.lists(st.dictionaries(st.sampled_from(ENTITIES), st.integers(0, 2)), min_size=4, max_size=4)
SYNCS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=3, max_size=4)
TURNS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), max_size=8)
"""Which sync goes on, for how many steps."""


@settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(snapshots=SNAPSHOTS, syncs=SYNCS, turns=TURNS)
def test_syncs_in_any_order_end_in_the_target_of_the_last(
    url: str, snapshots: list[Rows], syncs: list[tuple[int, bool]], turns: list[tuple[int, int]]
) -> None:
    store = Store(url, prefix=secrets.token_hex(4))
    writers = [Writer(store, snapshots, snapshot, is_full) for snapshot, is_full in syncs]
    newest = -1
    for number in [turn % len(writers) for turn, steps in turns for _ in range(steps)]:
        writer = writers[number]
        if writer.step == "over":
            continue
        is_new, finishes = writer.fenced is None, writer.step == "finish" and not writer.left
        before = None if is_new else store.client.hgetall(store.keys(VIEW).state)
        try:
            is_over = writer.go_on()
        except ConflictError:
            assert number != newest
            assert store.client.hgetall(store.keys(VIEW).state) == before
            writer.step = "over"
            continue
        newest = number if is_new else newest
        assert number == newest
        if finishes:
            expect_equal(store, snapshots[writer.snapshot], writer.snapshot)
        if is_over:
            writer.step = "over"
    last = Writer(store, snapshots, 0, is_full=False)
    while not last.go_on():
        pass
    expect_equal(store, snapshots[0], 0)
    left = {name for batch in store.names(store.keys(VIEW).start) for name in batch}
    assert len(left) == len(snapshots[0]) + 2
    for writer in writers:
        if writer.fenced is not None:
            with pytest.raises(ConflictError):
                writer.fenced.write(CODEC, last.generation, EncodedBatch([b"0"], [b"stale"]))
    expect_equal(store, snapshots[0], 0)
    store.client.close()
