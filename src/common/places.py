"""Find the line of the user's own code that an error came from, not a library's line above or below it."""

import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

_FRAME = re.compile(r'^\s*File "(?P<file>[^"\n]+)", line (?P<line>\d+)(?:, in (?P<function>.+))?$', re.MULTILINE)
_LAST = re.compile(r"^(?P<kind>[A-Za-z_][\w.]*)(?:: (?P<text>.*))?$")
_INSTALLED = ("site-packages", "dist-packages")
_ABOVE_SPARK = (*_INSTALLED, "python", "lib")
_TRACEBACK = "Traceback (most recent call last):"


@dataclass(frozen=True)
class CodeLine:
    """A line of code."""

    file: str
    line: int
    function: str = ""

    def __str__(self) -> str:
        where = f"{_short(self.file)}, line {self.line}"
        return f"{where}, in {self.function}" if self.function and not self.function.startswith("<") else where


@dataclass(frozen=True)
class Raised:
    """The message of a Python error, and the line of the user's code that it came from.

    Attributes:
        text: its type and message, e.g. `KeyError: 'customer'`.
        place: None if no frame is in the user's code.
    """

    text: str
    place: CodeLine | None

    def __str__(self) -> str:
        return f"{self.text} ({self.place})" if self.place else self.text


def place_of(error: BaseException) -> CodeLine | None:
    """The innermost line of the user's code that an error came through; for a syntax error, the wrong line."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return CodeLine(error.filename, error.lineno)
    frames = traceback.extract_tb(error.__traceback__)
    return _picked([CodeLine(frame.filename, frame.lineno or 0, frame.name) for frame in frames])


def calling_place() -> CodeLine | None:
    """The line of the user's code that is calling."""
    frames = traceback.extract_stack(sys._getframe(1))
    return _picked([CodeLine(frame.filename, frame.lineno or 0, frame.name) for frame in frames])


def ending_of(error: BaseException) -> str:
    """The statement by which code tried to end the process, and its place: `sys.exit(0) (shop.py, line 3)`."""
    place = place_of(error)
    how = f"raise {type(error).__name__}"
    if isinstance(error, SystemExit):
        how = f"sys.exit({'' if error.code is None else repr(error.code)})"
    return f"{how} ({place})" if place else how


def raised(error: BaseException) -> Raised:
    """Describe a Python error of this process."""
    first_line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return Raised(
        _plain(f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__), place_of(error)
    )


def raised_on_worker(text: str) -> Raised | None:
    """The Python error in Spark's text of a worker's traceback; None if the text contains none.

    If it contains several (one was raised while another was handled), the last one is returned.
    """
    if _TRACEBACK not in text:
        return None
    block = text.rpartition(_TRACEBACK)[2].lstrip("\n")
    frames: list[CodeLine] = []
    for line in block.splitlines():
        frame = _FRAME.match(line)
        if frame:
            frames.append(CodeLine(frame["file"], int(frame["line"]), frame["function"] or ""))
        elif line[:1].strip():
            last = _LAST.match(line)
            return Raised(_plain(line), _picked(frames)) if last else None
    return None


def _plain(line: str) -> str:
    """The last line of a traceback: the error's type without its packages, and its message."""
    match = _LAST.match(line.strip().split("\n")[0])
    if match is None:
        return line.strip()[:600]
    kind = match["kind"].rpartition(".")[2]
    return f"{kind}: {match['text']}"[:600] if match["text"] else kind


def _picked(frames: Sequence[CodeLine]) -> CodeLine | None:
    """The user's innermost frame; if the user's code is installed beside libraries, the frame that Spark called."""
    own = [frame for frame in frames if not _is_library(frame.file)]
    if own:
        return own[-1]
    called = (frame for caller, frame in pairwise(frames) if _is_sparks(caller.file) and not _is_machinery(frame.file))
    return next(called, None)


def _is_library(file: str) -> bool:
    return _is_machinery(file) or any(part in _INSTALLED for part in Path(file).parts)


def _is_sparks(file: str) -> bool:
    parts = Path(file).parts
    return "pyspark.zip" in parts or any(name == "pyspark" and above in _ABOVE_SPARK for above, name in pairwise(parts))


def _is_machinery(file: str) -> bool:
    """Whether a frame's code belongs to Asgard, Spark or Python, or is not in a file."""
    if file.startswith("<") or file == "":
        return True
    parts = Path(file).parts
    if _is_sparks(file) or any(part in ("py4j", "asgard.zip") or part.startswith("py4j-") for part in parts):
        return True
    path = os.path.realpath(file)
    inside = any(path.startswith(root + os.sep) for root in _machinery_roots())
    installed = any(part in _INSTALLED for part in parts)
    return path.startswith(_home() + os.sep) or (inside and not installed)


@cache
def _home() -> str:
    return os.path.realpath(Path(__file__).parent.parent)


@cache
def _machinery_roots() -> tuple[str, ...]:
    return tuple({os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")})


def _short(file: str) -> str:
    """A path relative to the working folder if it is inside it, else unchanged."""
    try:
        inside = os.path.relpath(file)
    except ValueError:
        return file
    return file if inside.startswith("..") or not os.path.isabs(file) else inside
