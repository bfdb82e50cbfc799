"""Connections to Redis that a lookup keeps at hand.

redis-py's pool looks at a connection each time it gives one out, and its commands are wrapped for clusters, metrics and
notifications: half the time of a lookup of one entity. Here a connection of that pool is used by its own public calls,
and is given back only when it is lost. What the connection does itself stays: TLS, AUTH, Sentinels, timeouts, the
health check of one that was long idle, and its retries.
"""

import os
from contextlib import suppress
from typing import Any

from asgard.serving.asked import Wanted


class KeptConnections:
    """Connections of a client's pool, as many as threads read at once.

    Args:
        client: redis-py's.
    """

    def __init__(self, client: Any) -> None:
        self._pool = client.connection_pool
        self._idle: list[Any] = []
        self._process = os.getpid()

    def read(self, wanted: Wanted) -> list[Any]:
        """The values of the names, then the fields of each hash, read at one moment; what redis-py raises."""
        if self._process != os.getpid():  # forked: the parent goes on with its connections
            self._idle, self._process = [], os.getpid()
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._pool.get_connection()

        def ask() -> list[Any]:
            connection.connect()
            answer: list[Any]
            if not wanted.hashes:
                connection.send_command("MGET", *wanted.names)
                answer = connection.read_response()
                return answer
            commands: list[tuple[Any, ...]] = [("MULTI",), ("MGET", *wanted.names)]
            commands += [("HMGET", name, *fields) for name, fields in wanted.hashes]
            connection.send_packed_command(connection.pack_commands([*commands, ("EXEC",)]))
            for _ in range(len(commands)):
                connection.read_response()
            values, *hashes = connection.read_response()
            for each in (values, *hashes):
                if isinstance(each, Exception):
                    raise each
            return [*values, *hashes]

        try:
            found: list[Any] = connection.retry.call_with_retry(ask, lambda _error: self._lose(connection))
        except BaseException:
            connection.disconnect()  # or the answer that nobody read would be the next one's
            self._pool.release(connection)
            raise
        self._idle.append(connection)
        return found

    def _lose(self, connection: Any) -> None:
        """Drop a connection that was lost, and those that were idle: what took it took them."""
        connection.disconnect()
        while self._idle:
            with suppress(IndexError):  # another thread took the last one
                idle = self._idle.pop()
                idle.disconnect()
                self._pool.release(idle)
