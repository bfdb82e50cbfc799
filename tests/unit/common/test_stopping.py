"""A signal ends a command: its exit code, one line, and no process that it started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.stopping import Started, started

LINES = {
    signal.SIGINT: "stopped: nothing incomplete was published\n",
    signal.SIGTERM: "terminated: nothing incomplete was published\n",
    signal.SIGHUP: "the terminal was closed: nothing incomplete was published\n",
}
HEAD = """
import ctypes, os, signal, subprocess, sys, threading, time, weakref
from pathlib import Path
from asgard.common import stopping
from asgard.common.stopping import Stopped, stoppable
here = Path(sys.argv[1])
def ready(): (here / "ready").touch()
def rest():
    ready()
    time.sleep(600)
"""


@contextmanager
def program(folder: Path, work: str, *, settings: str = "") -> Iterator[Started]:
    """A process that does `work`, once it is ready for a signal."""
    code = f"{HEAD}{settings}\n{work}\nraise SystemExit(stoppable(work, own=True))"
    with started([sys.executable, "-c", code, str(folder)]) as process:
        process.wait_for((folder / "ready").exists)
        yield process


@pytest.mark.parametrize("number", LINES)
def test_the_exit_code_and_one_line(number: signal.Signals, tmp_path: Path) -> None:
    with program(tmp_path, "def work():\n    try: rest()\n    finally: (here / 'cleaned').touch()") as process:
        assert process.stop(number) == (128 + number, LINES[number])
    assert (tmp_path / "cleaned").exists()


WORKS = {
    "replaced": "def work():\n    try: rest()\n    except BaseException: raise ValueError('closed') from None",
    "swallowed": "def work():\n    try: rest()\n    except BaseException: return 0",
    "a library's own handler": (
        "def theirs(*_): raise KeyboardInterrupt\n"
        "def work():\n    signal.signal(signal.SIGINT, theirs); signal.signal(signal.SIGTERM, theirs); rest()"
    ),
    "a library's own handler, while it starts": (
        "def theirs(*_): os.write(2, b'theirs'); raise KeyboardInterrupt\n"
        "def work():\n    with stopping.keeping_handlers():\n"
        "        signal.signal(signal.SIGINT, theirs); signal.signal(signal.SIGTERM, theirs); rest()"
    ),
    "where nothing can be raised": (
        "class Slow:\n    def __del__(self):\n        ready()\n        end = time.monotonic() + 600\n"
        "        while time.monotonic() < end: pass\n"
        "def work():\n    Slow()\n    time.sleep(600)"
    ),
    "a forked child": (
        "def work():\n    pid = os.fork()\n    if not pid: time.sleep(600)\n"
        "    os.kill(pid, signal.SIGTERM); assert os.waitpid(pid, 0)[1] == signal.SIGTERM\n"
        "    assert stopping.received() is None\n    rest()"
    ),
}


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whatever_becomes_of_the_exception(work: str, number: signal.Signals, tmp_path: Path) -> None:
    with program(tmp_path, work) as process:
        assert process.stop(number) == (128 + number, LINES[number])


@pytest.mark.parametrize("number", LINES)
def test_a_command_that_is_done_has_its_own_code(number: signal.Signals, tmp_path: Path) -> None:
    work = (
        "class Late:\n    def __init__(self): self.file, self.sleep = here / 'ready', time.sleep\n"
        "    def __del__(self):\n        self.file.touch()\n        self.sleep(1)\n"
        "late = Late()\n"
        "def work(): return 7"
    )
    with program(tmp_path, work) as process:  # Python takes itself down, and has no handlers any more
        assert process.stop(number) == (7, "")


HANGING = {
    "cleanup": "def work():\n    try: rest()\n    finally: time.sleep(600)",
    "code outside of Python": "def work():\n    ready(); ctypes.CDLL(None).sleep(600)",
    "a thread": "def work():\n    threading.Thread(target=time.sleep, args=(600,)).start(); rest()",
}


@pytest.mark.parametrize("work", HANGING.values(), ids=HANGING)
def test_what_hangs_is_given_up(work: str, tmp_path: Path) -> None:
    with program(tmp_path, work, settings="stopping.CLEANUP_SECONDS = 2.0") as process:
        began = time.monotonic()
        assert process.stop(signal.SIGTERM) == (143, LINES[signal.SIGTERM])
        assert time.monotonic() - began < 60


def test_a_second_signal_does_not_cut_the_cleanup_short(tmp_path: Path) -> None:
    work = """
def work():
    try: rest()
    finally:
        (here / 'cleaning').touch()
        while not (here / 'again').exists(): time.sleep(0.01)
        (here / 'cleaned').touch()
"""
    with program(tmp_path, work) as process:
        process.send(signal.SIGINT)
        process.wait_for((tmp_path / "cleaning").exists)
        for _ in range(3):
            process.send(signal.SIGINT)
            process.send(signal.SIGTERM)
        (tmp_path / "again").touch()
        assert process.ended() == (130, LINES[signal.SIGINT])
    assert (tmp_path / "cleaned").exists()


CHILDREN = {
    "a child": ("touch $0; exec sleep 600", False),
    "one that does not listen": ("trap '' TERM INT; touch $0; while :; do sleep 0.1; done", False),
    "a grandchild in another group": ("touch $0; sleep 600 & wait", True),
    "one whose parent has ended": ("sleep 600 & (while :; do sleep 0.1; done) & touch $0", True),
}


@pytest.mark.parametrize(("script", "group"), CHILDREN.values(), ids=CHILDREN)
def test_no_child_is_left(script: str, group: bool, tmp_path: Path) -> None:
    work = f"""
def work():
    child = subprocess.Popen(
        ['sh', '-c', {script!r}, here / 'ready'], start_new_session={group}, stderr=subprocess.DEVNULL
    )  # a shell may say "Killed" of its own child
    time.sleep(600)
"""
    with program(tmp_path, work, settings="stopping.POLITE_SECONDS = 0.5") as process:
        assert process.stop(signal.SIGTERM) == (143, LINES[signal.SIGTERM])
        assert process.left() == []


def test_what_the_caller_started_before_lives_on_and_so_does_the_caller(tmp_path: Path) -> None:
    code = f"""{HEAD}
before = subprocess.Popen(['sleep', '600'])
def work():
    during = subprocess.Popen(['sleep', '600']); (here / 'during').write_text(str(during.pid))
    rest()
code = stoppable(work)
assert before.poll() is None
before.kill(); before.wait()
raise SystemExit(100 + (code == 143))"""
    for turn in range(5):  # the second thread must not end a process that goes on
        folder = tmp_path / str(turn)
        folder.mkdir()
        with started([sys.executable, "-c", code, str(folder)]) as process:
            process.wait_for((folder / "ready").exists)
            assert process.stop(signal.SIGTERM) == (101, LINES[signal.SIGTERM])
            assert process.left() == []


def test_a_signal_to_the_group_is_one_signal(tmp_path: Path) -> None:
    with program(tmp_path, "def work():\n    subprocess.run(['sleep', '600']) if not ready() else 0") as process:
        process.wait_for(lambda: "sleep" in process.left())
        os.killpg(process.pid, signal.SIGINT)
        assert process.ended() == (130, LINES[signal.SIGINT])


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    code = f"{HEAD}\ndef work():\n    ready()\n    while not (here / 'go').exists(): time.sleep(0.01)\n    return 0"
    command = [sys.executable, "-c", f"{code}\nraise SystemExit(stoppable(work, own=True))", str(tmp_path)]
    with started(["nohup", *command], stdin=subprocess.DEVNULL) as process:
        process.wait_for((tmp_path / "ready").exists)
        process.send(signal.SIGHUP)
        (tmp_path / "go").touch()
        assert process.ended()[0] == 0


def test_without_a_signal_nothing_changes(tmp_path: Path) -> None:
    from asgard.common import stopping

    before = [signal.getsignal(number) for number in LINES]
    assert stopping.stoppable(lambda: 3) == 3
    with pytest.raises(KeyboardInterrupt):
        stopping.stoppable(_interrupt)
    assert [signal.getsignal(number) for number in LINES] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert stopping.received() is None


def _interrupt() -> int:
    raise KeyboardInterrupt
