"""Processes of a test's own."""

import os
from pathlib import Path


def environment(root: Path, **changes: str) -> dict[str, str]:
    """This process's environment, in which the tests' modules are found too; what it finds otherwise comes first."""
    paths = filter(None, (os.environ.get("PYTHONPATH"), str(root)))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **changes}
