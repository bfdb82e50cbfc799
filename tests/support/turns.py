"""Actors in threads that take one step at a time, in an order that the test sets."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Turns:
    """Lets one actor at a time continue.

    Args:
        order: the actor of each of the first steps; afterwards, or if that actor has ended, the first running one.
        actors: number of actors.
    """

    def __init__(self, order: Sequence[int], actors: int = 2) -> None:
        self._order, self._alive = iter(order), set(range(actors))
        self._waited: set[int] = set()
        self._turn = -1
        self._changed = threading.Condition()
        with self._changed:
            self._advance()

    def step(self, actor: int) -> None:
        """End the actor's previous step, and wait for its next turn."""
        with self._changed:
            if actor in self._waited:
                self._advance()
            self._waited.add(actor)
            if not self._changed.wait_for(lambda: self._turn == actor, timeout=60):
                raise TimeoutError(f"actor {actor} had no turn for a minute")

    @contextmanager
    def of(self, actor: int) -> Iterator[None]:
        """Run an actor for a block; at the end, the others continue without it."""
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
