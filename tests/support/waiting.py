"""Waiting for a condition."""

import time
from collections.abc import Callable

PATIENCE_SECONDS = 180


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition; `what` describes it in the error."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"gave up waiting until {what}"
        time.sleep(0.05)
