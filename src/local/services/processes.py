"""Background processes that outlive the command that started them, and how to find them again.

A process id alone proves nothing: the process may have ended, and its id may belong to another process now. So each
service inherits an open, locked file: the kernel drops the lock when the last process that holds it ends, even by a
kill, so a lock can't be stale. A process id is trusted only together with its start time.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from asgard.common.errors import EnvironmentSetupError

POLL_SECONDS = 0.05
LOOKING_SECONDS = 1.0
"""Seconds that `spawn` retries to get a lock, because `is_locked` in another process holds it for a moment."""


def start_time(pid: int) -> str | None:
    """When a process started, in a system-specific format; None if the process does not exist or is a zombie."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{_boot_id()}:{fields[19]}"
    state, _, started = _ps(pid, "state=,lstart=").partition(" ")
    return None if state.startswith("Z") or not started else started.strip()


def program(pid: int) -> str:
    """The name of the program that a process runs, without its arguments, which may contain secrets."""
    words = command_line(pid).split()
    return Path(words[0]).name if words else "unknown"


def command_line(pid: int) -> str:
    """The command line of a process; an empty text if it is unknown."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            return ""
    return _ps(pid, "command=")


def uptime_seconds(pid: int) -> float | None:
    """How long a process has been running, or None if that is unknown."""
    if sys.platform != "linux":
        return None
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        since_boot = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return max(0.0, since_boot - ticks / os.sysconf("SC_CLK_TCK"))


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return "boot"


def _ps(pid: int, columns: str) -> str:
    answer = subprocess.run(["ps", "-o", columns, "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip()


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a file's lock while the block runs; `waiting` is called once if another process holds it now."""
    with _open_lock(path) as file:
        if not _try_lock(file, path):
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_locked(path: Path) -> bool:
    """Whether some process holds the file's lock."""
    if not path.exists():
        return False
    with _open_lock(path) as file:
        return not _try_lock(file, path, fcntl.LOCK_SH)


def _open_lock(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")
    except OSError as error:
        raise EnvironmentSetupError(
            f"{path} can't be written: {error.strerror}.", hint="Choose another folder with --dir."
        ) from error


def _try_lock(file: IO[bytes], path: Path, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise EnvironmentSetupError(
            f"{path} can't be locked: {error.strerror}.",
            hint="Choose a folder on a local disk with --dir: some network file systems have no locks.",
        ) from error
    return True


def spawn(command: Sequence[str], *, lock: Path, log: Path, environment: Mapping[str, str], folder: Path) -> int | None:
    """Start a process that survives this one and holds `lock` until it ends.

    The process has no terminal, is not our child (so it can't become our zombie), and appends its output to `log`.

    Returns:
        The process id, or None if another process holds the lock.
    """
    with _open_lock(lock) as file:
        if not wait_for(lambda: _try_lock(file, lock), LOOKING_SECONDS):
            return None
        started = subprocess.run(
            ["/bin/sh", "-c", 'log=$1; shift; "$@" >>"$log" 2>&1 </dev/null & echo $!', "sh", str(log), *command],
            pass_fds=(file.fileno(),),
            start_new_session=True,
            env=dict(environment),
            cwd=folder,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    return int(started.stdout)


def lock_holders(path: Path) -> list[int]:
    """The processes that have the file open, and so inherited its lock."""
    if sys.platform != "linux":
        answer = subprocess.run(["lsof", "-t", str(path)], capture_output=True, text=True, check=False)
        return [int(pid) for pid in answer.stdout.split()]
    wanted = str(path.resolve())
    return [pid for pid in _own_processes() if wanted in _open_files(pid)]


def _own_processes() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            yield int(entry.name)


def _open_files(pid: int) -> Iterator[str]:
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue


def port_owner(port: int) -> int | None:
    """The process that listens on a TCP port of this machine; None if it can't be found."""
    if sys.platform != "linux":
        answer = subprocess.run(
            ["lsof", "-t", "-sTCP:LISTEN", "-i", f"TCP:{port}"], capture_output=True, text=True, check=False
        )
        return next((int(pid) for pid in answer.stdout.split()), None)
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not sockets:
        return None
    return next((pid for pid in [os.getpid(), *_own_processes()] if not sockets.isdisjoint(_open_files(pid))), None)


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:  # 0A: listening
                yield fields[9]


def stop(pids: Sequence[int], *, lock: Path, limit: float) -> bool:
    """Ask processes to end, wait until their lock is free, and kill them after `limit` seconds.

    Returns:
        Whether they ended without being killed.
    """
    _signal(pids, signal.SIGTERM)
    if wait_for(lambda: not is_locked(lock), limit):
        return True
    _signal(lock_holders(lock) or pids, signal.SIGKILL)
    wait_for(lambda: not is_locked(lock), limit)
    return False


def kill(lock: Path, limit: float) -> None:
    """Kill the processes that hold a lock, and wait until they have ended, at most `limit` seconds."""
    pids = lock_holders(lock)
    _signal(pids, signal.SIGKILL)
    wait_for(lambda: not is_locked(lock) and all(start_time(pid) is None for pid in pids), limit)


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def wait_for(condition: Callable[[], bool], limit: float) -> bool:
    """Wait at most `limit` seconds until a condition is true; returns whether it became true."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
