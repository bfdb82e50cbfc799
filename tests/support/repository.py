"""A Maven repository for tests: it answers each request by the test's plan, and records all requests."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Request"], None]
"""The function that answers one request."""


@dataclass(frozen=True)
class Request:
    """One GET request: its target, its headers, and the handler that answers it."""

    target: str
    headers: dict[str, str]
    handler: BaseHTTPRequestHandler = field(repr=False, compare=False)

    @property
    def begin(self) -> int | None:
        """The first requested byte; None if the whole file was requested."""
        asked = self.headers.get("range")
        return int(asked.removeprefix("bytes=").removesuffix("-")) if asked else None

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer; the body may be shorter than a given `content_length`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.handler.send_response(status)
        for name, value in {"content-length": str(len(body)), **named}.items():
            self.handler.send_header(name, value)
        self.handler.end_headers()
        self.handler.wfile.write(body)
        self.handler.wfile.flush()


def whole(content: bytes) -> Answer:
    """Answer with the whole file, even if a range was requested."""
    return lambda request: request.send(200, content)


def ranged(content: bytes) -> Answer:
    """Answer with the requested range."""

    def answer(request: Request) -> None:
        begin = request.begin
        if begin is None:
            request.send(200, content)
        elif begin >= len(content):
            request.send(416, content_range=f"bytes */{len(content)}")
        else:
            span = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            request.send(206, content[begin:], content_range=span)

    return answer


def broken_off(content: bytes, after: int) -> Answer:
    """Answer with the beginning of the file, then close the connection."""
    return lambda request: request.send(200, content[:after], content_length=str(len(content)))


def stalled(content: bytes, after: int, release: threading.Event) -> Answer:
    """Answer with the beginning of the file, then wait for `release`."""

    def answer(request: Request) -> None:
        request.send(200, content[:after], content_length=str(len(content)))
        release.wait()

    return answer


def refused(status: int) -> Answer:
    """Answer with a status, without a file."""
    return lambda request: request.send(status)


def elsewhere(address: str) -> Answer:
    """Redirect to the same path at another address."""
    return lambda request: request.send(302, location=f"{address}{request.target}")


class MavenRepository:
    """A server on 127.0.0.1.

    Attributes:
        plan: the answers to the next requests, in order; the last one is repeated.
        requests: the requests received so far.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.plan: list[Answer] = []
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        repository = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                with suppress(ConnectionError):  # a client that was killed
                    repository._answer(Request(self.path, headers, self))

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that does not trust its certificate

        self._server = Server(("127.0.0.1", 0), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.address = f"{'https' if context else 'http'}://{self.host}"

    def _answer(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)
            answer = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
        answer(request)

    @contextmanager
    def running(self) -> Iterator["MavenRepository"]:
        """Serve for a block."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()
