"""Connections to Redis that lookups keep open.

redis-py's pool checks a connection each time it hands one out, and wraps commands for clusters, metrics and
notifications. This takes half the time of a lookup of one entity. Here a connection of that pool is used through its
own public calls, and is returned only when it is lost. The connection's own functions still apply: TLS, AUTH,
Sentinels, timeouts, retries, and the health check of a connection that was idle for long.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any


class KeptConnections:
    """Connections of a client's pool, one for each thread that reads concurrently.

    Args:
        client: a client of redis-py.
    """

    def __init__(self, client: Any) -> None:
        self._pool = client.connection_pool
        self._idle: list[Any] = []
        self._process = os.getpid()

    def read(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send read commands together, and return their answers; raises what redis-py raises."""
        if self._process != os.getpid():  # after a fork: the parent still uses its connections
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
            connection.disconnect()  # an unread answer would be taken for that of the next command
            self._pool.release(connection)
            raise
        self._idle.append(connection)
        return answers

    def _lose(self, connection: Any) -> None:
        """Drop a lost connection and all idle ones: they are probably lost for the same reason."""
        connection.disconnect()
        while self._idle:
            with suppress(IndexError):  # another thread took the last one
                idle = self._idle.pop()
                idle.disconnect()
                self._pool.release(idle)
