"""Processes that a test starts."""

import os
import subprocess
from pathlib import Path

from tests.support.waiting import PATIENCE_SECONDS


def environment(root: Path, **changes: str) -> dict[str, str]:
    """Return this process's environment, with the tests' modules added at the end of PYTHONPATH."""
    paths = filter(None, (os.environ.get("PYTHONPATH"), str(root)))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **changes}


def end_of(worker: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait until a process ends; returns its exit code and its standard error."""
    _, said = worker.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in said
    return worker.returncode, said
