"""Sending batches in a thread: Redis writes one batch while the next ones are read and encoded."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from asgard.common.failpoints import failpoint
from asgard.serving.codecs.base import EncodedBatch, RowCodec
from asgard.serving.redis_access.fence import Fenced

Given = TypeVar("Given")
Answer = TypeVar("Answer")
_MOST = 2
"""Most calls that wait or run at one time, which bounds their memory."""


def send(fenced: Fenced, codec: RowCodec, generation: str, batches: Iterable[EncodedBatch]) -> tuple[int, int]:
    """Write rows and delete entities, batch by batch.

    Returns:
        How many rows were written, and how many entities were deleted.

    Raises:
        ConflictError: another sync of the view began; nothing more is written.
        ServiceError: Redis refuses, does not answer, or was restarted.
    """

    def write(batch: EncodedBatch) -> tuple[int, int]:
        _, gone = fenced.write(codec, generation, batch)
        failpoint("between-batches")
        return len(batch.entities), gone

    written = deleted = 0
    for rows, gone in in_flight(write, batches):
        written, deleted = written + rows, deleted + gone
    return written, deleted


def in_flight(call: Callable[[Given], Answer], given: Iterable[Given]) -> Iterator[Answer]:
    """Call a function for each item, in order and one at a time, in a separate thread.

    Returns:
        The answers; the first exception is raised, and waiting calls are cancelled.
    """
    under_way: deque[Future[Answer]] = deque()
    with ThreadPoolExecutor(1, "asgard-writer") as thread:
        try:
            for each in given:
                if len(under_way) == _MOST:
                    yield under_way.popleft().result()
                under_way.append(thread.submit(call, each))
            while under_way:
                yield under_way.popleft().result()
        finally:
            thread.shutdown(cancel_futures=True)
