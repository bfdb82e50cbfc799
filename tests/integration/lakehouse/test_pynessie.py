"""Nessie's official Python client reads back what Asgard wrote, and what people do with it is survived."""

import hashlib
import json
import re
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyiceberg.table import StaticTable
from tests.conftest import Fresh
from tests.support.customer_views import gold, put, registered, view_of
from tests.support.foreign import local
from tests.support.runs import declared, rows_of, run_work, values, write_rows
from tests.support.witness import Delete, NessieNotFoundException, Put, Witness

from asgard.common.errors import RunError
from asgard.common.names import TableName
from asgard.lakehouse.catalog import holds
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import LogEntry, RefKind, drop
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.run import RunAuditFailedError, Status
from asgard.validation.checks import not_null

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

KINDS = ("view", "online", "set", "model", "reproduce", "prediction")


@pytest.fixture
def witness(lake: Lakehouse) -> Witness:
    return Witness(lake)


@pytest.fixture
def rows(spark: "SparkSession") -> "DataFrame":
    return values(spark, "id bigint", [[1], [2]])


def seen(witness: Witness, reference: str, count: int) -> list[dict[str, Any]]:
    """The newest commits as pynessie tells them."""
    return [
        {
            "hash": entry.commit_meta.hash_,
            "parent": entry.parent_commit_hash,
            "message": entry.commit_meta.message,
            "author": entry.commit_meta.author or "",
            "committed": entry.commit_meta.commitTime,
            "properties": entry.commit_meta.properties,
            "puts": {tuple(each.key.elements) for each in entry.operations or () if isinstance(each, Put)},
            "deletes": {tuple(each.key.elements) for each in entry.operations or () if isinstance(each, Delete)},
        }
        for entry in witness.log(reference, count)
    ]


def own(entry: LogEntry, operations: Any) -> dict[str, Any]:
    """A commit as Asgard's door tells it."""
    return {
        "hash": entry.hash,
        "parent": entry.parent,
        "message": entry.message,
        "author": entry.author,
        "committed": entry.committed,
        "properties": dict(entry.properties),
        "puts": {each.key for each in operations if each.kind == "PUT"},
        "deletes": {each.key for each in operations if each.kind == "DELETE"},
    }


def test_a_publish_is_read_back_with_its_properties_contents_and_branch(
    lake: Lakehouse, fresh: Fresh, witness: Witness, rows: "DataFrame"
) -> None:
    first, second = declared(fresh.table(), mode="append"), declared(fresh.table("gold"), mode="append")
    base, branches = witness.head("main"), list[str]()

    def work(attempt: Attempt) -> None:
        branches.append(attempt.branch)
        assert witness.references()[attempt.branch] == (RefKind.BRANCH, base)
        attempt.write(first, rows)
        attempt.write(second, rows)
        assert (
            witness.table(first.name, attempt.branch).snapshot_id
            == attempt.lake.nessie.contents(attempt.branch, [first.name])[first.name].snapshot_id
        )
        assert (first.name.layer, first.name.name) not in witness.keys("main")

    result = run_work(lake, work)
    assert witness.head("main") == result.commit
    assert not set(branches) & set(witness.references())
    (publish,) = seen(witness, "main", 1)
    record = local(lake.settings.warehouse) / "_asgard" / "runs" / result.run_id / "1.json"
    code = json.loads(record.read_bytes())
    assert publish["parent"] == base
    assert publish["author"] == lake.settings.user
    assert publish["message"] == (
        f"test: publish {', '.join(sorted(map(str, (first.name, second.name))))} (run {result.run_id})"
    )
    assert publish["properties"] == {
        "asgard.run-id": result.run_id,
        "asgard.attempt": "1",
        "asgard.job": "test",
        "asgard.code-version": code["code_version"],
        "asgard.dirty": str(code["dirty"]).lower(),
        "asgard.user": lake.settings.user,
        "asgard.kind": "publish",
        "asgard.record-sha256": hashlib.sha256(record.read_bytes()).hexdigest(),
    }
    tables = {(name.layer, name.name) for name in (first.name, second.name)}
    assert {key for key in publish["puts"] if len(key) == 2} == tables
    assert publish["deletes"] == set()
    for name in (first.name, second.name):
        content, mine = witness.table(name, "main"), lake.content(name, "main")
        table = StaticTable.from_metadata(content.metadata_location)
        snapshot = table.current_snapshot()
        assert snapshot is not None
        assert (content.id, content.metadata_location, content.snapshot_id) == (
            mine.id,
            mine.metadata_location,
            snapshot.snapshot_id,
        )
        assert (content.schema_id, content.spec_id, content.sort_order_id) == (
            table.schema().schema_id,
            table.spec().spec_id,
            table.sort_order().order_id,
        )
        with pytest.raises(NessieNotFoundException):
            witness.table(name, "main", base)


def test_log_references_keys_and_diff_are_the_same_through_both(
    lake: Lakehouse, fresh: Fresh, witness: Witness, rows: "DataFrame"
) -> None:
    kept, dropped = declared(fresh.table(), mode="append"), declared(fresh.table(), mode="append")
    base = lake.nessie.head("main")
    for table in (kept, dropped, kept):
        write_rows(lake, table, rows)
    before = lake.nessie.head("main")
    lake.nessie.commit(lake.target, before, [drop((dropped.name.layer, dropped.name.name))], "gone")
    since = takewhile(lambda each: each[0].hash != base, lake.nessie.operations("main"))
    newest = [own(*each) for each in since]  # pynessie can't read all that other tests put there
    assert newest[0]["deletes"] == {(dropped.name.layer, dropped.name.name)}
    assert len(newest) == 4
    assert seen(witness, "main", len(newest)) == newest
    assert witness.references() == {each.name: (each.kind, each.hash) for each in lake.nessie.references()}
    everything = {key: content.kind for key, content in lake.nessie.everything("main").items()}
    assert {key: kind for key, kind in witness.keys("main").items() if kind != "NAMESPACE"} == everything
    found = witness.client.get_diff("main", "main", before, lake.nessie.head("main")).diffs
    (change,) = lake.nessie.diff(f"main@{before}", "main")
    assert [(tuple(each.content_key.elements), each.from_content.id, each.to_content) for each in found] == [
        (change.key, change.before.id if change.before else "", None)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_hold_is_a_tag_at_its_commit(lake: Lakehouse, fresh: Fresh, witness: Witness, kind: str) -> None:
    commit = lake.nessie.head("main")
    name = holds.hold(lake, holds.hold_name(kind, fresh.table().name, "1"), commit)
    assert witness.references()[name] == (RefKind.TAG, commit)
    holds.release(lake, name)
    assert name not in witness.references()


def tag(witness: Witness, name: TableName, attempt: Attempt) -> None:
    witness.client.create_tag(f"release_{name.name}", "main", attempt.base)
    witness.client.create_tag(f"hold_view_{name.name}", attempt.branch, witness.head(attempt.branch))


def branch(witness: Witness, name: TableName, attempt: Attempt) -> None:
    witness.client.create_branch(f"dev_{name.name}", "main", attempt.base)
    witness.client.create_branch(f"audit_{name.name}", attempt.branch, witness.head(attempt.branch))


def unrelated_table(witness: Witness, name: TableName, attempt: Attempt) -> None:
    witness.put("main", TableName(name.layer, f"{name.name}_theirs"), witness.table(name, attempt.branch))


@pytest.mark.parametrize("action", [tag, branch, unrelated_table])
def test_a_run_is_published_whatever_is_done_beside_it(
    lake: Lakehouse,
    fresh: Fresh,
    witness: Witness,
    rows: "DataFrame",
    action: Callable[[Witness, TableName, Attempt], None],
) -> None:
    table, before = declared(fresh.table(), mode="append"), witness.references()
    heads: list[str] = []

    def work(attempt: Attempt) -> None:
        attempt.write(table, rows)
        action(witness, table.name, attempt)
        heads.append(witness.head("main"))

    result = run_work(lake, work)
    assert (result.status, result.attempt, len(heads)) == (Status.PUBLISHED, 1, 1)
    (publish,) = seen(witness, "main", 1)
    assert (publish["hash"], publish["parent"]) == (result.commit, heads[0])
    assert rows_of(lake, table.name) == [(1,), (2,)]
    theirs = {name: found for name, found in witness.references().items() if name not in before}
    assert all(table.name.name in name for name in theirs), "the run's own branch is gone"
    assert len(theirs) == (0 if action is unrelated_table else 2)
    if action is unrelated_table:
        assert (table.name.layer, f"{table.name.name}_theirs") in witness.keys("main")
    for name in theirs:
        witness.drop(name)


def test_an_audit_branch_that_is_dropped_while_its_run_works(
    lake: Lakehouse, fresh: Fresh, witness: Witness, rows: "DataFrame"
) -> None:
    table, before = declared(fresh.table(), mode="append"), witness.head("main")
    ids: list[str] = []

    def work(attempt: Attempt) -> None:
        attempt.write(table, rows)
        ids.append(attempt.run_id)
        if len(ids) == 1:
            witness.drop(attempt.branch)

    with pytest.raises(RunError, match="A branch vanished while run"):
        run_work(lake, work)
    assert witness.head("main") == before
    result = run_work(lake, work, ids[0])
    assert (result.status, result.attempt) == (Status.PUBLISHED, 2)
    assert seen(witness, "main", 1)[0]["properties"]["asgard.run-id"] == ids[0]
    assert rows_of(lake, table.name) == [(1,), (2,)]


def test_the_kept_branch_of_a_failed_audit_can_be_read_and_dropped(
    lake: Lakehouse, spark: "SparkSession", fresh: Fresh, witness: Witness, rows: "DataFrame"
) -> None:
    table = declared(fresh.table(), mode="append", checks=(not_null("id"),))
    with pytest.raises(RunAuditFailedError) as caught:
        write_rows(lake, table, values(spark, "id bigint", [[1], [None]]))
    kept = caught.value.result.branch
    assert kept is not None
    assert witness.references()[kept][0] is RefKind.BRANCH
    assert (table.name.layer, table.name.name) in witness.keys(kept)
    witness.drop(kept)
    assert write_rows(lake, table, rows).status is Status.PUBLISHED
    assert not [name for name in witness.references() if name.startswith(f"audit_{caught.value.result.run_id}")]


def test_tags_branches_and_merges_leave_registered_views_whole(
    lake: Lakehouse, spark: "SparkSession", fresh: Fresh, witness: Witness
) -> None:
    from asgard.features import register

    table, suffix = gold(fresh), fresh.table().name
    view = view_of(table)
    put(lake, table, [(1, 0, 1.0, 1)])
    (pinned,) = registered(lake, view)
    head, tag, branch = lake.nessie.head("main"), f"release_{suffix}", f"dev_{suffix}"
    witness.client.create_tag(tag, "main", head)
    witness.client.create_branch(branch, "main", head)
    lake.spark.sql(
        f"INSERT INTO lake.gold.`{table.name.name}@{branch}` "
        f"SELECT 2, event_timestamp, created_at, 2.0D, 2 FROM lake.gold.`{table.name.name}@{branch}`"
    )
    assert lake.frame(table.name, "main").count() == 1
    witness.client.merge(branch, "main")
    assert lake.frame(table.name, "main").count() == 2
    assert lake.frame(table.name, tag).count() == 1
    registered_now = register.registered_views(lake, [view.name])[0]
    assert registered_now.table.snapshot_id == pinned.table.snapshot_id
    (hold,) = holds.holds_of(lake, "view", f"{view.name}_")
    witness.drop(hold)  # a mistake, made good:
    registered(lake, view)
    assert list(holds.holds_of(lake, "view", f"{view.name}_").values()) == [lake.nessie.head("main")]
    for name in (tag, branch):
        witness.drop(name)


def test_the_recipe_of_the_docs(
    lake: Lakehouse,
    fresh: Fresh,
    witness: Witness,
    rows: "DataFrame",
    repository_root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (repository_root / "docs" / "beside-other-tools.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^```python no-run\n(import pynessie\n.*?)^```$", text, re.MULTILINE | re.DOTALL)
    table, before = declared(fresh.table("gold"), mode="append"), witness.references()
    result = write_rows(lake, table, rows)
    for shown, here in (("http://localhost:19120", lake.nessie.uri), ("sales_daily", table.name.name)):
        assert shown in recipe
        recipe = recipe.replace(shown, here)
    capsys.readouterr()
    exec(compile(recipe, "beside-other-tools.md", "exec"), {})  # noqa: S102 - our own documents
    content = lake.content(table.name, "main")
    assert capsys.readouterr().out.splitlines() == [
        f"{lake.settings.user} {result.commit} {result.run_id}",
        f"{content.snapshot_id} {content.metadata_location}",
    ]
    assert witness.references() == {**before, "main": (RefKind.BRANCH, result.commit)}
