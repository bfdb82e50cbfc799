"""A Redis server of a test's own."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asgard.local.redis_server import server


@contextmanager
def redis_server(folder: Path, **options: str) -> Iterator[str]:
    """Start one, and give its address; it is gone afterwards.

    Args:
        folder: for its files.
        options: of its command line, e.g. `maxmemory="3mb"`.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {"port": str(port), "bind": "127.0.0.1", "dir": str(folder), "save": "", **options}
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", *value.split(" "))]
    process = subprocess.Popen([str(server()), *words], stdout=subprocess.DEVNULL)
    try:
        _wait(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


def _wait(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(64):
                    return
        except OSError:
            assert time.monotonic() < deadline, "Redis did not start"
            time.sleep(0.05)
