"""Find and end the processes that this one started, directly or indirectly."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

POLL_SECONDS = 0.05
_Row = tuple[int, int, int, bool]
"""Process, its parent, its process group, and whether it is alive (a zombie is not)."""


def descendants() -> frozenset[int]:
    """The living processes that this one started, directly or indirectly."""
    return frozenset(_living(set()))


def end_descendants(polite: float, limit: float, spare: frozenset[int] = frozenset()) -> None:
    """End every descendant of this process by SIGTERM, and after `polite` seconds by SIGKILL.

    A process whose parent ended first is found by its process group, unless that is this process's own group.

    Args:
        polite: seconds that the descendants have for their cleanup.
        limit: seconds after which this returns, even if some are still alive.
        spare: processes that are never ended.
    """
    groups: set[int] = set()
    asked: set[int] = set()
    began = time.monotonic()
    while alive := _living(groups) - spare:
        waited = time.monotonic() - began
        if waited > limit:
            return
        if waited > polite:
            _send(signal.SIGKILL, _stopped(groups, spare))
        else:
            _send(signal.SIGTERM, alive - asked)
            asked |= alive
        time.sleep(POLL_SECONDS)


def _stopped(groups: set[int], spare: frozenset[int]) -> set[int]:
    """Stop all descendants by SIGSTOP and return them: a stopped process can't start another one that we would miss."""
    stopped = set[int]()
    while new := _living(groups) - spare - stopped:
        _send(signal.SIGSTOP, new)
        stopped |= new
    return stopped


def _send(number: signal.Signals, pids: set[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _living(groups: set[int]) -> set[int]:
    """The living descendants and all living members of their groups; adds the descendants' groups to `groups`."""
    rows = list(_processes())
    descendants, parents = set[int](), {os.getpid()}
    while parents:
        parents = {pid for pid, parent, _, _ in rows if parent in parents} - descendants
        descendants |= parents
    groups |= {group for pid, _, group, _ in rows if pid in descendants} - {os.getpgrp()}
    return {pid for pid, _, group, lives in rows if lives and (pid in descendants or group in groups)}


def _processes() -> Iterator[_Row]:
    """All processes of this machine."""
    if sys.platform == "linux":
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError, IndexError, ValueError):
                    state, parent, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                    yield int(entry.name), int(parent), int(group), state not in "ZX"
        return
    with subprocess.Popen(["ps", "-axo", "pid=,ppid=,pgid=,state="], stdout=subprocess.PIPE, text=True) as listing:
        for line in listing.stdout or ():
            pid, parent, group, state = line.split()[:4]
            if int(pid) != listing.pid:
                yield int(pid), int(parent), int(group), not state.startswith("Z")
