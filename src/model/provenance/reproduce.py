"""Reproduce a version: train again from the same snapshots, code, parameters and seed, and compare with the records.

Nothing is registered or logged. The code of the recorded commit is put into a separate folder and run by a separate
process, with the Asgard and the libraries that are installed now.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asgard.common.aliases import Say
from asgard.common.errors import AsgardError, RunError, UsageError
from asgard.common.git_utils import checked_out, has_commit
from asgard.common.settings import as_variables, python_environment
from asgard.features.joins.labels import Labels
from asgard.features.pinned import PinnedTable
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import At
from asgard.model.artifacts.artifact import hash_of
from asgard.model.artifacts.environment import differences
from asgard.model.ledger.holds import held_meanwhile, release_abandoned
from asgard.model.provenance.learned_from import pinned_table
from asgard.model.provenance.retrain import Job
from asgard.model.registry import Registry
from asgard.model.training.source import PipelineSource
from asgard.model.versions import TRAINER, ModelVersion, finite

_TOLD_LINES = 12


class NotReproducibleError(AsgardError):
    """Something that a version was made from is missing. Nothing was trained."""


@dataclass(frozen=True)
class FactComparison:
    """One recorded fact, and its value in the repeated training.

    Attributes:
        decides: whether a difference means that the version was not reproduced.
    """

    what: str
    recorded: Any
    now: Any
    decides: bool = True

    @property
    def same(self) -> bool:
        """Whether both values are equal, bit for bit; NaN equals NaN."""
        return json.dumps(self.recorded, sort_keys=True) == json.dumps(self.now, sort_keys=True)

    @property
    def difference(self) -> str:
        """The comparison in words."""
        if self.same:
            return "same"
        numbers = [each for each in (self.recorded, self.now) if isinstance(each, int | float)]
        by = f" by {numbers[1] - numbers[0]:+.3g}" if len(numbers) == 2 else ""
        return f"differs{by}{'' if self.decides else ' (decides nothing)'}"


@dataclass(frozen=True)
class Reproduction:
    """The result of training a version again.

    Attributes:
        reasons: possible reasons for differences, in words: other versions of Python or libraries.
    """

    version: ModelVersion
    source: PipelineSource
    comparisons: tuple[FactComparison, ...]
    reasons: tuple[str, ...] = field(default=())

    @property
    def reproduced(self) -> bool:
        """Whether all deciding facts are the same."""
        return all(each.same for each in self.comparisons if each.decides)

    def __str__(self) -> str:
        return "reproduced" if self.reproduced else "differs"

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        shown: dict[str, Any] = finite(
            {
                "version": str(self.version),
                "verdict": str(self),
                "reasons": list(self.reasons),
                "code_version": self.source.commit,
                "snapshots": {str(name): each for name, each in self.version.binding.tables.items()},
                "comparisons": [{**asdict(each), "same": each.same} for each in self.comparisons],
            }
        )
        return shown


def reproduce(lake: Lakehouse, version: ModelVersion, pipeline: str | None = None, say: Say = print) -> Reproduction:
    """Train a version again and compare the result with its records.

    Args:
        lake: the lakehouse with its snapshots.
        version: the version to reproduce.
        pipeline: place of its pipeline, if it is no longer in the recorded place.
        say: called with one line about each step.

    Raises:
        NotReproducibleError: something that it was made from is missing; the message names it.
        ArtifactError: its files differ from those that were registered.
        RunError: the training process died.
    """
    with _in_words(version):
        source = _source(version, pipeline)
        repository = Path(_require_repository(version, source))
        artifact = Registry.of(lake.settings).artifact(version)
        release_abandoned(lake, datetime.now(UTC))
        with held_meanwhile(lake, version), checked_out(repository, source.commit) as tree:
            labels, labels_ref = _labels(lake, version, source, tree)
            for bound in version.binding.views:
                pinned_table(lake.settings, bound)
            say(f"training {version} again with the code of {source.commit[:12]}")
            job = Job(
                reference=source.reference_in(tree),
                repository=str(repository),
                tree=str(tree),
                model=version.name,
                binding=version.binding.to_json(),
                labels=labels,
                labels_ref=labels_ref,
            )
            result = _trained_again(lake, job, source, tree, say)
    compared = compare(version, result, hash_of(artifact.content))
    changed = tuple(f"version changed since: {each}" for each in differences(dict(artifact.spec.trained_with)))
    return Reproduction(version, source, compared, changed)


def compare(version: ModelVersion, result: Mapping[str, Any], file_sha256: str) -> tuple[FactComparison, ...]:
    """Compare the records of a version with the results of training it again.

    Args:
        version: the version, with the records of its training.
        result: the same facts of the new training. The trainer's details may contain durations, so they do not decide.
        file_sha256: digest of the version's model file. Some formats store the time, so it does not decide.
    """
    details = version.binding.details
    trainer_details = dict(version.binding.trainer_details)
    comparable = details["digest_method"] == result["digest_method"]
    metrics = (*version.metrics, *(name for name in result["metrics"] if name not in version.metrics))
    return (
        FactComparison("data digest", details["digest"], result["digest"], comparable),
        *(
            FactComparison(name.replace("_", " "), details.get(name), result[name])
            for name in ("rows", "train_rows", "test_rows", "test_from")
        ),
        FactComparison("params", details["params"], result["params"]),
        *(FactComparison(name, version.metrics.get(name), result["metrics"].get(name)) for name in metrics),
        FactComparison("predictions of the sample", details["sample"]["scores"], result["sample"]["scores"]),
        FactComparison("predictions of the test", details["sample"]["sha256"], result["sample"]["sha256"]),
        *(
            [FactComparison("trainer's details", trainer_details, result[TRAINER], decides=False)]
            if trainer_details or result[TRAINER]
            else []
        ),
        FactComparison("model file", file_sha256, result["file_sha256"], decides=False),
    )


@contextmanager
def _in_words(version: ModelVersion) -> Iterator[None]:
    """Turn usage errors about missing data or code into `NotReproducibleError`: they are not the caller's mistake."""
    try:
        yield
    except UsageError as error:
        raise NotReproducibleError(
            f"{version} can't be reproduced: {error.message}", hint=error.hint, details=error.details
        ) from error


def _source(version: ModelVersion, pipeline: str | None) -> PipelineSource:
    """The place of a version's pipeline, and the commit that trained it."""
    binding = version.binding
    noted = binding.details.get("source")
    if "sample" not in binding.details:
        raise UsageError(
            "its training recorded no data and no predictions.",
            hint="Only versions made by `asgard train` can be reproduced.",
        )
    if noted is None and pipeline is None:
        raise UsageError(
            "the place of its pipeline was not recorded.",
            hint="Pass --pipeline with its place, e.g. --pipeline examples/retail.",
        )
    recorded = PipelineSource.from_json(noted) if noted else None
    commit = recorded.commit if recorded and recorded.commit else binding.code_version
    dirty = recorded.dirty if recorded and recorded.commit else binding.dirty
    if dirty:
        raise UsageError(
            f"it was trained by files that differed from commit {commit[:12]} (dirty), and they were not kept.",
            hint="Commit, and train again.",
        )
    source = PipelineSource.of(pipeline) if pipeline else recorded
    if source is None or source.repository is None:
        raise UsageError(
            f"its pipeline {source.reference if source else ''} is not in a git repository.",
            hint="Pass --pipeline with its place in one that has the commit; or commit it, and train again.",
        )
    given = {**source.to_json(), "commit": commit, "dirty": False}
    return PipelineSource.from_json({**given, "folder": recorded.folder} if recorded and not pipeline else given)


def _require_repository(version: ModelVersion, source: PipelineSource) -> str:
    repository = source.repository or ""
    if not Path(repository).is_dir():
        raise UsageError(
            f"the repository of its pipeline, {repository}, is missing.", hint="Pass --pipeline with its place now."
        )
    if not has_commit(Path(repository), source.commit):
        raise UsageError(
            f"{repository} does not have the commit {source.commit or 'that trained it'}.",
            hint="Fetch it: git fetch --all; or pass --pipeline with a clone that has it.",
        )
    return repository


def _labels(lake: Lakehouse, version: ModelVersion, source: PipelineSource, tree: Path) -> tuple[str, str | None]:
    """The place of the labels, and the commit to read them at if they are in a table.

    Raises:
        UsageError: the labels are missing, or were changed.
    """
    noted = version.binding.details["labels"]
    if "sha256" not in noted:
        table = Labels(noted["source"]).table
        if table is not None:
            PinnedTable.load(lake, table, At(lake.target, noted["commit"])).require_files()
        return noted["source"], noted["commit"]
    places = [source.working_folder(tree) / noted["source"], Path(source.folder) / noted["source"]]
    files = [place for place in places if place.is_file()]
    for place in files:
        with place.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() == noted["sha256"]:
                return str(place), None
    raise UsageError(
        f"its labels {places[-1]} {'were changed' if files else 'are gone'}: "
        f"expected a file with SHA-256 {noted['sha256']}.",
        hint="Restore the file; labels in a table can't change.",
    )


def _trained_again(lake: Lakehouse, job: Job, source: PipelineSource, tree: Path, say: Say) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="asgard-reproduce-") as name:
        folder = Path(name)
        for file, content in (("job.json", json.dumps(asdict(job))), ("asgard.toml", "")):
            (folder / file).write_text(content, encoding="utf-8")
        environment = {
            **python_environment(),
            **as_variables(lake.settings),
            "ASGARD_CONFIG": str(folder / "asgard.toml"),
            "PYTHONPATH": source.search_path(tree),
            "PYTHONUNBUFFERED": "1",
        }
        command = [
            sys.executable,
            "-m",
            "asgard.model.provenance.retrain",
            str(folder / "job.json"),
            str(folder / "result.json"),
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=source.working_folder(tree),
                env=environment,
                text=True,
                start_new_session=True,  # so that the processes it starts can be killed with it
            )
            with process:
                try:
                    for line in process.stdout or ():
                        say(line.rstrip())
                    code = process.wait()
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
        if code:
            raise RunError(
                f"Training {job.model} again ended with exit code {code}.",
                hint="See the end of its log above.",
                details=tuple((folder / "log").read_text(errors="replace").splitlines()[-_TOLD_LINES:]),
            )
        result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    if "error" in result:
        error = result["error"]
        raise UsageError(error["message"], hint=error["hint"], details=tuple(error["details"]))
    return result
