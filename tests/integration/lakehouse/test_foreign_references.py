"""What others made in Nessie and Redis under names like Asgard's own is left alone, and gets in nobody's way."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import Fresh
from tests.support.customer_views import frame, gold, put, view_of
from tests.support.online import OnlineView

from asgard.common.errors import AsgardError
from asgard.common.names import BranchName, CommitHash
from asgard.features import register
from asgard.features.views import FeatureView
from asgard.lakehouse.catalog import holds
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import Content, Reference, RefKind, put_namespace
from asgard.lakehouse.catalog.nessie import put as put_operation
from asgard.lakehouse.catalog.registrations import Registrations
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.runs.run import RunRequest, execute
from asgard.serving.sync import removal

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

KINDS = ("view", "online", "set", "model", "reproduce", "prediction")


def branch_with_a_commit(lake: Lakehouse, name: str) -> Reference:
    """A branch of somebody else's, with work of theirs."""
    made = lake.nessie.create(RefKind.BRANCH, BranchName(name), lake.nessie.head("main"), "main")
    lake.nessie.commit(made.name, made.hash, [put_namespace(f"n_{made.hash[:8]}")], "somebody's work")
    return lake.nessie.reference(name)


def tag_elsewhere(lake: Lakehouse, name: str, not_at: str) -> Reference:
    """A tag of somebody else's, at another commit than a hold's."""
    commit = next(each.hash for each in lake.nessie.log("main") if each.hash != not_at)
    return lake.nessie.create(RefKind.TAG, BranchName(name), commit, "main")


def references(lake: Lakehouse, prefix: str) -> dict[str, Reference]:
    """As Nessie lists them."""
    return {each.name: each for each in lake.nessie.references(prefix)}


@dataclass
class Views:
    """Views of one table that moves between two snapshots, and what others made beside their holds.

    Attributes:
        states: of the table.
        foreign: references that must stay as they are.
        said: what applies told.
    """

    lake: Lakehouse
    views: list[FeatureView]
    states: list[Content]
    foreign: dict[str, Reference] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    publishes: int = 0

    @classmethod
    def of(cls, lake: Lakehouse, fresh: Fresh, count: int = 2) -> "Views":
        """A table of two snapshots; nothing is registered."""
        table = gold(fresh)
        states = []
        for day in (0, 1):
            put(lake, table, [(1, day, 1.0, 1)])
            states.append(lake.content(table.name, "main"))
        return cls(
            lake, [replace(view_of(table), name=f"v{place}_{table.name.name}") for place in range(count)], states
        )

    def again(self, number: int) -> "Views":
        """The same table, with views that nobody registered yet."""
        views = [replace(each, name=f"e{number}_{place}_{each.table.name}") for place, each in enumerate(self.views)]
        return Views(self.lake, views, self.states)

    def publish(self) -> None:
        """Another snapshot of the table, at a new commit."""
        self.publishes += 1
        name = self.views[0].table
        now = self.lake.content(name, "main").snapshot_id
        other = next(each for each in self.states if each.snapshot_id != now)
        operation = put_operation((name.layer, name.name), other, is_new=False)
        self.lake.nessie.commit(BranchName("main"), self.lake.nessie.head("main"), [operation], "publish")

    def apply(self, *, prune: int | None = None) -> None:
        """Register all views but one at what is published."""
        out = [self.views[prune].name] if prune is not None else []
        views = [each for each in self.views if each.name not in out]
        changes = register.plan(self.lake, views, resolve(self.lake, None), prune=out)
        register.apply(self.lake, "tests", changes, self.said.append)

    def next_hold(self, view: FeatureView, ahead: int) -> str:
        """The name that the hold of a view's registration has or will have."""
        newest = Registrations(self.lake.storage).newest("view").get(view.name)
        number = max(1, (newest.number if newest else 0) + ahead)
        return holds.hold_name("view", view.name, f"{number}-{self.lake.nessie.head('main')[:16]}")

    def own_hold(self, view: FeatureView) -> str:
        """The name of the hold that a view has, or would have."""
        newest = Registrations(self.lake.storage).newest("view").get(view.name)
        if newest is None:
            return self.next_hold(view, 1)
        return holds.hold_name("view", view.name, f"{newest.number}-{newest.commit[:16]}")

    def made_by_others(self, name: str, *, branch: bool) -> None:
        """A branch with a commit of its own, or a tag, if the name is free."""
        if name in references(self.lake, name):
            return
        newest = Registrations(self.lake.storage).newest("view").values()
        not_at = next(
            (each.commit for each in newest if name.endswith(each.commit[:16])), self.lake.nessie.head("main")
        )
        made = branch_with_a_commit(self.lake, name) if branch else tag_elsewhere(self.lake, name, not_at)
        self.foreign[name] = made

    def lose_hold(self, view: FeatureView) -> None:
        """Somebody drops the hold of a view."""
        for name in holds.holds_of(self.lake, "view", f"{view.name}_"):
            self.lake.nessie.delete(self.lake.nessie.reference(name))

    def die_before_registration(self, view: FeatureView) -> None:
        """An apply that was killed after it made its hold."""
        name, head = BranchName(self.next_hold(view, 1)), self.lake.nessie.head("main")
        holds.hold(self.lake, name, head)

    def expect_foreign_untouched(self) -> None:
        """Every reference that others made is what it was."""
        for name, reference in self.foreign.items():
            assert self.lake.nessie.reference(name) == reference

    def expect_held(self, *, exactly: bool) -> None:
        """A tag keeps the commit of each registered view; after an apply, there is one, and none for others.

        Holds of numbers that are not registered yet may be another apply's, which is about to register them.
        """
        newest = Registrations(self.lake.storage).newest("view")
        for view in self.views:
            there = references(self.lake, f"hold_view_{view.name}_")
            own = {name: each for name, each in there.items() if each.kind is RefKind.TAG and name not in self.foreign}
            registered = newest.get(view.name)
            wanted = [registered.commit] if registered is not None and not registered.removed else []
            assert set(wanted) <= {each.hash for each in own.values()}
            if exactly and registered is not None:
                start = f"hold_view_{view.name}_"
                numbers = {name: int(name.removeprefix(start).partition("-")[0]) for name in own}
                assert [own[name].hash for name in own if numbers[name] <= registered.number] == wanted

    def drop_all(self) -> None:
        """So that the lake of the tests stays small."""
        register.apply(
            self.lake,
            "tests",
            register.plan(self.lake, [], resolve(self.lake, None), prune=[each.name for each in self.views]),
        )
        for name in self.foreign:
            self.lake.nessie.delete(self.lake.nessie.reference(name))


@pytest.fixture(scope="module")
def made(lake: Lakehouse, spark: "SparkSession") -> Views:
    """A published table."""
    return Views.of(lake, Fresh())


@pytest.fixture
def shop(made: Views) -> Iterator[Views]:
    """Views that are registered, of the module's table."""
    found = made.again(NUMBERS.pop())
    found.apply()
    yield found
    found.drop_all()


NUMBERS = list(range(100_000))
STEP = st.one_of(
    st.tuples(st.just("publish")),
    st.tuples(st.just("apply"), st.sampled_from([None, None, 0, 1])),
    st.tuples(st.just("next"), st.integers(0, 1), st.integers(-1, 2), st.booleans()),
    st.tuples(st.just("own"), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("second"), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("lose"), st.integers(0, 1)),
    st.tuples(st.just("die"), st.integers(0, 1)),
)


def run_steps(made: Views, steps: list[tuple]) -> None:  # type: ignore[type-arg]
    """Any order of what others do and applies: nothing foreign is lost, and everything registered is held."""
    found = made.again(NUMBERS.pop())
    lost = False
    for kind, *rest in [*steps, ("publish",), ("apply", None)]:
        match kind:
            case "publish":
                found.publish()
            case "apply":
                found.apply(prune=rest[0])
                lost = False
            case "next":
                found.made_by_others(found.next_hold(found.views[rest[0]], rest[1]), branch=rest[2])
            case "own":
                found.made_by_others(found.own_hold(found.views[rest[0]]), branch=rest[1])
            case "second":
                found.made_by_others(f"{found.next_hold(found.views[rest[0]], 1)}.2", branch=rest[1])
            case "lose":
                found.lose_hold(found.views[rest[0]])
                lost = True
            case "die":
                found.die_before_registration(found.views[rest[0]])
        found.expect_foreign_untouched()
        if not lost:
            found.expect_held(exactly=kind == "apply")
    found.drop_all()


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(steps=st.lists(STEP, min_size=3, max_size=7))
def test_nothing_foreign_is_lost_and_every_registered_view_is_held(made: Views, steps: list[tuple]) -> None:  # type: ignore[type-arg]
    run_steps(made, steps)


@pytest.mark.soak
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEP, min_size=3, max_size=14))
def test_longer_orders(made: Views, steps: list[tuple]) -> None:  # type: ignore[type-arg]
    run_steps(made, steps)


def test_a_branch_that_has_the_name_of_a_hold_outlives_it(shop: Views) -> None:
    view = shop.views[0]
    shop.lose_hold(view)
    shop.made_by_others(shop.own_hold(view), branch=True)
    shop.publish()
    shop.apply()
    shop.expect_foreign_untouched()
    shop.expect_held(exactly=True)
    (name,) = shop.foreign
    assert any(
        f"branch {name}" in line and "no record of making it" in line and "Rename or drop" in line for line in shop.said
    )


def test_a_tag_that_has_the_name_of_the_next_hold_stops_no_apply(shop: Views) -> None:
    view = shop.views[0]
    shop.publish()
    shop.made_by_others(shop.next_hold(view, 1), branch=False)
    shop.apply()
    shop.expect_foreign_untouched()
    shop.expect_held(exactly=True)
    (name,) = shop.foreign
    assert any(f"tag {name}" in line and f"The hold is named {name}.2" in line for line in shop.said)
    said = len(shop.said)
    shop.publish()
    shop.apply()
    shop.expect_held(exactly=True)
    assert any(name in line for line in shop.said[said:])


def test_a_tag_at_a_registered_commit_under_another_name_is_not_a_hold(shop: Views) -> None:
    before = shop.lake.nessie.reference(shop.own_hold(shop.views[0]))
    shop.publish()
    name = shop.next_hold(shop.views[0], 0)  # the registration's number, and another commit's digits
    shop.foreign[name] = shop.lake.nessie.create(RefKind.TAG, BranchName(name), before.hash, "main")
    for _ in range(2):
        shop.apply()
        shop.publish()
    shop.expect_foreign_untouched()


def test_a_hold_without_a_record_is_known_by_its_registration(shop: Views) -> None:
    for entry in shop.lake.storage.list("holds/view"):
        if shop.views[0].name in entry.path:
            shop.lake.storage.delete(entry.path)  # as holds were before there were records
    shop.publish()
    shop.apply()
    shop.expect_held(exactly=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_hold_of_any_kind_is_made_beside_what_others_have_and_dropped_alone(
    lake: Lakehouse, spark: "SparkSession", made: Views, fresh: Fresh, kind: str
) -> None:
    head = lake.nessie.head("main")
    name = holds.hold_name(kind, fresh.table().name, f"1.0.0-{head[:16]}")
    said: list[str] = []
    branch, tag = branch_with_a_commit(lake, name), tag_elsewhere(lake, f"{name}.2", head)
    own = holds.hold(lake, name, head, say=said.append)
    assert own == f"{name}.3"
    assert holds.base_name(own) == name
    assert holds.hold(lake, name, head) == own
    there = [f"branch {name}", f"tag {name}.2"]
    assert [each.partition(" has ")[0] for each in said] == there
    assert references(lake, name) == {
        name: branch,
        tag.name: tag,
        own: Reference(own, RefKind.TAG, CommitHash(head)),
    }
    assert holds.holds_of(lake, kind, name.split("_", 2)[2]) == {own: head}
    for each in (name, tag.name, own, own):
        holds.release(lake, BranchName(each), said.append)
    assert references(lake, name) == {name: branch, tag.name: tag}
    assert [each.partition(" has ")[0] for each in said if "it is kept" in each] == there * 2
    assert not [entry for entry in lake.storage.list(f"holds/{kind}") if name in entry.path]
    for each in (branch, tag):
        lake.nessie.delete(each)


def test_a_hold_that_moved_is_not_ours_any_more(lake: Lakehouse, made: Views, fresh: Fresh) -> None:
    head = lake.nessie.head("main")
    name = holds.hold(lake, holds.hold_name("set", fresh.table().name, "0"), head)
    lake.nessie.delete(lake.nessie.reference(name))
    moved = tag_elsewhere(lake, name, head)
    holds.release(lake, name)
    assert lake.nessie.reference(name) == moved
    lake.nessie.delete(moved)


def test_a_commit_that_is_gone_leaves_no_record(lake: Lakehouse, made: Views, fresh: Fresh) -> None:
    name = holds.hold_name("set", fresh.table().name, "0")
    with pytest.raises(AsgardError):
        holds.hold(lake, name, CommitHash("0123456789abcdef" * 4))
    assert not [entry for entry in lake.storage.list("holds/set") if name in entry.path]


def test_a_sync_leaves_foreign_holds_and_keys_alone(lake: Lakehouse, spark: "SparkSession", fresh: Fresh) -> None:
    online = OnlineView(lake, fresh.table("gold").name)
    online.append([(1, 0, 1.0, 1), (2, 0, 2.0, 2)])
    online.register()
    start, client = online.store.keys(online.view.name).start.decode(), online.store.client
    foreign = {f"{start}{end}": end for end in ("notes", "7", "0badcafe:7", "state:old")}
    client.mset(foreign)
    client.hset(f"{start}settings", mapping={"theirs": "1"})
    prefix = f"hold_online_{online.view.name}_{online.store.owner}-"
    branch, tag = (
        branch_with_a_commit(lake, f"{prefix}0123456789abn9"),
        tag_elsewhere(lake, f"{prefix}0123456789abn8", ""),
    )
    online.sync()
    online.append([(1, 1, 3.0, 3)])
    online.sync(full=True)
    online.replace([(2, 2, 2.5, 2)])
    online.sync()

    def expect_foreign() -> None:
        assert client.mget(list(foreign)) == [value.encode() for value in foreign.values()]
        assert client.hgetall(f"{start}settings") == {b"theirs": b"1"}
        assert {name: references(lake, prefix)[name] for name in (branch.name, tag.name)} == {
            branch.name: branch,
            tag.name: tag,
        }

    expect_foreign()
    assert online.served([1, 2]) == online.published()
    assert len(holds.holds_of(lake, "online", f"{online.view.name}_")) == 1
    offline = view_of(online.table)
    register.apply(lake, "tests", register.plan(lake, [offline], resolve(lake, None)))
    removal.remove(lake, online.store, online.view.name, lambda _line: None)
    expect_foreign()
    assert set(client.scan_iter(f"{start}*")) == {name.encode() for name in (*foreign, f"{start}settings")}
    assert set(references(lake, prefix)) == {branch.name, tag.name}
    for each in (branch, tag):
        lake.nessie.delete(each)


def test_an_audit_branch_that_somebody_commits_to_after_the_publish_stays(
    lake: Lakehouse, spark: "SparkSession", fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asgard.lakehouse.runs import run

    table, said, moved = gold(fresh), list[str](), list[Reference]()

    def publish_before_a_commit(attempt: run.Attempt, *rest: Any) -> Any:
        published = publish(attempt, *rest)
        lake.nessie.commit(attempt.branch, lake.nessie.head(attempt.branch), [put_namespace("theirs")], "theirs")
        moved.append(lake.nessie.reference(attempt.branch))
        return published

    publish = run.publish
    monkeypatch.setattr(run, "publish", publish_before_a_commit)
    rows = frame(lake, [(1, 0, 1.0, 1)])
    execute(lake, RunRequest("test"), lambda attempt: attempt.write(table, rows), said.append)
    assert lake.nessie.reference(moved[0].name) == moved[0]
    assert any("did not make, so it is kept" in line for line in said)
    assert not lake.nessie.has_namespace("main", "theirs")
    lake.nessie.delete(moved[0])
