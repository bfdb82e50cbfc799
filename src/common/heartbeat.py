"""Signs of life: a file that is renewed while a process works, and when one counts as dead."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from asgard.common.errors import AsgardError

RENEWAL_SECONDS = 60.0
DEAD_AFTER = timedelta(hours=1)
"""Dead is only what was last renewed so long ago (design, sections 3 and 9)."""


@contextmanager
def beating(renew: Callable[[], None], name: str) -> Iterator[None]:
    """Call `renew` now, and then each minute until the block ends.

    Args:
        renew: writes the sign of life.
        name: of the thread that calls it.

    Raises:
        AsgardError: of the first call; a later one may fail, as the next may get through.
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
