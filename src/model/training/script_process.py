"""The process of a training script: runs it like `python SCRIPT`, and records what it imported.

python -m asgard.model.training.script_process NOTE SCRIPT ARGUMENTS
"""

import json
import runpy
import sys
from pathlib import Path

from asgard.model.artifacts.environment import imported_versions


def main(note: str, script: str, *arguments: str) -> None:
    """Run a script to its end, then write the versions of what this process has imported."""
    sys.argv = [script, *arguments]
    if not sys.flags.safe_path:
        sys.path[0] = str(Path(script).parent)
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise
    Path(note).write_text(json.dumps(imported_versions()), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
