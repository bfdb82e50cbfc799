"""Answers that this process remembers for a while: a lookup's own memory, with bounded staleness."""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence

from asgard.serving.asked import Answer, Row, Status


class RowCache:
    """The last rows that were looked up, each for so many seconds since it was asked for; they are shared, not copied.

    Args:
        seconds: after which a row is read again; 0: nothing is remembered.
        rows: how many, the least recently used goes first.
    """

    def __init__(self, seconds: float, rows: int) -> None:
        self._seconds, self._size = seconds, rows
        self._rows: OrderedDict[Hashable, tuple[float, Row]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def is_on(self) -> bool:
        """Whether anything is remembered."""
        return self._seconds > 0

    def get(self, names: Sequence[Hashable]) -> list[Row] | None:
        """The rows of these names, if all of them are remembered and none has expired since."""
        now = time.monotonic()
        found = []
        with self._lock:
            for name in names:
                until, row = self._rows.get(name, (0.0, None))
                if row is None or until <= now:
                    return None
                self._rows.move_to_end(name)
                found.append(row)
        return found

    def put(self, names: Sequence[Hashable], rows: Sequence[Row], asked: float) -> None:
        """Remember what was read.

        Args:
            names: of the rows.
            rows: as they were read.
            asked: when, by the monotonic clock, before anything was read.
        """
        clock = time.time() - time.monotonic()
        with self._lock:
            for name, row in zip(names, rows, strict=True):
                until = min([asked + self._seconds, *(_end(each) - clock for each in row.answers)])
                if until > self._rows.get(name, (0.0, row))[0]:
                    self._rows[name] = (until, row)
            while len(self._rows) > self._size:
                self._rows.popitem(last=False)


def _end(answer: Answer) -> float:
    """When a row's ttl ends, in seconds since 1970; one that has ended already stays as it is."""
    if answer.event_micros is None or answer.head.ttl_seconds is None or answer.status is Status.EXPIRED:
        return float("inf")
    return answer.event_micros / 1_000_000 + answer.head.ttl_seconds
