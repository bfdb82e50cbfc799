"""Processes that a test stops by a signal, and the processes that remain after them."""

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 600.0
_MARK = "ASGARD_TEST_MARK"


@dataclass
class Started:
    """A process in its own group; a mark in the environment identifies the processes that it starts."""

    process: "subprocess.Popen[str]"
    mark: str

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal, and wait; returns the exit code and all of stderr."""
        self.send(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, said

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition; fails if the process ends first."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def is_armed(self) -> bool:
        """Whether the process already handles SIGTERM; before that, Python is still starting."""
        return catches(self.pid, signal.SIGTERM)

    def left(self) -> list[str]:
        """The names of running programs that it started."""
        return sorted(name for pid, name in marked(self.mark).items() if pid != self.pid)

    def threads(self) -> list[str]:
        """The names of the threads of the process and of all processes that it started."""
        found = []
        for pid in marked(self.mark):
            for thread in Path(f"/proc/{pid}/task").glob("*/comm"):
                with suppress(OSError):
                    found.append(thread.read_text().strip())
        return found


def marked(mark: str) -> dict[int, str]:
    """The running processes with a mark in their environment: process id -> name of the program."""
    found = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and f"{_MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found[int(entry.name)] = (entry / "comm").read_text().strip()
    return found


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


@contextmanager
def started(command: Sequence[str], environment: Mapping[str, str] | None = None, **options: Any) -> Iterator[Started]:
    """Start a command with captured stderr; at the end, all of its processes are killed."""
    mark = secrets.token_hex(8)
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env={**(os.environ if environment is None else environment), _MARK: mark},
        start_new_session=True,
        preexec_fn=_as_a_shell_does,
        **options,
    )
    try:
        yield Started(process, mark)
    finally:
        for pid in marked(mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        for stream in filter(None, (process.stdout, process.stderr)):
            stream.close()


def _as_a_shell_does() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # even if the test run itself ignores them
        signal.signal(number, signal.SIG_DFL)
