"""The registry on a real MLflow, over HTTP and on its database: moves, races of processes, deaths, damage."""

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from mlflow.exceptions import MlflowException
from tests.support import registered_models as models
from tests.support.registered_models import SIGNATURE, artifact, register

from asgard.cli.app import main
from asgard.common.errors import ArtifactError, ConflictError, ServiceError, ServiceUnreachableError, UsageError
from asgard.common.settings import Settings, load_settings, python_environment
from asgard.local.services import services
from asgard.model.artifacts.signature import Column, Signature
from asgard.model.gates import BUILT_IN, PromotionFacts, PromotionRefusedError
from asgard.model.ledger import ledger_run
from asgard.model.ledger.ledger_run import LedgerRun
from asgard.model.ledger.model_files import download
from asgard.model.ledger.projection import MlflowState, bring_up_to_date
from asgard.model.lifecycle import LifecycleError, Stage, TransitionKind, Version
from asgard.model.mlflow_access.client import connect
from asgard.model.registry import Registry
from asgard.model.versions import Binding, ModelVersion

Cli = Callable[..., tuple[int, str, str]]
NARROWER = Signature((SIGNATURE.inputs[0], Column("spend", "float")), "binary", SIGNATURE.classes)
V1, V2, V3 = Version(1, 0, 0), Version(1, 0, 1), Version(1, 0, 2)
REGISTER = """
import sys
from pathlib import Path
from tests.support.registered_models import artifact, open_registry, register
from asgard.common.settings import load_settings
registry = open_registry(load_settings({"project_dir": sys.argv[1]}))
print(register(registry, sys.argv[2], Path(sys.argv[3]), made=artifact(sys.argv[3].encode())))
"""
REGISTER_SOME = """
import sys
from pathlib import Path
from tests.support.registered_models import artifact, open_registry, register
from asgard.common.settings import load_settings
registry = open_registry(load_settings({"mlflow_tracking_uri": sys.argv[1]}))
for number in range(4):
    folder = Path(sys.argv[3]) / str(number)
    print(register(registry, sys.argv[2], folder, made=artifact(str(folder).encode())).version)
"""
CONNECT = """
import os, sys
from asgard.common.settings import load_settings
from asgard.model.mlflow_access.client import connect
settings = load_settings({"project_dir": sys.argv[1]})
before = dict(os.environ)
connect(settings).search_registered_models()
made = {name for name, value in os.environ.items() if before.get(name) != value}
print("feast" in sys.modules, sorted(name for name in made if not name.startswith("MLFLOW_")))
print([name for name in made if name.endswith("_URI")])
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A project folder whose MLflow runs."""
    folder = tmp_path_factory.mktemp("models") / "project"
    settings = load_settings({"project_dir": str(folder)})
    services.up(settings, only=["mlflow"])
    try:
        yield load_settings({"project_dir": str(folder), "user": "ann"})
    finally:
        services.down(settings)


@pytest.fixture(params=["http", "sqlite"])
def registry(served: Settings, request: pytest.FixtureRequest) -> Registry:
    """The same registry by both of its doors."""
    if request.param == "http":
        return Registry.of(served)
    uri = f"sqlite:///{served.project_dir.resolve()}/mlflow/mlflow.db"
    return Registry.of(load_settings({"mlflow_tracking_uri": uri, "user": "ann"}))


@pytest.fixture
def http(served: Settings) -> Registry:
    """The registry over HTTP."""
    return Registry.of(served)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A model that no other test has."""
    return f"m_{abs(hash(request.node.nodeid)):x}"


@pytest.fixture
def lived(http: Registry, name: str, tmp_path: Path) -> str:
    """A model with 1.0.0 archived after its time in Production, 1.0.1 there now, and 1.0.2 in Staging."""
    for number in range(3):
        register(http, name, tmp_path / str(number), made=artifact(b"tree %d" % number))
    for version in (V1, V2):
        http.move(name, version, Stage.STAGING)
        http.move(name, version, Stage.PRODUCTION)
    http.move(name, V3, Stage.STAGING)
    return name


@pytest.fixture
def cli(served: Settings, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs the command line: exit code, stdout, stderr."""

    def execute(*words: str) -> tuple[int, str, str]:
        code = main(["model", *words, "--dir", str(served.project_dir), "--set", "user=ann"])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return execute


def stages(registry: Registry, name: str) -> dict[str, str]:
    return {str(each.version): str(each.stage) for each in registry.versions(name)}


def shown(registry: Registry, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """What MLflow itself shows: stages by version, and the versions of the aliases."""
    found = registry.client.search_model_versions(f"name='{name}'")
    versions = {str(each.version): each.tags.get("semver", "") for each in found}
    aliases = registry.client.get_registered_model(name).aliases
    return (
        {each.tags.get("semver", ""): each.tags.get("lifecycle.stage", "") for each in found},
        {alias: versions[str(number)] for alias, number in aliases.items()},
    )


def ledger(registry: Registry, name: str) -> LedgerRun:
    tags = registry.client.get_registered_model(name).tags
    return LedgerRun(registry.client, registry.settings, name, tags[ledger_run.TAG])


def stored(registry: Registry, version: ModelVersion) -> Path:
    """The folder in which MLflow keeps the files of a version."""
    uri = registry.client.get_model_version_download_uri(version.name, version.mlflow_version)
    return Path(unquote(urlsplit(uri).path))


def start(*command: str, failpoint: str = "") -> subprocess.Popen[str]:
    environment = {**python_environment(), "ASGARD_FAILPOINT": failpoint}
    return subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def promote_command(settings: Settings, version: str) -> list[str]:
    return ["-m", "asgard.cli", "model", "promote", version, "--to", "production", "--dir", str(settings.project_dir)]


def at_once(folder: Path, *commands: list[str]) -> list[tuple[int, str, str]]:
    """Processes that all stand right before their transition, and are let go together."""
    paths = [folder / f"go-{number}" for number in range(len(commands))]
    started = [
        start(*command, failpoint=f"before-model-transition:wait:{path}")
        for command, path in zip(commands, paths, strict=True)
    ]
    try:
        deadline = time.monotonic() + 120
        while not all(path.with_name(f"{path.name}.reached").exists() for path in paths):
            dead = [each.communicate() for each in started if each.poll() is not None]
            assert not dead
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for path in paths:
            path.touch()
        return [(*each.communicate(timeout=120), each.returncode)[::-1] for each in started]  # type: ignore[misc]
    finally:
        for each in started:
            each.kill()


class TestLife:
    def test_from_training_to_rollback(self, registry: Registry, name: str, tmp_path: Path) -> None:
        first = register(registry, name, tmp_path / "1", why="the first")
        assert (str(first), first.stage, first.created_by) == (f"{name}@1.0.0", Stage.NONE, "ann")
        second = register(registry, name, tmp_path / "2", made=artifact(b"other"))
        assert str(second.version) == "1.0.1"
        for version in (V1, V2):
            registry.move(name, version, Stage.STAGING)
            done = registry.move(name, version, Stage.PRODUCTION, why="better", gates=BUILT_IN)
        assert done.archived == V1
        assert stages(registry, name) == {"1.0.0": "Archived", "1.0.1": "Production"}
        assert shown(registry, name) == (stages(registry, name), {"production": "1.0.1"})
        back = registry.rollback(name, why="worse after all")
        assert (back.version.version, back.archived) == (V1, V2)
        assert shown(registry, name) == ({"1.0.0": "Production", "1.0.1": "Archived"}, {"production": "1.0.0"})
        steps = registry.model(name).ledger.steps_of(V1)
        assert [(step.transition.kind, step.transition.why) for step in steps] == [
            (TransitionKind.REGISTER, "the first"),
            (TransitionKind.PROMOTE, ""),
            (TransitionKind.PROMOTE, "better"),
            (TransitionKind.PROMOTE, "better"),
            (TransitionKind.ROLLBACK, "worse after all"),
        ]

    def test_what_is_downloaded_is_what_was_registered(self, registry: Registry, name: str, tmp_path: Path) -> None:
        made = artifact(b"\x00every byte\xff")
        version = register(registry, name, tmp_path / "model", made=made)
        assert registry.download(version, tmp_path / "copy") == made
        assert registry.artifact(registry.find(name)) == made

    def test_tags_say_what_it_was_made_from(self, http: Registry, name: str, tmp_path: Path) -> None:
        views = [
            {"view": f"v{at}", "version": 2, "table": f"gold.t{at}", "snapshot_id": at, "commit": "ab" * 16}
            | {"metadata_location": "file:/m.json"}
            for at in (11, 12)
        ]
        binding = Binding.from_json({"views": views, "code_version": "c0de", "dirty": True, "details": {"rows": 3}})
        version = register(http, name, tmp_path / "model", binding=binding, metrics={"f1": 0.5})
        tags = http.client.get_model_version(name, version.mlflow_version).tags
        assert {tag: tags[tag] for tag in ("semver", "lifecycle.stage", "feature.table", "feature.snapshot_id")} == {
            "semver": "1.0.0",
            "lifecycle.stage": "None",
            "feature.table": "gold.t11,gold.t12",
            "feature.snapshot_id": "11,12",
        }
        assert json.loads(tags["feature.views"]) == [{**view, "target": "main"} for view in views]
        assert (tags["code.version"], tags["artifact.sha256"]) == ("c0de (dirty)", artifact().sha256)
        found = http.find(f"{name}@1.0.0")
        assert (found.binding, found.metrics) == (binding, {"f1": 0.5})

    @pytest.mark.parametrize(
        ("inputs", "expected"),
        [
            (SIGNATURE.inputs, "1.0.1"),
            (SIGNATURE.inputs[::-1], "1.1.0"),
            ((*SIGNATURE.inputs, Column("age", "int")), "1.1.0"),
            (SIGNATURE.inputs[:1], "1.1.0"),
            (NARROWER.inputs, "2.0.0"),
        ],
    )
    def test_numbers_follow_what_changed(
        self, http: Registry, name: str, tmp_path: Path, inputs: tuple[Column, ...], expected: str
    ) -> None:
        register(http, name, tmp_path / "1")
        changed = artifact(signature=Signature(inputs, "binary", SIGNATURE.classes))
        assert str(register(http, name, tmp_path / "2", made=changed).version) == expected

    def test_a_version_that_does_not_grow_is_refused(self, http: Registry, lived: str, tmp_path: Path) -> None:
        with pytest.raises(LifecycleError, match=r"1\.0\.1 does not come after 1\.0\.2"):
            register(http, lived, tmp_path / "new", bump="1.0.1")
        assert len(stages(http, lived)) == 3

    def test_illegal_moves_change_nothing(self, http: Registry, lived: str) -> None:
        before = ledger(http, lived).read()
        with pytest.raises(LifecycleError, match="from Archived to Production"):
            http.move(lived, V1, Stage.PRODUCTION)
        with pytest.raises(LifecycleError, match="was never in Production"):
            http.rollback(lived, V3)
        assert ledger(http, lived).read() == before

    def test_a_move_to_where_it_is_moves_nothing(self, http: Registry, lived: str) -> None:
        before = ledger(http, lived).read()
        assert http.move(lived, V2, Stage.PRODUCTION).transition is None
        assert http.rollback(lived, V2).transition is None
        assert ledger(http, lived).read() == before

    def test_a_model_that_is_not_asgards_is_left_alone(self, http: Registry, name: str, tmp_path: Path) -> None:
        http.client.create_registered_model(name)
        with pytest.raises(UsageError, match="was not made by Asgard"):
            register(http, name, tmp_path / "model")
        assert name not in http.names()


class TestGates:
    def test_a_refusal_names_every_reason_and_moves_nothing(
        self, http: Registry, lived: str, tmp_path: Path, cli: Cli
    ) -> None:
        def drifted(facts: PromotionFacts) -> str | None:
            return f"{facts.name} drifted"

        made = artifact(signature=NARROWER)
        binding = Binding(minimum={"roc_auc": 0.9, "f1": 0.1}, maximum={"brier": 0.2})
        metrics = {"roc_auc": 0.8, "f1": 0.5, "brier": float("nan")}
        version = register(http, lived, tmp_path / "new", made=made, binding=binding, metrics=metrics, bump="minor")
        http.move(lived, version.version, Stage.STAGING)
        before = ledger(http, lived).read()
        with pytest.raises(PromotionRefusedError) as refused:
            http.move(
                lived,
                version.version,
                Stage.PRODUCTION,
                gates=(*BUILT_IN, drifted),
                audit=lambda _version: ("gold.t is gone",),
            )
        assert refused.value.details == (
            "metrics in bounds: roc_auc is 0.8 and must be at least 0.9; brier is nan and must be at most 0.2",
            "audit passed: gold.t is gone",
            "signature is compatible: callers of 1.0.1 would break (input spend was double, now it is float); register "
            "it as a new major version",
            f"drifted: {lived} drifted",
        )
        assert ledger(http, lived).read() == before
        code, out, _ = cli("list", lived, "--json")
        assert (code, json.loads(out)["versions"][0]["metrics"]["brier"]) == (0, None)

    def test_a_new_major_version_may_break_callers(self, http: Registry, lived: str, tmp_path: Path) -> None:
        made = artifact(signature=NARROWER)
        version = register(http, lived, tmp_path / "new", made=made)
        assert str(version.version) == "2.0.0"
        http.move(lived, version.version, Stage.STAGING, gates=BUILT_IN)
        http.move(lived, version.version, Stage.PRODUCTION, gates=BUILT_IN)
        assert stages(http, lived)["2.0.0"] == "Production"

    def test_one_of_a_user_that_fails_refuses(
        self, http: Registry, lived: str, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = f"gates_of_{lived}"
        (tmp_path / f"{module}.py").write_text("def drift(facts):\n    return facts.binding.details['drift'] > 0.2\n")
        monkeypatch.syspath_prepend(tmp_path)
        before = ledger(http, lived).read()
        code, out, err = cli("promote", f"{lived}@1.0.2", "--to", "production", "--gate", f"{module}:drift")
        assert (code, out) == (1, "")
        assert f"{lived}@1.0.2 is not promoted to Production: nothing was moved." in err
        assert "drift: the gate raised KeyError: 'drift'" in err
        assert f"{module}.py, line 2)" in err
        assert "Traceback" not in err
        assert ledger(http, lived).read() == before


class TestAtOnce:
    def test_of_two_promotions_one_wins_and_the_other_says_so(
        self, served: Settings, http: Registry, lived: str, tmp_path: Path
    ) -> None:
        register(http, lived, tmp_path / "more", made=artifact(b"more"))
        http.move(lived, Version(1, 0, 3), Stage.STAGING)
        before = ledger(http, lived).read()
        commands = [
            [*promote_command(served, f"{lived}@{version}"), "--set", f"user=mover_{version}"]
            for version in ("1.0.2", "1.0.3")
        ]
        ends = at_once(tmp_path, *commands)
        assert sorted(code for code, _, _ in ends) == [0, 1], (ends, ledger(http, lived).read().transitions)
        winner, loser = ("1.0.2", "1.0.3") if ends[0][0] == 0 else ("1.0.3", "1.0.2")
        words = next(error for code, error, _ in ends if code == 1)
        assert f"error: {lived}@{loser} was not moved to Production: mover_{winner} moved {lived}@{winner} to" in words
        assert "Traceback" not in words
        assert stages(http, lived) == {
            "1.0.0": "Archived",
            "1.0.1": "Archived",
            winner: "Production",
            loser: "Staging",
        }
        assert shown(http, lived) == (stages(http, lived), {"production": winner, "staging": loser})
        assert ledger(http, lived).read().next_number == before.next_number + 1

    def test_a_registration_meanwhile_is_in_no_promotions_way(
        self, served: Settings, http: Registry, lived: str, tmp_path: Path
    ) -> None:
        ends = at_once(
            tmp_path,
            promote_command(served, f"{lived}@1.0.2"),
            ["-c", REGISTER, str(served.project_dir), lived, str(tmp_path / "new")],
        )
        assert [code for code, _, _ in ends] == [0, 0], ends
        assert stages(http, lived) == {
            "1.0.0": "Archived",
            "1.0.1": "Archived",
            "1.0.2": "Production",
            "1.0.3": "None",
        }

    def test_two_first_registrations_both_get_a_version(
        self, served: Settings, http: Registry, name: str, tmp_path: Path
    ) -> None:
        folders = [tmp_path / each for each in ("one", "other")]
        ends = at_once(tmp_path, *(["-c", REGISTER, str(served.project_dir), name, str(each)] for each in folders))
        assert [code for code, _, _ in ends] == [0, 0], ends
        assert sorted(out.strip() for _, _, out in ends) == [f"{name}@1.0.0", f"{name}@1.0.1"]
        assert {http.artifact(each).content.decode() for each in http.versions(name)} == set(map(str, folders))
        assert shown(http, name) == ({"1.0.0": "None", "1.0.1": "None"}, {})

    def test_a_predecessor_is_fetched_once_however_often_a_number_is_lost(
        self, http: Registry, lived: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fetched, tried = [], []

        def count(client: Any, version: ModelVersion, folder: Path) -> Path:
            fetched.append(version.version)
            return download(client, version, folder)

        def lose(version: Version) -> None:
            for other in (V3, V2)[len(tried) : len(tried) + 1]:
                http.move(lived, other, Stage.ARCHIVED)
            tried.append(version)

        monkeypatch.setattr("asgard.model.registry.download", count)
        register(http, lived, tmp_path / "new", made=artifact(b"new"), hold=lose)
        assert (tried, fetched) == ([Version(1, 0, 3)] * 3, [V3])

    def test_many_registrations_on_a_database_without_a_server(
        self, served: Settings, http: Registry, name: str, tmp_path: Path
    ) -> None:
        uri = f"sqlite:///{served.project_dir.resolve()}/mlflow/mlflow.db"
        started = [start("-c", REGISTER_SOME, uri, name, str(tmp_path / str(number))) for number in range(3)]
        ends = [each.communicate(timeout=240) for each in started]
        assert [error for _, error in ends] == [""] * 3
        versions = [line for out, _ in ends for line in out.split()]
        assert sorted(versions) == sorted(f"1.0.{patch}" for patch in range(12))
        assert shown(http, name)[0] == dict.fromkeys(versions, "None")

    def test_of_two_who_make_a_ledger_one_does(self, registry: Registry, name: str) -> None:
        barrier, made = threading.Barrier(4), []

        def make() -> None:
            barrier.wait()
            made.append(ledger_run.create(registry.client, registry.settings, name))

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = [each for each in made if each is not None]
        assert (len(made), ledger(registry, name).run_id) == (4, winner)

    def test_what_was_expected_is_held_against_what_is(self, http: Registry, lived: str) -> None:
        with pytest.raises(ConflictError, match=r"Production of \w+ is 1\.0\.1, not 1\.0\.0"):
            http.move(lived, V3, Stage.PRODUCTION, expect="1.0.0")
        with pytest.raises(ConflictError, match=r"is 1\.0\.1, not none"):
            http.rollback(lived, expect="none")
        assert http.move(lived, V3, Stage.PRODUCTION, expect="1.0.1").archived == V2


class TestDeaths:
    @pytest.fixture
    def died(self, served: Settings, http: Registry, lived: str) -> str:
        """A mover of 1.0.2 to Production was killed between its transition and what MLflow shows."""
        mover = start(*promote_command(served, f"{lived}@1.0.2"), failpoint="after-model-transition:kill")
        mover.communicate(timeout=120)
        assert mover.returncode == -9
        assert shown(http, lived)[1] == {"production": "1.0.1", "staging": "1.0.2"}
        return lived

    def test_the_next_reader_puts_it_right(self, http: Registry, died: str, cli: Cli) -> None:
        code, out, _ = cli("list", died, "--json")
        assert code == 0
        assert {each["version"]: each["stage"] for each in json.loads(out)["versions"]} == {
            "1.0.0": "Archived",
            "1.0.1": "Archived",
            "1.0.2": "Production",
        }
        assert shown(http, died) == (stages(http, died), {"production": "1.0.2"})

    def test_the_next_mover_puts_it_right(self, http: Registry, died: str) -> None:
        assert http.rollback(died).archived == V3
        assert stages(http, died) == {"1.0.0": "Archived", "1.0.1": "Production", "1.0.2": "Archived"}
        assert shown(http, died) == (stages(http, died), {"production": "1.0.1"})

    def test_a_slow_mover_does_not_leave_its_old_view(self, http: Registry, lived: str) -> None:
        run = ledger(http, lived)
        old, seen = run.read(), MlflowState.of(http.client, http.settings, lived)
        http.move(lived, V3, Stage.PRODUCTION)
        http.client.delete_registered_model_alias(lived, "production")
        bring_up_to_date(run, old, MlflowState(seen.versions, {}))  # it had seen no alias, and sets those of its time
        assert shown(http, lived) == (stages(http, lived), {"production": "1.0.2"})

    def test_edited_tags_are_put_right(self, http: Registry, lived: str) -> None:
        found = http.find(f"{lived}@1.0.0")
        for tag, value in (("lifecycle.stage", "Production"), ("artifact.sha256", "0" * 64), ("semver", "9.9.9")):
            http.client.set_model_version_tag(lived, found.mlflow_version, tag, value)
        http.client.set_registered_model_alias(lived, "production", found.mlflow_version)
        again = http.find(f"{lived}@1.0.0")
        assert (again.stage, again.sha256) == (Stage.ARCHIVED, found.sha256)
        assert shown(http, lived) == (stages(http, lived), {"production": "1.0.1", "staging": "1.0.2"})

    def test_who_may_not_write_tags_reads_and_moves_all_the_same(
        self, http: Registry, lived: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(*_arguments: Any) -> None:
            raise MlflowException("Permission denied")

        with monkeypatch.context() as patched:
            for method in ("set_model_version_tag", "set_registered_model_alias", "delete_registered_model_alias"):
                patched.setattr(http.client, method, refuse)
            patched.setattr(logging.getLogger("asgard"), "propagate", True)
            assert http.move(lived, V3, Stage.PRODUCTION).archived == V2
            assert stages(http, lived) == {"1.0.0": "Archived", "1.0.1": "Archived", "1.0.2": "Production"}
            assert shown(http, lived)[1] == {"production": "1.0.1", "staging": "1.0.2"}
        assert f"MLflow's tags of {lived} are outdated" in caplog.text
        now = stages(http, lived)
        assert shown(http, lived) == (now, {"production": "1.0.2"})

    def test_a_lost_answer_is_looked_up(self, http: Registry, lived: str) -> None:
        class Deaf:
            """A client whose answer to the write gets lost."""

            def __init__(self, *, writes: bool) -> None:
                self.writes = writes

            def log_param(self, *arguments: Any) -> None:
                if self.writes:
                    http.client.log_param(*arguments)
                raise MlflowException("API request failed with exception: Max retries exceeded")

            def get_run(self, run_id: str) -> Any:
                return http.client.get_run(run_id)

        run = ledger(http, lived)
        entry = run.read().propose(
            TransitionKind.ARCHIVE, V3, Stage.ARCHIVED, who="ann", when="2024-01-01T00:00:00+00:00"
        )
        with pytest.raises(ServiceError, match="does not answer"):
            LedgerRun(Deaf(writes=False), http.settings, lived, run.run_id).append(entry)  # type: ignore[arg-type]
        assert LedgerRun(Deaf(writes=True), http.settings, lived, run.run_id).append(entry)  # type: ignore[arg-type]
        assert stages(http, lived)["1.0.2"] == "Archived"

    def test_a_registration_is_said_though_mlflow_then_falls_silent(
        self, http: Registry, lived: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def be_silent(name: str) -> None:
            def lost(*_arguments: Any, **_named: Any) -> None:
                raise MlflowException("API request failed with exception: Max retries exceeded")

            if name == "before-model-transition":
                silent.setattr(http.client, "get_registered_model", lost)

        with monkeypatch.context() as silent:
            silent.setattr("asgard.model.registry.failpoint", be_silent)
            made = register(http, lived, tmp_path / "new", made=artifact(b"new"), metrics={"f1": 0.5})
        assert (str(made), made.stage, made.metrics) == (f"{lived}@1.0.3", Stage.NONE, {"f1": 0.5})
        assert http.find(str(made)) == made

    def test_a_move_is_said_though_mlflow_then_falls_silent(
        self, http: Registry, lived: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def lost(*_arguments: Any) -> None:
            raise ServiceUnreachableError("MLflow does not answer")

        with monkeypatch.context() as silent:
            silent.setattr(Registry, "model", lost)
            code, out, err = cli("promote", f"{lived}@1.0.2", "--to", "production")
        assert (code, out) == (0, f"{lived}@1.0.2 is in Production, {lived}@1.0.1 is archived\n")
        assert err == f"holds of {lived} were not updated; the next move does it: MLflow does not answer\n"
        assert stages(http, lived)["1.0.2"] == "Production"

    def test_a_version_deleted_in_mlflow_is_left_out(self, http: Registry, lived: str, cli: Cli) -> None:
        http.client.delete_model_version(lived, http.find(f"{lived}@production").mlflow_version)
        assert stages(http, lived) == {"1.0.0": "Archived", "1.0.2": "Staging"}
        http.move(lived, V3, Stage.PRODUCTION, gates=BUILT_IN)
        assert shown(http, lived)[1] == {"production": "1.0.2"}


class TestDamage:
    @pytest.mark.parametrize("damage", ["changed", "missing", "added"])
    def test_nothing_damaged_is_moved_or_loaded(self, http: Registry, lived: str, cli: Cli, damage: str) -> None:
        for version in http.versions(lived):
            folder = stored(http, version)
            path = folder / "asgard" / "model.json"
            if damage == "changed":
                path.write_bytes(path.read_bytes().replace(b"7", b"8", 1))
            elif damage == "missing":
                path.unlink()
            else:
                path = folder / "code" / "evil.py"
                path.parent.mkdir(exist_ok=True)
                path.write_text("import os")
        named = str(path.relative_to(folder))
        before = ledger(http, lived).read()
        for words in (
            ("promote", f"{lived}@1.0.2", "--to", "production"),
            ("rollback", lived),
            ("verify", f"{lived}@1.0.2"),
            ("compare", f"{lived}@1.0.1", f"{lived}@1.0.2"),
        ):
            code, out, err = cli(*words)
            assert (code, out) == (1, ""), words
            assert named in err
            assert "Traceback" not in err
        code, out, _ = cli("verify", f"{lived}@1.0.2", "--json")
        assert code == 1
        assert not json.loads(out)["verified"]
        assert named in json.loads(out)["problem"]
        code, out, _ = cli("show", lived)
        assert code == 0
        assert "NOT VERIFIED" in out
        assert ledger(http, lived).read() == before

    def test_a_damaged_version_keeps_no_better_one_out(
        self, http: Registry, lived: str, tmp_path: Path, cli: Cli
    ) -> None:
        register(http, lived, tmp_path / "latest")
        for what in ("latest", "production"):
            (stored(http, http.find(f"{lived}@{what}")) / "MLmodel").unlink()
        assert str(register(http, lived, tmp_path / "new", made=artifact(b"new"))) == f"{lived}@1.1.0"
        code, _, err = cli("promote", f"{lived}@1.0.2", "--to", "production")
        assert code == 1
        assert "signature is compatible: the files of 1.0.1, in Production, can't be read" in err
        assert cli("promote", f"{lived}@1.0.1", "--to", "archived")[0] == 0
        assert cli("promote", f"{lived}@1.0.2", "--to", "production")[0] == 0

    @pytest.mark.parametrize(
        ("tag", "value"),
        [
            ("asgard.metrics", json.dumps({"roc_auc": 0.95})),
            ("asgard.binding", json.dumps({**Binding(code_version="c0de").to_json(), "minimum": {"roc_auc": 0.1}})),
            ("asgard.binding", None),
        ],
    )
    def test_edited_facts_move_nothing_and_hide_nobody(
        self, http: Registry, lived: str, tmp_path: Path, cli: Cli, tag: str, value: str | None
    ) -> None:
        bound = Binding(code_version="c0de", minimum={"roc_auc": 0.9})
        edited = register(http, lived, tmp_path / "new", made=artifact(b"new"), binding=bound)
        text = str(edited)
        http.move(lived, edited.version, Stage.STAGING)
        if value is None:
            http.client.delete_model_version_tag(lived, edited.mlflow_version, tag)
        else:
            http.client.set_model_version_tag(lived, edited.mlflow_version, tag, value)
        before = ledger(http, lived).read()
        said = f"The metrics or the binding of {text} differ from those that were registered"
        for words in (("promote", text, "--to", "production"), ("verify", text), ("compare", f"{lived}@1.0.2", text)):
            code, out, err = cli(*words)
            assert (code, out) == (1, ""), words
            assert said in err
            assert f"of version {edited.mlflow_version} in MLflow" in err
        with pytest.raises(ArtifactError, match="differ from those that were registered"):
            http.move(lived, edited.version, Stage.PRODUCTION)
        code, out, _ = cli("verify", f"{lived}@latest", "--json")
        assert (code, json.loads(out)["verified"], json.loads(out)["problem"]) == (1, False, f"{said}.")
        code, out, _ = cli("show", text)
        assert code == 0
        assert f"NOT VERIFIED: {said}" in out
        code, out, _ = cli("list", lived, "--json")
        listed = {each["version"]: (each["stage"], each["problem"]) for each in json.loads(out)["versions"]}
        assert code == 0
        assert listed == {
            "1.0.0": ("Archived", None),
            "1.0.1": ("Production", None),
            "1.0.2": ("Staging", None),
            "1.0.3": ("Staging", said),
        }
        code, out, err = cli("list", lived)
        assert (code, len(out.splitlines())) == (0, 5)
        assert [line.split("\t")[0] for line in out.splitlines() if "NOT VERIFIED" in line] == [text]
        assert f"{said}: `asgard model verify {text}`" in err
        assert ledger(http, lived).read() == before
        assert cli("promote", f"{lived}@1.0.2", "--to", "production")[0] == 0  # the others go on
        assert str(register(http, lived, tmp_path / "next", made=artifact(b"next")).version) == "1.1.0"
        assert cli("promote", text, "--to", "archived")[0] == 0

    def test_edited_facts_of_the_one_in_production(self, http: Registry, lived: str, tmp_path: Path, cli: Cli) -> None:
        """It is not used, still counts as the one whose callers may break, and can be left."""
        found = http.find(f"{lived}@production")
        http.client.set_model_version_tag(lived, found.mlflow_version, "asgard.metrics", "{}")
        with pytest.raises(ArtifactError, match=r"1\.0\.1 differ from those that were registered"):
            http.find(f"{lived}@production")
        made = artifact(signature=NARROWER)
        narrower = register(http, lived, tmp_path / "new", made=made, bump="minor")
        http.move(lived, narrower.version, Stage.STAGING)
        code, _, err = cli("promote", str(narrower), "--to", "production")
        assert code == 1
        assert "callers of 1.0.1 would break" in err
        assert cli("rollback", lived)[0] == 0
        http.client.set_model_version_tag(lived, found.mlflow_version, "asgard.metrics", json.dumps({"roc_auc": 0.8}))
        assert http.find(f"{lived}@1.0.1").metrics == {"roc_auc": 0.8}
        assert stages(http, lived)["1.0.1"] == "Archived"

    def test_files_that_are_gone_are_said(self, http: Registry, lived: str, cli: Cli) -> None:
        folder = stored(http, http.find(f"{lived}@1.0.2"))
        folder.rename(folder.with_name("gone"))
        code, _, err = cli("verify", f"{lived}@1.0.2")
        assert code == 1
        assert "can't be fetched" in err

    def test_a_folder_that_is_no_artifact_is_not_registered(self, http: Registry, name: str, tmp_path: Path) -> None:
        saved = artifact().save(tmp_path / "model")
        (saved / "MLmodel").write_text("{}")
        with pytest.raises(ArtifactError, match=r"MLmodel .* was changed"):
            http.register(name, saved, models.new_run(http), Binding(), {})
        with pytest.raises(ArtifactError, match=r"asgard/manifest.json .* is missing"):
            http.register(name, tmp_path, models.new_run(http), Binding(), {})
        assert name not in http.names()


class TestCommandLine:
    def test_show_has_all_that_one_asks(self, http: Registry, lived: str, cli: Cli) -> None:
        code, out, _ = cli("show", lived)
        assert code == 0
        assert out.startswith(f"{lived}@1.0.1 is in Production")
        for text in ("code c0de", "roc_auc 0.8", "visits\tbigint", "asgard/model.json", "Staging\tProduction\tann"):
            assert text in out
        code, out, _ = cli("show", f"{lived}@1.0.0", "--json")
        shown = json.loads(out)
        assert (shown["stage"], shown["verified"], shown["metrics"]) == ("Archived", True, {"roc_auc": 0.8})
        assert [(each["kind"], each["before"], each["after"]) for each in shown["history"]] == [
            ("register", None, "None"),
            ("promote", "None", "Staging"),
            ("promote", "Staging", "Production"),
            ("promote", "Production", "Archived"),
        ]
        assert {each["path"] for each in shown["files"]} == set(artifact().files)
        assert shown["spec"]["seed"] == 7

    def test_a_promotion_and_its_reason(self, http: Registry, lived: str, cli: Cli) -> None:
        words = ("promote", f"{lived}@1.0.2", "--to", "production", "--why", "F1 + 2 %", "--expect", "1.0.1")
        assert cli(*words) == (0, f"{lived}@1.0.2 is in Production, {lived}@1.0.1 is archived\n", "")
        last = ledger(http, lived).read().transitions[-1]
        assert (last.who, last.why) == ("ann", "F1 + 2 %")
        code, out, err = cli(*words)  # a scheduler says it again
        assert (code, out, err) == (0, f"{lived}@1.0.2 is already in Production: nothing was moved\n", "")
        code, out, _ = cli("rollback", lived, "--to", "1.0.0", "--json")
        moved = json.loads(out)
        assert (code, moved["moved"], moved["archived"]) == (0, True, f"{lived}@1.0.2")
        assert moved["transition"]["kind"] == "rollback"

    def test_a_version_is_taken_out_of_use(self, http: Registry, lived: str, cli: Cli) -> None:
        assert cli("promote", f"{lived}@1.0.1", "--to", "archived")[0] == 0
        assert shown(http, lived)[1] == {"staging": "1.0.2"}

    def test_lists(self, lived: str, cli: Cli) -> None:
        code, out, _ = cli("list", lived, "--stage", "staging")
        assert code == 0
        assert [line.split("\t")[:2] for line in out.splitlines()[1:]] == [[f"{lived}@1.0.2", "Staging"]]
        code, out, err = cli("list", "--json")
        assert code == 0, err
        assert lived in {each["name"] for each in json.loads(out)["versions"]}

    def test_two_side_by_side(self, http: Registry, lived: str, tmp_path: Path, cli: Cli) -> None:
        made = artifact(signature=NARROWER, lr=0.1)
        register(http, lived, tmp_path / "new", made=made, metrics={"roc_auc": 0.85, "f1": 0.5})
        code, out, _ = cli("compare", f"{lived}@production", f"{lived}@latest")
        assert code == 0
        for text in (
            f"METRIC\t{lived}@1.0.1\t{lived}@2.0.0\tCHANGE",
            "roc_auc\t0.8\t0.85\t+0.05",
            "feature spend\tdouble\tfloat",
            "parameter lr\tnone\t0.1",
            f"callers of {lived}@1.0.1 would break: input spend was double, now it is float",
        ):
            assert text in out
        code, out, _ = cli("compare", f"{lived}@1.0.1", f"{lived}@1.0.1", "--json")
        assert json.loads(out)["differences"] == []

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("show", "nobody"), "There is no model 'nobody'"),
            (("list", "nobody"), "There is no model 'nobody'"),
            (("show", "{}@7.0.0"), "Existing versions: 1.0.2 (Staging), 1.0.1 (Production), 1.0.0 (Archived)."),
            (("show", "{}@none"), "has no version in None"),
            (("show", "{}@prod"), "There is no stage 'prod'"),
            (("show", "Churn!"), "'Churn!' is not a usable name of a model"),
            (("verify", "{}@1.x"), "'1.x' is not a version"),
            (("promote", "{}", "--to", "production"), "does not say which version"),
            (("promote", "{}@1.0.2", "--to", "prod"), "Use one of None, Staging, Production, Archived."),
            (("promote", "{}@1.0.2", "--to", "production", "--expect", "x"), "'x' is not a version"),
            (("promote", "{}@1.0.2", "--to", "production", "--gate", "nowhere:f"), "There is no gate 'nowhere:f'"),
            (("promote", "{}@1.0.2", "--to", "production", "--why", "x" * 6000), "too many for an entry of the ledger"),
            (("promote", "{}@1.0.0", "--to", "staging"), "From Archived it can go: rollback to Production."),
            (("rollback", "{}@1.0.0"), "--to 1.0.0"),
            (("rollback", "{}", "--to", "1.0.2"), "was never in Production"),
            (("compare", "{}@1.0.2", "{}@8.0.0"), "has no version 8.0.0"),
            (("list", "--stage", "prod"), "There is no stage 'prod'"),
        ],
    )
    def test_mistakes(self, http: Registry, lived: str, cli: Cli, words: tuple[str, ...], said: str) -> None:
        before = ledger(http, lived).read()
        code, out, err = cli(*(word.format(lived) for word in words))
        assert (code, out) == (2, "")
        assert said in err
        assert ledger(http, lived).read() == before

    def test_no_mlflow(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        given = ["model", "list", "--dir", str(tmp_path)]
        assert main(given) == 2
        assert "No MLflow is set" in capsys.readouterr().err
        started = time.monotonic()
        assert main([*given, "--set", "mlflow_tracking_uri=http://user:hush@127.0.0.1:9"]) == 1
        assert time.monotonic() - started < 20
        err = capsys.readouterr().err
        assert "MLflow at http://user:***@127.0.0.1:9 does not answer" in err
        assert "hush" not in err
        assert main([*given, "--set", f"mlflow_tracking_uri=sqlite:///{tmp_path}/no/mlflow.db"]) == 1
        assert "there is no folder" in capsys.readouterr().err


def test_connecting_changes_nothing_else(served: Settings) -> None:
    done = start("-W", "error", "-c", CONNECT, str(served.project_dir))
    out, err = done.communicate(timeout=120)
    assert (out, err) == ("False []\n[]\n", "")


def test_a_client_of_other_settings_reads_the_same(served: Settings) -> None:
    """The addresses are process-wide in MLflow: a second client must not lead the first one astray."""
    first = connect(served)
    uri = f"sqlite:///{served.project_dir.resolve()}/mlflow/mlflow.db"
    connect(load_settings({"mlflow_tracking_uri": uri}))
    assert load_settings({"project_dir": str(served.project_dir)}).mlflow == served.mlflow
    assert first.search_registered_models() is not None
