"""What `runs`, lineage and metrics say of a run whose target was moved, or that published to another branch."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.foreign import Foreign
from tests.support.runs import declared, values, write_rows

from asgard.common.errors import UsageError
from asgard.common.names import RunId
from asgard.jobs.counted import PublishedRuns
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.publications import Publications, reachable
from asgard.lakehouse.runs.history import list_runs
from asgard.lakehouse.runs.revert import revert


def branch(foreign: Foreign, name: str) -> None:
    body = {"type": "BRANCH", "name": "main", "hash": foreign.head("main")}
    foreign.call("POST", f"/trees?name={name}&type=BRANCH", body)


def merge(foreign: Foreign, source: str, target: str) -> None:
    body = {"fromRefName": source, "fromHash": foreign.head(source)}
    foreign.call("POST", f"/trees/{target}@{foreign.head(target)}/history/merge", body)


def drop(foreign: Foreign, name: str) -> None:
    foreign.call("DELETE", f"/trees/{name}@{foreign.head(name)}?type=BRANCH")


def on(lake: Lakehouse, spark: SparkSession, target: str) -> Lakehouse:
    other = Lakehouse(replace(lake.settings, nessie_ref=target))
    vars(other)["_spark"] = spark
    return other


@pytest.fixture
def dev(fresh: Fresh, lake: Lakehouse) -> Iterator[str]:
    name = f"dev_{fresh.table().name}"
    branch(Foreign(lake), name)
    yield name
    if any(each.name == name for each in lake.nessie.references("dev_")):
        drop(Foreign(lake), name)


def status(lake: Lakehouse, run_id: RunId) -> str:
    """As `runs RUN` and as the list say it: they agree."""
    (run,) = list_runs(lake, run_id=run_id)
    assert run.status == next(each.status for each in list_runs(lake, limit=50) if each.attempt.run_id == run_id)
    commits = {each["hash"] for each in Foreign(lake).log(lake.target)}
    if run.status == "published":  # the log, read by plain HTTP, is the truth
        assert run.commit in commits
    return run.status


def test_a_rolled_back_run_is_not_published(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table, foreign = declared(fresh.table(), mode="append"), Foreign(lake)
    first = write_rows(lake, table, values(spark, "id bigint", [[1]]))
    earlier = foreign.head("main")
    second = write_rows(lake, table, values(spark, "id bigint", [[2]]))
    assert (status(lake, first.run_id), status(lake, second.run_id)) == ("published", "published")
    foreign.assign("main", earlier)
    assert (status(lake, first.run_id), status(lake, second.run_id)) == ("published", "rolled back")
    stands = PublishedRuns(lambda: lake.nessie, print)
    assert (stands("main", first.run_id), stands("main", second.run_id)) == (True, False)
    assert not list_runs(lake, run_id=second.run_id)[0].is_published


def test_a_run_on_another_branch_says_so_and_counts_once_it_is_merged(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, dev: str
) -> None:
    table, foreign = declared(fresh.table(), mode="append"), Foreign(lake)
    there = on(lake, spark, dev)
    first = write_rows(there, table, values(spark, "id bigint", [[1]]))
    second = write_rows(there, table, values(spark, "id bigint", [[2]]))
    assert status(there, second.run_id) == "published"
    assert status(lake, second.run_id) == f"published to {dev}"
    assert not PublishedRuns(lambda: lake.nessie, print)("main", second.run_id)

    before = foreign.head("main")
    merge(foreign, dev, "main")
    assert status(lake, first.run_id) == status(lake, second.run_id) == f"published to {dev}, merged"
    assert PublishedRuns(lambda: lake.nessie, print)("main", first.run_id)
    with pytest.raises(UsageError, match=f"was published to {dev}, merged, not to main") as refused:
        revert(lake, second.run_id, print)
    assert f"--set nessie_ref={dev}" in refused.value.hint
    assert list_runs(lake, run_id=second.run_id)[0].is_published

    drop(foreign, dev)
    assert status(lake, second.run_id) == f"published to {dev}, merged"
    merged = foreign.head("main")
    foreign.assign("main", before)
    assert status(lake, second.run_id) == f"rolled back on {dev}"
    foreign.assign("main", merged)
    assert status(lake, second.run_id) == f"published to {dev}, merged"


def test_every_commit_is_met_once_newest_first(lake: Lakehouse, spark: SparkSession, fresh: Fresh, dev: str) -> None:
    """Merges in both directions: the oracle is a plain walk over all parents."""
    foreign, begun = Foreign(lake), datetime.now(UTC)
    for target, into in ((dev, "main"), ("main", dev), (dev, "main")):
        for ref in (target, into):
            name = fresh.table().name
            foreign.put(ref, (name,), {"type": "NAMESPACE", "elements": [name]})
        merge(foreign, target, into)
    wanted, waiting = set[str](), [foreign.head("main")]
    while waiting:
        commit = waiting.pop()
        if commit not in wanted:
            page = foreign.call("GET", f"/trees/@{commit}/history?max-records=1")["logEntries"]
            if page:
                wanted.add(commit)
                waiting += page[0]["commitMeta"]["parentCommitHashes"]
        if len(wanted) > 40:
            break
    met = [entry for entry, _ in zip(reachable(lake.nessie, "main"), range(2000), strict=False)]
    assert len({entry.hash for entry in met}) == len(met)
    assert wanted <= {entry.hash for entry in met}
    own = [entry.committed for entry in met if entry.committed >= begun]  # others may have raced before
    assert len(own) >= 6
    assert own == sorted(own, reverse=True)


def test_a_log_is_read_no_further_than_the_runs_time(lake: Lakehouse) -> None:
    log = Publications(lake.nessie, "main")
    assert log.of(RunId("20990101t000000-never")) is None
    assert len(log._known) <= 2
