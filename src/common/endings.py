"""How and where code of a pipeline tried to end the process: an exit is an error, with file and line."""

import sysconfig
import traceback
from pathlib import Path


def raised_at(error: BaseException) -> str:
    """` (file, line 3)` of the innermost frame that is neither Asgard's, Python's own nor a library's; "" for none."""
    paths = sysconfig.get_paths()
    others = [Path(__file__).parent.parent, *(Path(paths[name]) for name in ("stdlib", "purelib", "platlib"))]
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        path = Path(frame.f_code.co_filename)
        if path.exists() and not any(path.is_relative_to(other) for other in others):
            return f" ({path}, line {line})"
    return ""


def ending_of(error: BaseException) -> str:
    """How code tried to end the process, as it is written: `sys.exit(0)`, or what it raised."""
    if isinstance(error, SystemExit):
        return f"sys.exit({'' if error.code is None else repr(error.code)})"
    return f"raise {type(error).__name__}"
