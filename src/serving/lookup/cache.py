"""A cache of looked-up values in this process, with bounded staleness."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from time import monotonic

from asgard.serving.codecs.base import Stored
from asgard.serving.lookup.request import StoredRows
from asgard.serving.lookup.view_header import Head


class ValueCache:
    """The latest values read, each with the head it was read with; kept for a number of seconds since the request.

    Args:
        seconds: after which a value is read again; 0: nothing is cached.
        size: most values in the cache; the least recently used are removed first.
    """

    def __init__(self, seconds: float, size: int) -> None:
        self.is_on = seconds > 0
        self._seconds, self._size = seconds, size
        self._values: OrderedDict[str, tuple[float, Head, Stored]] = OrderedDict()
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the current moment, as `put` takes it."""
        return monotonic()

    def get(self, names: Sequence[Sequence[str]]) -> StoredRows | None:
        """Return the cached rows of these names, by view; None if one is missing, too old, or read with another head.

        So all rows of one answer belong to the snapshot that is reported with them.
        """
        if not names or not names[0]:
            return None
        now = self.now()
        heads, values = [], []
        with self._lock:
            for view in names:
                cached = [self._values.get(name, _NOTHING) for name in view]
                head = cached[0][1]
                if head is None or any(until <= now or other is not head for until, other, _ in cached):
                    return None
                for name in view:
                    self._values.move_to_end(name)
                heads.append(head)
                values.append([value for _, _, value in cached])
        return StoredRows(heads, values)

    def put(self, names: Sequence[Sequence[str]], stored: StoredRows, moment: float) -> None:
        """Cache rows.

        Args:
            names: names of the rows, by view.
            stored: the rows of these names.
            moment: the time by `now`, taken before the rows were read.
        """
        until = moment + self._seconds
        with self._lock:
            for view, head, values in zip(names, stored.heads, stored.values, strict=True):
                for name, value in zip(view, values, strict=True):
                    if until >= self._values.get(name, _NOTHING)[0]:
                        self._values[name] = (until, head, value)
                        self._values.move_to_end(name)
            while len(self._values) > self._size:
                self._values.popitem(last=False)


_NOTHING: tuple[float, Head | None, Stored] = (float("-inf"), None, None)
