"""A TCP proxy in front of an HTTP service that can forward a request and lose its answer."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class LossyProxy:
    """Forwards requests to one address, and loses or refuses some of them.

    Attributes:
        lose: a request whose first line contains this text is forwarded, and its answer dropped.
        refuse: a request whose first line contains this text is not forwarded.
        skip: how many such requests pass normally first.
        remaining: how many requests to lose or refuse.
        lost: the first lines of these requests.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.lose = ""
        self.refuse = ""
        self.skip = 0
        self.remaining = 1
        self.lost: list[str] = []
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    proxy._serve(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator["LossyProxy"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def _serve(self, client: socket.socket) -> None:
        while True:
            head = _read_message(client)
            if not head:
                return
            line = head.split(b"\r\n", 1)[0].decode()
            if self._hits(self.refuse, line):
                return
            with socket.create_connection(self._target) as server:
                server.sendall(head)
                answer = _read_message(server)
            if self._hits(self.lose, line):
                return
            client.sendall(answer)

    def _hits(self, text: str, line: str) -> bool:
        if not text or text not in line or self.remaining <= 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.remaining -= 1
        self.lost.append(line)
        return True


def _read_message(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            return data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    if headers.get(b"transfer-encoding") == b"chunked":
        while not data.endswith(b"0\r\n\r\n"):
            part = sock.recv(65536)
            if not part:
                break
            data += part
        return data
    wanted = int(headers.get(b"content-length", b"0"))
    while len(body) < wanted:
        part = sock.recv(65536)
        if not part:
            break
        data += part
        body += part
    return data
