"""What a command prints on stdout: with `--json` exactly one object, even if other code prints, too."""

import ctypes
import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from asgard.common.errors import AsgardError
from asgard.common.logging import redact
from asgard.common.stopping import received, tell_by

_HELP = frozenset({"--help", "-h", "--version"})


def wants_json(words: Sequence[str]) -> bool:
    """Whether a command line asks for one JSON object; not if it contains `--help` or `--version`."""
    options = words[: words.index("--")] if "--" in words else words
    return "--json" in options and _HELP.isdisjoint(options)


def give(content: object) -> None:
    """Answer with one object: printed at the end of a command with `--json`, else printed now."""
    if _answer is None:
        sys.stdout.write(_text(content))
    else:
        _answer.content = content


def alone_on_stdout(work: Callable[[], tuple[int, AsgardError | None]], *, own: bool) -> int:
    """Do the work of a command, then print its one object; all other output of the work goes to stderr.

    Args:
        work: does the work and returns the exit code and the error; may call `give`.
        own: whether the process ends with this command; then stdout stays redirected to the end.
    """
    global _answer
    answer = _answer = _Answer()
    undo = tell_by(answer.stopped)
    try:
        code, error = work()
        answer.print(code, error)
    except BaseException:
        number = received()
        if number is not None and not own:  # else it is printed when the process ends
            answer.print(128 + number, _stopped(f"stopped by signal {number}"))
        raise
    finally:
        if not own:
            undo()
            answer.close()
            _answer = None
    return code


class _Answer:
    """The object that will be printed, and the only access to stdout."""

    def __init__(self) -> None:
        self.content: object = None
        self._once = threading.Lock()
        self._before = sys.stdout
        sys.stdout.flush()
        self._saved = os.dup(1)
        try:
            self._is_real = sys.stdout.fileno() == 1
        except (OSError, ValueError):  # stdout of a test or a notebook
            self._is_real = False
        with suppress(OSError):  # stderr is closed
            os.dup2(2, 1)  # for output that bypasses Python: processes, the JVM
        sys.stdout = sys.stderr

    def print(self, code: int, error: AsgardError | None) -> None:
        if not self._once.acquire(blocking=False):
            return  # a signal arrived after the object was printed
        content = {} if self.content is None else self.content
        if error is not None:
            failure = {"error": redact(error.message), "details": list(map(redact, error.details)), "hint": error.hint}
            content = {**(content if isinstance(content, dict) else {}), **failure}
        if code and isinstance(content, dict):
            content = {**content, "exit_code": int(code)}
        text = _text(content)
        if self._is_real:
            data = text.encode()
            while data:
                data = data[os.write(self._saved, data) :]
        else:
            self._before.write(text)

    def stopped(self, line: str, code: int) -> None:
        with suppress(OSError, ValueError):
            os.write(2, f"{line}\n".encode())
        with suppress(OSError, ValueError):
            self.print(code, _stopped(line))

    def close(self) -> None:
        sys.stderr.flush()
        if self._is_real:
            with suppress(OSError, ValueError):
                sys.__stdout__.flush()  # type: ignore[union-attr]
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).fflush(None)  # flush what C libraries have printed so far
        os.dup2(self._saved, 1)
        os.close(self._saved)
        sys.stdout = self._before


def _stopped(line: str) -> AsgardError:
    return AsgardError(line, hint="Run the same command again.")


def _text(content: Any) -> str:
    return json.dumps(content, indent=2, allow_nan=False, default=str) + "\n"


_answer: _Answer | None = None
