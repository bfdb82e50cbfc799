"""Pack Asgard as the zip that executors import: `python -m asgard.local.package asgard.zip`.

A `.whl` given to `--py-files` is not importable on executors, a zip is.
"""

import json
import sys
import zipfile
from pathlib import Path

from asgard.common.git import STAMP, code_version
from asgard.common.settings import load_settings


def build_zip(target: Path) -> Path:
    """Write the package, stamped with its code version, as `asgard/...` into a zip.

    Raises:
        OSError: the file can't be written.
    """
    source = Path(__file__).parent.parent
    version = code_version(load_settings(), source)
    files = [path for path in sorted(source.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            if path.name != STAMP:
                archive.write(path, Path("asgard") / path.relative_to(source))
        stamp = json.dumps({"commit": version.version, "dirty": version.dirty})
        archive.writestr(f"asgard/{STAMP}", stamp)
    return target


if __name__ == "__main__":
    made = build_zip(Path(sys.argv[1] if len(sys.argv) > 1 else "dist/asgard.zip"))
    sys.stdout.write(f"{made}\n")
