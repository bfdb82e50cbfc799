"""Pack Asgard as the zip that executors import: `python -m asgard.local.package asgard.zip`.

Executors can import a zip given to `--py-files`, but not a `.whl`.
"""

import argparse
import json
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from asgard.common.git_utils import STAMP, code_version
from asgard.common.settings import load_settings


def build_zip(target: Path) -> Path:
    """Write the package, with a stamp of its code version, as `asgard/...` into a zip.

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


def main(argv: Sequence[str] | None = None) -> int:
    """Pack Asgard as the zip that executors import, and print its path."""
    parser = argparse.ArgumentParser(prog="python -m asgard.local.package", description=main.__doc__)
    parser.add_argument(
        "target", nargs="?", type=Path, default=Path("dist/asgard.zip"), help="the zip to write (default: %(default)s)"
    )
    sys.stdout.write(f"{build_zip(parser.parse_args(argv).target)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
