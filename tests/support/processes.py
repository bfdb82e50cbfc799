"""Processes of a test's own."""

import os
import subprocess
from pathlib import Path

from tests.support.waiting import PATIENCE_SECONDS


def environment(root: Path, **changes: str) -> dict[str, str]:
    """This process's environment, in which the tests' modules are found too; what it finds otherwise comes first."""
    paths = filter(None, (os.environ.get("PYTHONPATH"), str(root)))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **changes}


def end_of(worker: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for the end of a process: its exit code, and its standard error."""
    _, said = worker.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in said
    return worker.returncode, said
