"""Heartbeats: a file that is renewed while a process works, and the age at which it counts as dead."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from asgard.common.errors import AsgardError

RENEWAL_SECONDS = 60.0
DEAD_AFTER = timedelta(hours=1)
"""Age of the last renewal after which a process counts as dead (design, sections 3 and 9)."""


@contextmanager
def beating(renew: Callable[[], None], name: str) -> Iterator[None]:
    """Call `renew` now, and then each minute until the block ends.

    Args:
        renew: writes the heartbeat.
        name: name of the thread that calls it.

    Raises:
        AsgardError: the first call failed; errors of later calls are ignored, because the next call may succeed.
    """
    renew()
    ended = threading.Event()

    def keep_renewing() -> None:
        while not ended.wait(RENEWAL_SECONDS):
            with suppress(AsgardError):
                renew()

    thread = threading.Thread(target=keep_renewing, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
