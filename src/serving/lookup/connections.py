"""Connections to Redis that a lookup keeps at hand.

redis-py's pool looks at a connection each time it gives one out, and its commands are wrapped for clusters, metrics and
notifications: half the time of a lookup of one entity. Here a connection of that pool is used by its own public calls,
and is given back only when it is lost. What the connection does itself stays: TLS, AUTH, Sentinels, timeouts, the
health check of one that was long idle, and its retries.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any


class KeptConnections:
    """Connections of a client's pool, as many as threads read at once.

    Args:
        client: redis-py's.
    """

    def __init__(self, client: Any) -> None:
        self._pool = client.connection_pool
        self._idle: list[Any] = []
        self._process = os.getpid()

    def read(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answers to some commands that read, sent together; what redis-py raises."""
        if self._process != os.getpid():  # forked: the parent goes on with its connections
            self._idle, self._process = [], os.getpid()
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._pool.get_connection()

        def ask() -> list[Any]:
            connection.connect()
            if len(commands) == 1:
                connection.send_command(*commands[0])
            else:
                connection.send_packed_command(connection.pack_commands(commands))
            return [connection.read_response() for _ in commands]

        try:
            answers: list[Any] = connection.retry.call_with_retry(ask, lambda _error: self._lose(connection))
        except BaseException:
            connection.disconnect()  # or the answer that nobody read would be the next one's
            self._pool.release(connection)
            raise
        self._idle.append(connection)
        return answers

    def _lose(self, connection: Any) -> None:
        """Drop a connection that was lost, and those that were idle: what took it took them."""
        connection.disconnect()
        while self._idle:
            with suppress(IndexError):  # another thread took the last one
                idle = self._idle.pop()
                idle.disconnect()
                self._pool.release(idle)
