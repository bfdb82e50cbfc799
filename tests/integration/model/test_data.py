"""What a model's version keeps of the lakehouse, how long, and what is noticed when it is gone."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from tests.conftest import Fresh
from tests.support.registered_models import artifact, register
from tests.support.registries import empty_registry
from tests.support.runs import declared, write_rows
from tests.support.turns import Turns

from asgard.cli.app import main
from asgard.common.names import CommitHash, SnapshotId
from asgard.lakehouse.catalog.holds import hold, hold_name, holds_of, release
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.nessie import Reference
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.model.gates import PromotionRefusedError
from asgard.model.ledger.holds import (
    ABANDONED_AFTER,
    Settled,
    held_meanwhile,
    hold_version,
    problems_with_data,
    release_abandoned,
    require_data,
    settle_holds,
)
from asgard.model.ledger.registered import RegisteredModel
from asgard.model.lifecycle import Ledger, Stage, Transition, TransitionKind, Version
from asgard.model.registry import Registry
from asgard.model.versions import Binding, BoundView, ModelVersion

NOW = datetime(2024, 6, 1, tzinfo=UTC)
GRACE = timedelta(days=30)


@pytest.fixture
def binding(lake: Lakehouse, fresh: Fresh) -> Binding:
    """A version learned from one published snapshot."""
    return Binding(views=(publish(lake, fresh),), code_version="c0de")


@pytest.fixture
def name(fresh: Fresh) -> str:
    """A model that no other test has."""
    return fresh.table().name


def publish(lake: Lakehouse, fresh: Fresh) -> BoundView:
    table = declared(fresh.table("gold"), mode="append")
    write_rows(lake, table, lake.spark.range(3))
    at = resolve(lake, None)
    content = lake.content(table.name, str(at))
    return BoundView(
        "metrics", 1, table.name, content.snapshot_id, at.commit, content.metadata_location, target=at.reference
    )


def model_of(name: str, binding: Binding, *lives: tuple[str, timedelta | None]) -> RegisteredModel:
    """A model whose versions were in Production and archived so long ago, or are in use."""
    ledger = Ledger()
    for text, archived in lives:
        for kind, to, when in (
            (TransitionKind.REGISTER, Stage.NONE, NOW - timedelta(days=90)),
            *([(TransitionKind.PROMOTE, Stage.STAGING, NOW - timedelta(days=90))] if archived else ()),
            *([(TransitionKind.PROMOTE, Stage.PRODUCTION, NOW - timedelta(days=90))] if archived else ()),
            *([(TransitionKind.ARCHIVE, Stage.ARCHIVED, NOW - archived)] if archived else ()),
        ):
            version = Version.parse(text)
            entry = ledger.propose(kind, version, to, who="ann", when=when.isoformat(), mlflow_version=text)
            ledger = ledger.then(entry)
    versions = [
        ModelVersion(name, version, str(version), stage, "run", NOW.isoformat(), "ann", "", binding)
        for version, stage in ledger.stages.items()
    ]
    return RegisteredModel(name, ledger, tuple(versions))


def held(lake: Lakehouse, name: str) -> set[str]:
    return {each.name.removeprefix(f"hold_model_{name}_") for each in lake.nessie.references(f"hold_model_{name}_")}


def settle(lake: Lakehouse, model: RegisteredModel) -> Settled:
    """With nobody else about."""
    return settle_holds(lake, model, lambda: model, NOW)


def back(ledger: Ledger) -> Transition:
    """The rollback of 1.0.0."""
    version = Version(1, 0, 0)
    return ledger.propose(TransitionKind.ROLLBACK, version, Stage.PRODUCTION, who="ann", when=NOW.isoformat())


class Watched:
    """Nessie, as one actor uses it: each call that lists or changes references is a step."""

    def __init__(self, lake: Lakehouse, step: Callable[[], None]) -> None:
        self._nessie, self._step = lake.nessie, step

    def __getattr__(self, name: str) -> Any:
        if name not in ("references", "create", "delete"):
            return getattr(self._nessie, name)

        def call(*arguments: Any) -> Any:
            self._step()
            found = getattr(self._nessie, name)(*arguments)
            return list(found) if name == "references" else found

        return call


def watched(lake: Lakehouse, step: Callable[[], None]) -> Lakehouse:
    """The lake of one actor."""
    seen = Lakehouse(lake.settings)
    seen.nessie = cast(Any, Watched(lake, step))
    return seen


class TestHolds:
    def test_what_is_over_is_let_go_and_nothing_else(
        self, lake: Lakehouse, fresh: Fresh, binding: Binding, name: str
    ) -> None:
        day = timedelta(days=1)
        model = model_of(name, binding, ("1.0.0", GRACE + day), ("1.0.1", GRACE - day), ("1.0.2", None))
        newer = replace(binding, views=(publish(lake, fresh),))
        for text in ("1.0.0", "1.0.1", "1.0.2", "1.0.3"):
            hold_version(lake, name, Version.parse(text), binding)
        hold_version(lake, name, Version.parse("1.0.2"), newer)  # of one who wanted this number, and got another
        hold_version(lake, f"{name}_1", Version(1, 0, 0), binding)  # of another model
        commit, lost = (each.views[0].commit[:16] for each in (binding, newer))
        done = settle(lake, model)
        gone = {f"1.0.0-{commit}", f"1.0.2-{lost}"}
        assert {each.removeprefix(f"hold_model_{name}_") for each in done.dropped} == gone
        assert held(lake, name) == {*(f"1.0.{patch}-{commit}" for patch in (1, 2, 3)), f"1_1.0.0-{commit}"}
        assert settle(lake, model) == Settled((), (), ())

    def test_a_hold_that_is_dropped_while_it_is_looked_at_is_made_again(
        self, lake: Lakehouse, binding: Binding, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        look, dropped = lake.nessie.reference, []

        def drop_first(reference: str) -> Reference:
            if not dropped:
                dropped.append(reference)
                lake.nessie.delete(look(reference))
            return look(reference)

        hold_version(lake, name, Version(1, 0, 0), binding)
        monkeypatch.setattr(lake.nessie, "reference", drop_first)
        hold_version(lake, name, Version(1, 0, 0), binding)
        assert len(dropped) == 1
        assert held(lake, name) == {f"1.0.0-{binding.views[0].commit[:16]}"}

    def test_the_grace_is_a_setting(self, lake: Lakehouse, binding: Binding, name: str) -> None:
        model = model_of(name, binding, ("1.0.0", timedelta(hours=3)))
        commit = binding.views[0].commit[:16]
        assert settle(Lakehouse(replace(lake.settings, model_hold_grace="4h")), model).made
        assert held(lake, name) == {f"1.0.0-{commit}"}
        assert settle(Lakehouse(replace(lake.settings, model_hold_grace="2h")), model).dropped
        assert held(lake, name) == set()

    def test_what_is_missing_is_made_and_what_can_not_be_is_said(
        self, lake: Lakehouse, binding: Binding, name: str
    ) -> None:
        model = model_of(name, binding, ("1.0.0", None), ("1.0.1", None))
        elsewhere = replace(binding, views=(replace(binding.views[0], commit=CommitHash("ab" * 32)),))
        lost = replace(model.versions[0], binding=elsewhere)
        done = settle(lake, replace(model, versions=(lost, model.versions[1])))
        assert held(lake, name) == {f"1.0.1-{binding.views[0].commit[:16]}"}
        assert [each.removeprefix(f"hold_model_{name}_") for each in done.made] == sorted(held(lake, name))
        (problem,) = done.problems
        assert problem.startswith(f"{name}@1.0.0: its training data can't be held: ")

    def test_what_a_damaged_version_learned_from_is_held_on(self, lake: Lakehouse, binding: Binding, name: str) -> None:
        model = model_of(name, binding, ("1.0.0", None), ("1.0.1", 2 * GRACE))
        damaged = tuple(replace(each, binding=Binding(), problem="edited") for each in model.versions)
        for each in model.versions:
            hold_version(lake, name, each.version, binding)
        settle(lake, replace(model, versions=(), damaged=damaged))
        assert held(lake, name) == {f"1.0.0-{binding.views[0].commit[:16]}"}

    def test_a_killed_reproduction_is_let_go_after_a_week(self, lake: Lakehouse, binding: Binding, name: str) -> None:
        (version,) = model_of(name, binding, ("1.0.0", None)).versions
        now = datetime.now(UTC)
        commit = binding.views[0].commit
        moments = {days: f"{now - ABANDONED_AFTER + timedelta(days=days):%Y%m%dt%H%M%S}" for days in (-1, 1)}
        dead, slow = (hold_name("reproduce", name, f"1.0.0-{at}-0badcafe-{commit[:16]}") for at in moments.values())
        for each in (dead, slow):
            hold(lake, each, commit)
        with held_meanwhile(lake, version):
            alive = {each for each in holds_of(lake, "reproduce") if name in each} - {dead, slow}
            assert len(alive) == 1
            assert [each for each in release_abandoned(lake, now) if name in each] == [dead]
            assert {each for each in holds_of(lake, "reproduce") if name in each} == {slow, *alive}
        release(lake, slow)
        assert not [each for each in holds_of(lake, "reproduce") if name in each]

    def test_a_rollback_holds_again_first(self, lake: Lakehouse, binding: Binding, name: str) -> None:
        (version,) = model_of(name, binding, ("1.0.0", 2 * GRACE)).versions
        require_data(lake, version)
        assert held(lake, name) == {f"1.0.0-{binding.views[0].commit[:16]}"}


class TestRollbackAgainstAnotherMover:
    """1.0.0 is archived, and its grace is over; one brings it back, another drops what is over."""

    def test_every_order_of_their_steps_leaves_it_held(self, lake: Lakehouse, binding: Binding, fresh: Fresh) -> None:
        orders = list(combinations(range(9), 4))
        assert len(orders) == 126
        lost = [order for order in orders if not self.ends_held(lake, binding, fresh, order)]
        assert lost == []

    def ends_held(self, lake: Lakehouse, binding: Binding, fresh: Fresh, of_other: tuple[int, ...]) -> bool:
        """Whether the hold is there after both; of the first nine steps the other mover does these."""
        archived = model_of(fresh.table().name, binding, ("1.0.0", 2 * GRACE))
        ledgers = [archived.ledger]
        turns = Turns([1 if step in of_other else 0 for step in range(9)])

        def read(actor: int) -> RegisteredModel:
            turns.step(actor)
            ledger = ledgers[-1]
            versions = (replace(archived.versions[0], stage=ledger.stages[Version(1, 0, 0)]),)
            return RegisteredModel(archived.name, ledger, versions)

        def roll_back() -> None:
            mine = watched(lake, lambda: turns.step(0))
            with turns.of(0):
                hold_version(mine, archived.name, Version(1, 0, 0), binding)
                turns.step(0)
                ledgers.append(ledgers[-1].then(back(ledgers[-1])))
                settle_holds(mine, read(0), lambda: read(0), NOW)

        def let_go() -> None:
            with turns.of(1):
                settle_holds(watched(lake, lambda: turns.step(1)), read(1), lambda: read(1), NOW)

        hold_version(lake, archived.name, Version(1, 0, 0), binding)
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(roll_back), pool.submit(let_go)]:
                done.result(timeout=60)
        return held(lake, archived.name) == {f"1.0.0-{binding.views[0].commit[:16]}"}

    def test_on_the_command_line(
        self, lake: Lakehouse, binding: Binding, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uri = empty_registry(tmp_path)
        registry = Registry.of(replace(lake.settings, mlflow_tracking_uri=uri))
        for number in range(2):
            made = register(registry, name, tmp_path / str(number), made=artifact(b"%d" % number), binding=binding)
            hold_version(lake, name, made.version, binding)
            for stage in (Stage.STAGING, Stage.PRODUCTION):
                registry.move(name, made.version, stage)
        hold_of_first = f"1.0.0-{binding.views[0].commit[:16]}"
        later = datetime.now(UTC) + 2 * GRACE
        early = registry.model(name)
        dropped = []

        def other_mover(failpoint: str) -> None:
            if failpoint == "before-model-transition":
                done = settle_holds(lake, registry.model(name), lambda: registry.model(name), later)
                dropped.extend(each.removeprefix(f"hold_model_{name}_") for each in done.dropped)

        monkeypatch.setattr("asgard.model.ledger.transitions.failpoint", other_mover)
        options = ("--dir", str(lake.settings.project_dir), "--set", f"mlflow_tracking_uri={uri}")
        assert main(["model", "rollback", name, *options]) == 0
        assert dropped == [hold_of_first]
        assert hold_of_first in held(lake, name)
        settle_holds(lake, early, lambda: registry.model(name), later)  # one who read before the rollback
        assert hold_of_first in held(lake, name)


class TestData:
    def test_what_is_published_is_right(self, lake: Lakehouse, binding: Binding) -> None:
        assert problems_with_data(lake, binding) == []

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"snapshot_id": SnapshotId(7)}, "had snapshot"),
            ({"commit": CommitHash("ab" * 32)}, "Nessie has no"),
            ({"metadata_location": "file:///nowhere/m.json"}, "is missing or incomplete"),
        ],
    )
    def test_what_was_never_published_is_noticed(
        self, lake: Lakehouse, binding: Binding, changed: dict[str, object], said: str
    ) -> None:
        (problem,) = problems_with_data(lake, Binding(views=(replace(binding.views[0], **changed),)))  # type: ignore[arg-type]
        assert str(binding.views[0].table) in problem
        assert said in problem

    def test_files_that_are_gone_are_noticed(self, lake: Lakehouse, binding: Binding, name: str) -> None:
        files = data_files(binding)
        files[0].unlink()
        (problem,) = problems_with_data(lake, binding)
        assert f"1 of {len(files)} data files are gone" in problem
        (version,) = model_of(name, binding, ("1.0.0", 2 * GRACE)).versions
        with pytest.raises(PromotionRefusedError, match=f"What {name}@1.0.0 was trained on is missing"):
            require_data(lake, version)

    def test_a_record_that_was_changed_is_noticed(self, lake: Lakehouse, binding: Binding) -> None:
        run_id = run_of(lake, binding)
        (path,) = (folder(lake) / "_asgard" / "runs" / run_id).glob("1.json")
        path.write_text(path.read_text().replace('"passed": true', '"passed": false') + " ")
        (problem,) = problems_with_data(lake, binding)
        assert f"run {run_id}, which made it, has no audited publish" in problem

    def test_a_table_of_labels_is_looked_at_too(self, lake: Lakehouse, binding: Binding, fresh: Fresh) -> None:
        labels = publish(lake, fresh)
        noted = {"source": str(labels.table), "commit": labels.commit, "snapshot_id": labels.snapshot_id}
        learned = replace(binding, details={"labels": noted})
        assert problems_with_data(lake, learned) == []
        (file, *_) = data_files(Binding(views=(labels,)))
        file.unlink()
        (problem,) = problems_with_data(lake, learned)
        assert problem.startswith(f"labels ({labels.table}): 1 of ")
        assert str(file) in problem


class TestCommandLine:
    def test_promotions_look_at_the_data_and_rollbacks_too(
        self,
        lake: Lakehouse,
        fresh: Fresh,
        name: str,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        uri = empty_registry(tmp_path)

        def run(*words: str) -> tuple[int, str]:
            options = ("--dir", str(lake.settings.project_dir), "--set", f"mlflow_tracking_uri={uri}")
            code = main(["model", *words, *options])
            captured = capsys.readouterr()
            return code, captured.out + captured.err

        registry = Registry.of(replace(lake.settings, mlflow_tracking_uri=uri))
        bindings = [Binding(views=(publish(lake, fresh),)) for _ in range(3)]
        for number, binding in enumerate(bindings):
            register(
                registry,
                name,
                tmp_path / str(number),
                made=artifact(b"%d" % number),
                binding=binding,
                hold=lambda version, binding=binding: hold_version(lake, name, version, binding),
            )
        commits = [binding.views[0].commit[:16] for binding in bindings]
        assert held(lake, name) == {f"1.0.{number}-{commit}" for number, commit in enumerate(commits)}
        for version in ("1.0.0", "1.0.1"):
            assert run("promote", f"{name}@{version}", "--to", "staging")[0] == 0
            assert run("promote", f"{name}@{version}", "--to", "production")[0] == 0
        assert len(held(lake, name)) == 3  # the archived one's too, for its grace
        for binding in (bindings[0], bindings[2]):
            for file in data_files(binding):
                file.unlink()
        code, printed = run("promote", f"{name}@1.0.2", "--to", "staging")
        assert code == 1
        assert "audit passed: metrics" in printed
        code, printed = run("rollback", name)
        assert code == 1
        assert f"What {name}@1.0.0 was trained on is missing: nothing was moved." in printed
        code, printed = run("list", name, "--json")
        stages = {each["version"]: each["stage"] for each in json.loads(printed)["versions"]}
        assert stages == {"1.0.0": "Archived", "1.0.1": "Production", "1.0.2": "None"}
        killed = hold_name("reproduce", name, f"1.0.0-20240101t000000-0badcafe-{commits[1]}")
        hold(lake, killed, bindings[1].views[0].commit)
        release(lake, hold_name("model", name, f"1.0.1-{commits[1]}"))
        assert run("promote", f"{name}@1.0.2", "--to", "archived")[0] == 0
        assert len(held(lake, name)) == 3
        assert killed not in holds_of(lake, "reproduce")
        nowhere = ("--set", "nessie_uri=http://127.0.0.1:9")
        code, printed = run("promote", f"{name}@1.0.1", "--to", "archived", *nowhere)
        assert code == 0
        assert f"holds of {name} were not updated" in printed


def folder(lake: Lakehouse) -> Path:
    return Path(urlsplit(lake.settings.warehouse).path)


def data_files(binding: Binding) -> list[Path]:
    table = Path(urlsplit(binding.views[0].metadata_location).path).parent.parent
    return sorted(table.glob("data/**/*.parquet"))


def run_of(lake: Lakehouse, binding: Binding) -> str:
    entry = next(each for each in lake.nessie.log(lake.target) if each.hash == binding.views[0].commit)
    return entry.properties["asgard.run-id"]
