"""Actors in threads that go on one step at a time, in an order that the test gives."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Turns:
    """Whose turn it is.

    Args:
        order: the actor of each of the first steps; afterwards, and where that actor has ended, the first one goes on.
        actors: how many there are.
    """

    def __init__(self, order: Sequence[int], actors: int = 2) -> None:
        self._order, self._alive = iter(order), set(range(actors))
        self._waited: set[int] = set()
        self._turn = -1
        self._changed = threading.Condition()
        with self._changed:
            self._advance()

    def step(self, actor: int) -> None:
        """Wait for this actor's turn: its step before is over, the next begins."""
        with self._changed:
            if actor in self._waited:
                self._advance()
            self._waited.add(actor)
            if not self._changed.wait_for(lambda: self._turn == actor, timeout=60):
                raise TimeoutError(f"actor {actor} had no turn for a minute")

    @contextmanager
    def of(self, actor: int) -> Iterator[None]:
        """The life of an actor."""
        try:
            yield
        finally:
            with self._changed:
                self._alive.discard(actor)
                self._advance()

    def _advance(self) -> None:
        wanted = next(self._order, -1)
        self._turn = wanted if wanted in self._alive else min(self._alive, default=-1)
        self._changed.notify_all()
