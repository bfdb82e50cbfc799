"""What a model's version keeps of the lakehouse, how long, and what is noticed when it is gone."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.conftest import Fresh
from tests.support.registered_models import artifact, register
from tests.support.runs import declared, write_rows

from asgard.cli.app import main
from asgard.common.names import CommitHash, SnapshotId
from asgard.lakehouse.lake import Lakehouse
from asgard.lakehouse.snapshots import resolve
from asgard.model.gates import PromotionRefusedError
from asgard.model.holds import GRACE, hold_version, problems_with_data, release_unneeded, require_data
from asgard.model.lifecycle import Kind, Ledger, Stage, Version
from asgard.model.registered import RegisteredModel
from asgard.model.registry import Registry
from asgard.model.versions import Binding, BoundView, ModelVersion

NOW = datetime(2024, 6, 1, tzinfo=UTC)


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
    """A model whose versions were archived so long ago, or are in use."""
    ledger = Ledger()
    for text, archived in lives:
        for kind, to, when in (
            (Kind.REGISTER, Stage.NONE, NOW - timedelta(days=90)),
            *([(Kind.ARCHIVE, Stage.ARCHIVED, NOW - archived)] if archived else ()),
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
        dropped = release_unneeded(lake, model, NOW)
        gone = {f"1.0.0-{commit}", f"1.0.2-{lost}"}
        assert {each.removeprefix(f"hold_model_{name}_") for each in dropped} == gone
        assert held(lake, name) == {*(f"1.0.{patch}-{commit}" for patch in (1, 2, 3)), f"1_1.0.0-{commit}"}
        assert release_unneeded(lake, model, NOW) == []

    def test_a_rollback_holds_again_first(self, lake: Lakehouse, binding: Binding, name: str) -> None:
        (version,) = model_of(name, binding, ("1.0.0", 2 * GRACE)).versions
        require_data(lake, version)
        assert held(lake, name) == {f"1.0.0-{binding.views[0].commit[:16]}"}


class TestData:
    def test_what_is_published_is_right(self, lake: Lakehouse, binding: Binding) -> None:
        assert problems_with_data(lake, binding) == []

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"snapshot_id": SnapshotId(7)}, "had snapshot"),
            ({"commit": CommitHash("ab" * 32)}, "Nessie has no"),
            ({"metadata_location": "file:///nowhere/m.json"}, "is gone, or not whole any more"),
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
        with pytest.raises(PromotionRefusedError, match=f"What {name}@1.0.0 learned from is not there any more"):
            require_data(lake, version)

    def test_a_record_that_was_changed_is_noticed(self, lake: Lakehouse, binding: Binding) -> None:
        run_id = run_of(lake, binding)
        (path,) = (folder(lake) / "_asgard" / "runs" / run_id).glob("1.json")
        path.write_text(path.read_text().replace('"passed": true', '"passed": false') + " ")
        (problem,) = problems_with_data(lake, binding)
        assert f"run {run_id}, which made it, has no audited publish" in problem


class TestCommandLine:
    def test_promotions_look_at_the_data_and_rollbacks_too(
        self,
        lake: Lakehouse,
        fresh: Fresh,
        name: str,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        uri = f"sqlite:///{tmp_path}/mlflow.db"

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
        assert f"What {name}@1.0.0 learned from is not there any more: nothing was moved." in printed
        code, printed = run("list", name, "--json")
        stages = {each["version"]: each["stage"] for each in json.loads(printed)["versions"]}
        assert stages == {"1.0.0": "Archived", "1.0.1": "Production", "1.0.2": "None"}
        nowhere = ("--set", "nessie_uri=http://127.0.0.1:9")
        code, printed = run("promote", f"{name}@1.0.1", "--to", "archived", *nowhere)
        assert code == 0
        assert f"holds of {name} were not looked through" in printed


def folder(lake: Lakehouse) -> Path:
    return Path(urlsplit(lake.settings.warehouse).path)


def data_files(binding: Binding) -> list[Path]:
    table = Path(urlsplit(binding.views[0].metadata_location).path).parent.parent
    return sorted(table.glob("data/**/*.parquet"))


def run_of(lake: Lakehouse, binding: Binding) -> str:
    entry = next(each for each in lake.nessie.log(lake.target) if each.hash == binding.views[0].commit)
    return entry.properties["asgard.run-id"]
