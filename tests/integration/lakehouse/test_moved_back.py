"""main is rolled back past a run's base while the run works: it starts again by itself, and publishes once."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.failpoints import at_failpoints, publishes
from tests.support.foreign import Foreign
from tests.support.runs import declared, rows_of, run_work, values, write_rows

from asgard.common.errors import ConflictError, RunError
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import Table
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.run import RunRequest, RunResult, Status, execute

FAILPOINTS = ("after-branch", "before-write", "between-tables", "after-write", "after-audit", "before-publish")


def append_one(spark: SparkSession, table: Table, other: Table, value: int) -> Callable[[Attempt], None]:
    """Work that appends a row to two tables."""

    def work(attempt: Attempt) -> None:
        attempt.write(table, values(spark, "id bigint", [[value]]))
        attempt.write(other, values(spark, "id bigint", [[value]]))

    return work


def run_with(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch, point: str, action: Callable[[], Any], work: Callable[..., None]
) -> tuple[RunResult, list[str]]:
    """A run during which something happens once, at a failpoint; and what it said."""
    pending, said = [action], list[str]()

    def hook(name: str) -> None:
        if name == point and pending:
            happen = pending.pop()
            with monkeypatch.context() as quiet:
                at_failpoints(quiet, lambda _name: None)
                happen()

    at_failpoints(monkeypatch, hook)
    result = execute(lake, RunRequest("test"), work, said.append)
    assert not pending
    return result, said


@pytest.mark.parametrize("point", ["after-branch", "after-write", "before-publish"])
def test_a_run_starts_again_when_main_was_moved_back_past_its_base(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    table, other, foreign = *(declared(fresh.table(), mode="append") for _ in range(2)), Foreign(lake)
    write_rows(lake, table, values(spark, "id bigint", [[1]]))
    earlier = foreign.head("main")
    write_rows(lake, table, values(spark, "id bigint", [[2]]))

    result, said = run_with(
        lake, monkeypatch, point, lambda: foreign.assign("main", earlier), append_one(spark, table, other, 3)
    )

    assert (result.status, result.attempt) == (Status.PUBLISHED, 2)
    assert rows_of(lake, table.name) == [(1,), (3,)]
    assert rows_of(lake, other.name) == [(3,)]
    assert len(publishes(lake, result.run_id)) == 1
    assert any(f"main was moved back: it is at {earlier[:12]}" in line for line in said)
    assert not [ref for ref in lake.nessie.references("audit_") if result.run_id in ref.name]


def test_a_run_that_main_moves_back_under_each_time_gives_up_in_words(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    table, foreign, settings = declared(fresh.table()), Foreign(lake), replace(lake.settings, conflict_attempts=2)
    impatient = Lakehouse(settings)
    vars(impatient)["_spark"] = spark
    heads = []
    for _ in range(3):
        heads.append(foreign.head("main"))
        namespace = fresh.table().name
        foreign.put("main", (namespace,), {"type": "NAMESPACE", "elements": [namespace]})

    def work(attempt: Attempt) -> None:
        attempt.write(table, values(spark, "id bigint", [[1]]))
        foreign.assign("main", heads.pop())

    with pytest.raises(ConflictError, match="2 times, last because main was moved back"):
        run_work(impatient, work)
    assert lake.nessie.content("main", table.name) is None


def _walk(lake: Lakehouse, spark: SparkSession, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Random rollbacks, publishes by others and re-assignments at random moments of runs; a list is the oracle."""
    chance, foreign, fresh = random.Random(seed), Foreign(lake), Fresh()
    table, other, third = (declared(fresh.table(), mode="append") for _ in range(3))
    write_rows(lake, table, values(spark, "id bigint", [[0]]))
    # What main should hold at each of its commits: the rows of `table`, in the order of the commits.
    states: list[tuple[str, list[int]]] = [(foreign.head("main"), [0])]
    expected = [0]

    def roll_back() -> None:
        nonlocal expected
        commit, rows = chance.choice(states)
        foreign.assign("main", commit)
        expected = list(rows)

    def publish_same() -> None:
        nonlocal expected
        write_rows(lake, table, values(spark, "id bigint", [[1000 + len(states)]]))
        expected = [*expected, 1000 + len(states)]
        states.append((foreign.head("main"), list(expected)))

    def publish_other() -> None:
        write_rows(lake, third, values(spark, "id bigint", [[1]]))
        states.append((foreign.head("main"), list(expected)))

    for value in range(1, 4):
        action = chance.choice((roll_back, publish_same, publish_other))
        work = append_one(spark, table, other, value)
        result, _ = run_with(lake, monkeypatch, chance.choice(FAILPOINTS), action, work)
        expected = [*expected, value]
        states.append((foreign.head("main"), list(expected)))
        assert result.status is Status.PUBLISHED
        assert len(publishes(lake, result.run_id)) == 1, seed
        assert rows_of(lake, table.name) == sorted(((each,) for each in expected), key=repr), seed


def test_random_rollbacks_at_random_moments_lose_and_double_nothing(
    lake: Lakehouse, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    _walk(lake, spark, monkeypatch, seed=27)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_many_random_rollbacks(
    lake: Lakehouse, spark: SparkSession, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    _walk(lake, spark, monkeypatch, seed)


def test_an_input_is_still_read_while_main_is_elsewhere(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    """What the run computed from is its base; that main was moved is found at the publish, not by a failed read."""
    source, table, foreign = declared(fresh.table()), declared(fresh.table()), Foreign(lake)
    earlier = foreign.head("main")
    write_rows(lake, source, values(spark, "id bigint", [[1]]))
    later = foreign.head("main")

    def work(attempt: Attempt) -> None:
        foreign.assign("main", earlier)
        attempt.write(table, attempt.read(source.name))
        foreign.assign("main", later)

    assert run_work(lake, work).attempt == 1
    assert rows_of(lake, table.name) == [(1,)]


def test_a_target_that_is_gone_is_no_rollback(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    foreign, table = Foreign(lake), declared(fresh.table())
    dev = Lakehouse(replace(lake.settings, nessie_ref=f"dev_{table.name.name}"))
    foreign.call(
        "POST",
        f"/trees?name={dev.target}&type=BRANCH",
        {"type": "BRANCH", "name": "main", "hash": foreign.head("main")},
    )
    vars(dev)["_spark"] = spark

    def work(attempt: Attempt) -> None:
        attempt.write(table, values(spark, "id bigint", [[1]]))
        foreign.call("DELETE", f"/trees/{dev.target}@{foreign.head(dev.target)}?type=BRANCH")

    with pytest.raises(RunError, match="vanished while run"):
        run_work(dev, work)
