"""How a command ends on Ctrl-C, SIGTERM and a lost terminal: one line, exit code 128 + signal, no process left.

The handler raises `Stopped` in the main thread, at any point, so that `with` and `finally` clean up. That alone is not
enough: native code does not run Python's handlers, libraries convert unknown exceptions into their own errors, and a
thread or a service may block the cleanup. So a second thread is notified of the signal at once. It ends the processes
that this one started (the JVM first), and this one, too, if the cleanup takes too long. After a signal, any failure
counts as caused by the signal, whatever its error says: see `received` and `require_none`.
"""

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from asgard.common.descendants import POLL_SECONDS, descendants, end_descendants

CLEANUP_SECONDS = 8.0
"""Seconds that the cleanup may take: docker kills 10 s after its SIGTERM, Kubernetes 30 s."""
POLITE_SECONDS = 3.0
_WORDS = {
    signal.SIGINT: "stopped: nothing incomplete was published",
    signal.SIGTERM: "terminated: nothing incomplete was published",
    signal.SIGHUP: "the terminal was closed: nothing incomplete was published",
}
Tell = Callable[[str, int], None]


class Stopped(BaseException):
    """A signal arrived: the command ends now, and a run's branch is kept."""


def stoppable(work: Callable[[], int], own: bool = False) -> int:
    """Do the work of a command, and end it when a signal arrives.

    Outside the main thread, or within another `stoppable`, this only does the work.

    Args:
        work: does the work and returns the exit code.
        own: whether the process ends with this command; then its handlers stay installed.

    Returns:
        The exit code of the work; after a signal, 128 + its number, and a line about it is on stderr.
    """
    global _stop
    if _stop is not None or threading.current_thread() is not threading.main_thread():
        return work()
    stop = _stop = _Stop(frozenset() if own else descendants())
    try:
        stop.install()
        if own:
            atexit.register(stop.ignore)
        try:
            code = work()
        finally:
            stop.over = True  # from here on the handler does not raise
    except BaseException as error:
        if stop.number is None and isinstance(error, KeyboardInterrupt):
            stop.heard.wait(0.5)  # another handler than ours raised: the thread is being notified now
        if stop.number is None:
            raise
        code = stop.finish()
    else:
        code = stop.finish() if stop.raised else code
    finally:
        if not own:
            stop.restore()
            _stop = None
    return code


def received() -> int | None:
    """The first signal that this command received, or None."""
    return _stop.number if _stop is not None else None


def require_none() -> None:
    """Stop here if a signal was received: a failure after it may have been caused by it.

    Raises:
        Stopped: a signal was received.
    """
    if received() is not None:
        raise Stopped


@contextlib.contextmanager
def keeping_handlers() -> Iterator[None]:
    """Keep the handlers of `stoppable` while libraries in this block try to set their own.

    PySpark's own handler of SIGINT calls the JVM, and so it fails if the signal arrives in the middle of a call.
    """
    if _stop is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    set_handler = signal.signal

    def guarded(number: int, handler: Any) -> Any:
        return signal.getsignal(number) if number in _WORDS else set_handler(number, handler)

    signal.signal = guarded  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = set_handler


def tell_by(tell: Tell) -> Callable[[], None]:
    """Report a signal by `tell` (line, exit code) instead of a line on stderr; returns a function that undoes this."""
    global _tell
    before, _tell = _tell, tell

    def undo() -> None:
        global _tell
        _tell = before

    return undo


def _say(line: str, _code: int) -> None:
    with contextlib.suppress(OSError, ValueError):  # a closed terminal
        os.write(2, f"{line}\n".encode())


class _Stop:
    """The signals of one command.

    Attributes:
        number: the first signal that arrived.
        raised: whether `Stopped` was raised for it.
        over: whether the work has ended, so that nothing would catch what the handler raises.
        heard: set once the second thread was notified.
        spare: processes that the caller had started before the command.
    """

    def __init__(self, spare: frozenset[int]) -> None:
        self.spare = spare
        self.number: int | None = None
        self.raised = False
        self.over = False
        self.heard = threading.Event()
        self._ended, self._restored = threading.Event(), threading.Event()
        self._telling = threading.Lock()
        self._before: dict[int, Any] = {}
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)

    def install(self) -> None:
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        self._wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        for number in _WORDS:
            current = signal.getsignal(number)
            if current not in (signal.SIG_IGN, self._on_signal):  # nohup, and what a shell starts with &
                self._before.setdefault(number, current)
                signal.signal(number, self._on_signal)

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        sys.unraisablehook = self._hook
        self._restored.set()
        os.close(self._writing)  # ends the thread

    def ignore(self) -> None:
        """Ignore signals while Python shuts down: it has no handlers then, and a signal would kill a done command."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def forget(self) -> None:
        """In a forked child, restore the former handlers, so that its signals do not reach the parent by the pipe."""
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.number = self.number or number
        if not self.raised and not self.over:
            self.raised = True
            raise Stopped

    def _unraisable(self, lost: Any) -> None:
        if isinstance(lost.exc_value, Stopped):  # raised where Python drops exceptions, such as in `__del__`
            again = threading.Timer(POLL_SECONDS, self._raise_again)
            again.daemon = True
            again.start()
        elif self.number is None:
            self._hook(lost)

    def _raise_again(self) -> None:
        if self.number is not None and not self.over:
            self.raised = False
            signal.pthread_kill(threading.main_thread().ident or 0, self.number)

    def _listen(self) -> None:
        while heard := os.read(self._reading, 1):
            if heard[0] in _WORDS:
                break
        else:
            os.close(self._reading)
            return
        self.number = self.number or heard[0]
        self.heard.set()
        if self.over and not self.raised:  # nothing else will report it
            self._end_now()
        deadline = time.monotonic() + CLEANUP_SECONDS
        logging.getLogger("py4j").setLevel(logging.CRITICAL + 1)  # it logs each call that the JVM does not answer
        threading.excepthook = lambda _lost: None
        end_descendants(POLITE_SECONDS, CLEANUP_SECONDS - 1, self.spare)
        self._ended.set()
        if not self._restored.wait(max(0.0, deadline - time.monotonic())):
            self._end_now()

    def finish(self) -> int:
        """Wait until the processes have ended, then report the signal."""
        self.heard.wait(1.0)
        self._ended.wait(CLEANUP_SECONDS)
        return self._told()

    def _end_now(self) -> None:
        end_descendants(0, 1.0, self.spare)
        os._exit(self._told())

    def _told(self) -> int:
        code = 128 + (self.number or 0)
        if self._telling.acquire(blocking=False):
            _tell(_WORDS[signal.Signals(self.number or signal.SIGTERM)], code)
        return code


_stop: _Stop | None = None
_tell: Tell = _say


_mask = threading.local()


def _before_fork() -> None:
    """Block signals: one that arrives between the fork and `_in_child` would reach the parent by the pipe."""
    if _stop is not None:
        _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _WORDS)


def _in_parent() -> None:
    before = _mask.__dict__.pop("before", None)
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_child() -> None:
    global _stop
    if _stop is not None:
        _stop.forget()
        _stop = None
    _in_parent()


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
