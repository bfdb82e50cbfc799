"""What this process remembers of what it read: a lookup's own memory, with bounded staleness."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from time import monotonic

from asgard.serving.codecs.base import Stored
from asgard.serving.lookup.request import StoredRows
from asgard.serving.lookup.view_header import Head


class ValueCache:
    """The last values that were read, each for so many seconds since it was asked for, with the head it was read with.

    Args:
        seconds: after which a value is read again; 0: nothing is remembered.
        size: how many values, the least recently used goes first.
    """

    def __init__(self, seconds: float, size: int) -> None:
        self.is_on = seconds > 0
        self._seconds, self._size = seconds, size
        self._values: OrderedDict[str, tuple[float, Head, Stored]] = OrderedDict()
        self._lock = threading.Lock()

    def now(self) -> float:
        """A moment, for `put`."""
        return monotonic()

    def get(self, names: Sequence[Sequence[str]]) -> StoredRows | None:
        """What was read of these names, by view, if that is young enough; of a view that changed between, nothing.

        So all rows of one answer are of the snapshot that is told with them.
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
        """Remember what was read.

        Args:
            names: by view.
            stored: what was read of them.
            moment: when, by `now`, before anything was read.
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
