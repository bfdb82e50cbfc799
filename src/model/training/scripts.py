"""A user's training script, run as a separate process with limited time, memory and log. It is not a sandbox."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.errors import EnvironmentSetupError, RunError, UsageError
from asgard.common.settings import python_environment
from asgard.model.artifacts.formats import Format
from asgard.model.declaration import Script, TrainingData
from asgard.model.training import script_process
from asgard.model.training.outcome import TrainerOutput, plain_details

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = "training.log"
DETAILS = "details.json"
"""The file of its own values, by name, that a script may write beside its model."""
FORMATS = {
    ".txt": Format.LIGHTGBM,
    ".skops": Format.SKOPS,
    ".pkl": Format.PICKLE,
    ".onnx": Format.ONNX,
    ".pt": Format.TORCHSCRIPT,
}
"""The files that a script may write: `model` with one of these endings."""
_TOLD_LINES = 12
_HANDED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""Environment variables that a script gets, in addition to some prefixes: any other may be a secret."""
BEGINNING, END = 256 * 2**10, 768 * 2**10
"""Bytes of a log that are kept."""
_CHUNK = 64 * 2**10
_GRACE_SECONDS = 5.0
"""How long to wait for the end of a log: a process that was not killed may keep the pipe open."""


def run_script(script: Script, data: TrainingData, target: str, folder: Path) -> TrainerOutput:
    """Run a script on training rows.

    Args:
        script: the script to run.
        data: the training rows; a segment's value is passed as `--segment`.
        target: name of the target's column in the file that the script gets.
        folder: folder of this training, for the script's data, log and model.

    Returns:
        The model file that it wrote, its details, and what its process had imported.

    Raises:
        UsageError: the script does not exist.
        RunError: it failed, took too long, wrote no model, or wrote invalid details; with the end of its log.
    """
    if not script.path.is_file():
        raise UsageError(
            f"There is no training script {script.path}.", hint="Relative paths start at the working folder."
        )
    out = folder / "model"
    out.mkdir()
    data.features.assign(**{target: data.target}).to_parquet(folder / "train.parquet")
    (folder / "params.json").write_text(json.dumps(dict(data.params)), encoding="utf-8")
    note = folder / "imported.json"
    command = [
        *(sys.executable, "-m", script_process.__name__, str(note), str(script.path.absolute())),
        *("--data", str(folder / "train.parquet"), "--out", str(out)),
        *("--params", str(folder / "params.json"), "--seed", str(data.seed)),
        *(("--segment", _as_text(data.segment)) if data.segment is not None else ()),
    ]
    log = folder / LOG
    with bounded_log(log) as stream:
        code = _run(command, script, folder, stream)
    _require_success(code, script, log)
    models = [path for path in sorted(out.iterdir()) if path.stem == "model" and path.suffix in FORMATS]
    if len(models) != 1:
        raise RunError(
            f"The training script {script.path} left {', '.join(path.name for path in models) or 'no model'} in --out.",
            hint=f"Write one file: {', '.join(f'model{ending}' for ending in FORMATS)}.",
            details=_end_of(log),
        )
    libraries = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    return TrainerOutput(models[0].read_bytes(), FORMATS[models[0].suffix], _details(out / DETAILS, script), libraries)


def _as_text(segment: object) -> str:
    """A segment as an argument: dates in ISO 8601, booleans as in JSON."""
    return json.dumps(segment) if isinstance(segment, bool) else str(segment)


def _details(path: Path, script: Script) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(
            f"{DETAILS} of the training script {script.path} is not JSON: {error}.", hint="json.dump(details, file)"
        ) from error
    return plain_details(given, f"the training script {script.path}")


def _run(command: list[str], script: Script, folder: Path, stream: int) -> int | None:
    """Run a script and return its exit code; None if it took too long. Afterwards none of its processes runs."""
    environment = {
        name: value
        for name, value in python_environment().items()
        if name in _HANDED_ON or name.startswith(("LC_", "PYTHON", "OMP_", "CUDA_"))
    }
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stream,
        stderr=stream,
        cwd=folder,
        env=environment | {"PYTHONPATH": _search_path(environment.get("PYTHONPATH", ""))},
        start_new_session=True,  # so that the processes it starts can be killed with it
        preexec_fn=_bounded(script.memory_mb),
    )
    try:
        return process.wait(script.timeout.total_seconds())
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end_group(process)


def _search_path(given: str) -> str:
    """PYTHONPATH with this process's Asgard at its end, so that it hides no other module."""
    own = Path(__file__).absolute().parents[2]
    return os.pathsep.join(filter(None, (given, str(own.parent) if own.name == "asgard" else "")))


def _require_success(code: int | None, script: Script, log: Path) -> None:
    if code is None:
        raise RunError(
            f"The training script {script.path} did not end within {script.timeout}.",
            hint="Give it more time: Script(path, timeout=...).",
            details=_end_of(log),
        )
    if code:
        reason = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        raise RunError(
            f"The training script {script.path} ended {reason}.",
            hint=f"Its memory limit is {script.memory_mb} MB: Script(path, memory_mb=...).",
            details=_end_of(log),
        )


def _bounded(memory_mb: int) -> "Callable[[], None]":
    """Limit data, not address space: numeric libraries reserve much more address space than they use."""
    if sys.platform != "linux":
        raise EnvironmentSetupError("Training scripts can only be limited on Linux.", hint="Train in a container.")
    limit = memory_mb * 2**20

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    return bound


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _end_of(log: Path) -> tuple[str, ...]:
    return tuple(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TOLD_LINES:])


class BoundedLog:
    """A file that keeps the beginning and the end of what is written to it.

    Args:
        path: path of the file. The beginning is written at once, the end on close.
        beginning, end: number of bytes kept of each.
    """

    def __init__(self, path: Path, beginning: int = BEGINNING, end: int = END) -> None:
        self._file = path.open("wb", buffering=0)
        self._room, self._end = beginning, end
        self._rest, self._cut = bytearray(), 0
        self._lock = threading.Lock()

    def write(self, content: bytes) -> None:
        """Add content; ignored once the log is closed."""
        with self._lock:
            if self._file.closed:
                return
            first = content[: self._room]
            self._file.write(first)
            self._room -= len(first)
            self._rest += content[len(first) :]
            if len(self._rest) > 2 * self._end:
                self._shorten()

    def close(self) -> None:
        """Write the end, preceded by the number of bytes left out."""
        with self._lock:
            self._shorten()
            if self._cut:
                self._file.write(f"\n[... {self._cut:,} bytes of this log were left out here ...]\n".encode())
            self._file.write(self._rest)
            self._file.close()

    def _shorten(self) -> None:
        surplus = max(0, len(self._rest) - self._end)
        del self._rest[:surplus]
        self._cut += surplus


@contextmanager
def bounded_log(path: Path) -> Iterator[int]:
    """A descriptor for a process's output; after the block, the output's beginning and end are in a file.

    Args:
        path: path of the file.
    """
    log = BoundedLog(path)
    source, target = os.pipe()
    reader = threading.Thread(target=_copy, args=(source, log), daemon=True)
    reader.start()
    try:
        yield target
    finally:
        os.close(target)
        reader.join(_GRACE_SECONDS)
        log.close()


def _copy(source: int, log: BoundedLog) -> None:
    with os.fdopen(source, "rb", buffering=0) as stream:
        while content := stream.read(_CHUNK):
            log.write(content)
