"""Faults 51 and 52: a changed, missing or planted file of a model is refused before anything of it is loaded."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest
from tests.support.models import Malicious, artifact, fitted, signature

from asgard.common.errors import ArtifactError, UsageError
from asgard.model.artifacts import bundled
from asgard.model.artifacts.artifact import MANIFEST, SPEC, Artifact, ModelSpec, hash_of
from asgard.model.artifacts.dumping import dump
from asgard.model.artifacts.formats import Format
from asgard.model.artifacts.signature import dumps
from asgard.model.scoring.predictor import Predictor
from asgard.model.scoring.scorers import load

FILES = (
    *("MLmodel", SPEC, MANIFEST, "model.pkl", "requirements.txt", "conda.yaml", "python_env.yaml"),
    "asgard/trained_with.txt",
    "code/asgard/__init__.py",
    "code/asgard/model/pyfunc.py",
)


@pytest.fixture(scope="module")
def pickled() -> Artifact:
    return artifact(Format.PICKLE)


@pytest.fixture
def folder(pickled: Artifact, tmp_path: Path) -> Path:
    return pickled.save(tmp_path / "model")


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """A file that exists once planted code has run."""
    return tmp_path / "ran"


def test_a_folder_comes_back_as_it_was_saved(pickled: Artifact, folder: Path) -> None:
    again = Artifact.read(folder, pickled.sha256)
    assert again == pickled
    assert sorted(again.files) == sorted({*FILES, *bundled.files()})
    assert again.spec.params == {"rounds": 20}
    assert pickle.loads(pickle.dumps(again)).verified() == pickled  # noqa: S301 - made here


def test_it_is_not_saved_over_other_files(pickled: Artifact, folder: Path) -> None:
    with pytest.raises(ArtifactError, match="not empty"):
        pickled.save(folder)


class TestWhatMlflowWrites:
    """Files that MLflow adds beside a model's are known by name, and never read."""

    def test_is_no_part_of_the_model(self, folder: Path, pickled: Artifact) -> None:
        (folder / "registered_model_meta").symlink_to("/nowhere")
        cache = folder / "code" / "asgard" / "model" / "__pycache__"
        cache.mkdir()
        (cache / "pyfunc.cpython-311.pyc").write_bytes(b"compiled")
        assert Artifact.read(folder, pickled.sha256).files == pickled.files

    @pytest.mark.parametrize(
        "name",
        [
            "code/asgard/model/other.py",
            "code/other.py",
            "asgard/registered_model_meta",
            "__pycache__/model.pyc",
            "meta",
        ],
    )
    def test_elsewhere_is_refused(self, folder: Path, pickled: Artifact, name: str) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
        with pytest.raises(ArtifactError, match=f"^{name} in .* is not one of the model's files"):
            Artifact.read(folder, pickled.sha256)


class TestChangedBytes:
    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("place", [0, -1], ids=["first", "last"])
    def test_on_the_driver(self, folder: Path, pickled: Artifact, name: str, place: int) -> None:
        changed = bytearray((folder / name).read_bytes())
        changed[place] ^= 1
        (folder / name).write_bytes(changed)
        with pytest.raises(ArtifactError, match=f"^{name} in .* was changed"):
            Artifact.read(folder, pickled.sha256)

    @pytest.mark.parametrize("name", FILES)
    def test_in_memory(self, pickled: Artifact, name: str) -> None:
        content = pickled.files[name]
        files = {**pickled.files, name: content[:-1] + bytes([content[-1] ^ 1])}
        with pytest.raises(ArtifactError, match=f"^{name} of model churn was changed"):
            Predictor(Artifact(pickled.spec, files, pickled.sha256))

    @pytest.mark.parametrize("name", FILES)
    def test_missing(self, folder: Path, pickled: Artifact, name: str) -> None:
        (folder / name).unlink()
        with pytest.raises(ArtifactError, match=f"^{name} in .* is missing"):
            Artifact.read(folder, pickled.sha256)

    def test_a_manifest_that_fits_other_files_is_not_the_registered_one(
        self, folder: Path, pickled: Artifact, ran: Path
    ) -> None:
        other = Artifact.of(pickled.spec, pickle.dumps(Malicious(ran)))
        for name, content in other.files.items():
            (folder / name).write_bytes(content)
        with pytest.raises(ArtifactError, match=f"^{MANIFEST} in .* was changed"):
            Artifact.read(folder, pickled.sha256)
        with pytest.raises(ArtifactError, match=f"^{MANIFEST} of model churn was changed"):
            Predictor(other, pickled.sha256)
        assert not ran.exists()

    def test_a_spec_beside_the_files_can_not_say_something_else(self, pickled: Artifact) -> None:
        lying = ModelSpec("churn", Format.LIGHTGBM, signature())
        with pytest.raises(ArtifactError, match="differs from its artifact"):
            Predictor(Artifact(lying, pickled.files, pickled.sha256))


class TestPlanted:
    def test_in_the_model_file(self, folder: Path, pickled: Artifact, ran: Path) -> None:
        (folder / "model.pkl").write_bytes(pickle.dumps(Malicious(ran)))
        with pytest.raises(ArtifactError, match=r"model\.pkl"):
            Predictor(Artifact.read(folder, pickled.sha256))
        assert not ran.exists()

    @pytest.mark.parametrize("name", ["python_model.pkl", "code/evil.py", "asgard/more.json", ".hidden"])
    def test_as_one_more_file(self, folder: Path, pickled: Artifact, ran: Path, name: str) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(pickle.dumps(Malicious(ran)))
        with pytest.raises(ArtifactError, match=f"{name} in .* is not one of the model's files"):
            Artifact.read(folder, pickled.sha256)
        assert not ran.exists()

    def test_as_a_link(self, folder: Path, pickled: Artifact, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").write_bytes(pickled.content)
        (folder / "model.pkl").unlink()
        (folder / "model.pkl").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ArtifactError, match=r"model\.pkl of a model can't be read"):
            Artifact.read(folder, pickled.sha256)

    def test_as_a_linked_folder(self, folder: Path, pickled: Artifact, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (folder / "data").symlink_to(tmp_path / "data")
        with pytest.raises(ArtifactError, match="data of a model can't be read"):
            Artifact.read(folder, pickled.sha256)

    def test_by_the_loader_module_of_mlmodel(self, folder: Path, pickled: Artifact, ran: Path) -> None:
        (folder / "code" / "evil.py").write_text(f"open({str(ran)!r}, 'w')\ndef _load_pyfunc(path): ...\n")
        content = json.loads((folder / "MLmodel").read_text())
        content["flavors"]["python_function"] |= {"loader_module": "evil", "code": "code"}
        (folder / "MLmodel").write_bytes(dumps(content))
        with pytest.raises(ArtifactError, match=r"MLmodel in .* was changed"):
            Predictor(Artifact.read(folder, pickled.sha256))
        assert not ran.exists()

    def test_in_a_skops_file(self, ran: Path) -> None:
        """Even one that was registered so: skops makes objects of harmless types only."""
        import skops.io

        content = skops.io.dumps(Malicious(ran))
        with pytest.raises(ArtifactError, match="may run code"):
            load(content, Format.SKOPS, signature())
        with pytest.raises(UsageError, match="may run code"):
            dump(Malicious(ran), Format.SKOPS)
        assert not ran.exists()

    def test_in_a_pyfunc_that_would_leave_its_folder(self) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("../evil.py", "")
        with pytest.raises(ArtifactError, match="a path outside the model's folder"):
            load(buffer.getvalue(), Format.PYFUNC, signature())

    def test_cut_text_of_lightgbm_never_reaches_it(self, tmp_path: Path) -> None:
        """LightGBM ends the whole process on it."""
        boosted = artifact(Format.LIGHTGBM)
        folder = boosted.save(tmp_path / "boosted")
        (folder / "model.txt").write_bytes(boosted.content[: len(boosted.content) // 2])
        with pytest.raises(ArtifactError, match=r"model\.txt"):
            Predictor(Artifact.read(folder, boosted.sha256))


def test_the_same_model_has_the_same_hash() -> None:
    first, second = (artifact(Format.LIGHTGBM, model=fitted(Format.LIGHTGBM)) for _ in range(2))
    assert first.sha256 == second.sha256 == hash_of(first.files[MANIFEST])
