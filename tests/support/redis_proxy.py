"""A TCP proxy in front of a Redis that loses the answer of one command, breaks a connection, or hangs."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO
from urllib.parse import urlsplit

Wrap = Callable[[socket.socket], socket.socket]


class RedisProxy:
    """Forwards commands one by one, each with its answer.

    Attributes:
        lose: number of the command (from 1, since `arm`) whose answer is dropped; then the connection is closed.
        refuse: number of the command that is not forwarded; the connection is closed instead.
        cut: number of the first command from which on all are refused.
        seen: names of the commands since `arm`.

    Args:
        target: URL of the Redis.
        wrap: wraps the socket of each client, e.g. in TLS.
    """

    def __init__(self, target: str, wrap: Wrap = lambda client: client) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._lock, self._going = threading.Lock(), threading.Event()
        self._going.set()
        self.arm()
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError, EOFError):
                    client = wrap(self.request)
                    try:
                        proxy._serve(client)
                    finally:
                        client.close()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def arm(self, *, lose: int = 0, refuse: int = 0, cut: int = 0) -> None:
        """Set what happens, and count commands from here on."""
        with self._lock:
            self.lose, self.refuse, self.cut, self.seen = lose, refuse, cut, list[str]()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Hold back all answers during a block."""
        self._going.clear()
        try:
            yield
        finally:
            self._going.set()

    @contextmanager
    def running(self) -> Iterator["RedisProxy"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._going.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def _serve(self, client: socket.socket) -> None:
        with socket.create_connection(self._target) as server:
            asked, answered = client.makefile("rb"), server.makefile("rb")
            while True:
                words: list[bytes] = []
                command = _message(asked, words)
                with self._lock:
                    self.seen.append(words[0].decode().upper())
                    number = len(self.seen)
                if number == self.refuse or 0 < self.cut <= number:
                    return
                server.sendall(command)
                answer = _message(answered, [])
                if number == self.lose:
                    return
                self._going.wait()
                client.sendall(answer)


def _message(stream: BinaryIO, words: list[bytes]) -> bytes:
    """Read one raw message of Redis' protocol (version 2); its texts are added to `words`."""
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError
    kind, count = line[:1], line[1:-2]
    if kind == b"$" and int(count) >= 0:
        content = stream.read(int(count) + 2)
        words.append(content[:-2])
        return line + content
    if kind == b"*" and int(count) > 0:
        return line + b"".join(_message(stream, words) for _ in range(int(count)))
    return line
