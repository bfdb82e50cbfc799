"""A Redis server that a test starts."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asgard.local.services.redis_server import server

SYNC_COMMANDS = (
    "+info +ping +eval +evalsha +script|load +scan +hget +hset +hsetnx +hincrby +hgetall +hdel +set +mset +mget "
    "+exists +unlink"
)
LOOKUP_COMMANDS = "+ping +mget"
"""Commands that the Redis users of a sync and of lookups must be allowed to run."""


class RedisProcess:
    """A server that the test may kill and start again on the same port.

    Args:
        folder: folder for its files.
        options: options of its command line, e.g. `maxmemory="3mb"`.
    """

    def __init__(self, folder: Path, **options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(folder), "save": "", **options}

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        words = [
            word for name, value in self._options.items() for word in (f"--{name.replace('_', '-')}", *value.split(" "))
        ]
        self._process = subprocess.Popen([str(server()), *words], stdout=subprocess.DEVNULL)
        wait_for(self.port)

    def kill(self) -> None:
        """Kill the server, as `kill -9` does."""
        self._process.kill()
        self._process.wait()


@contextmanager
def redis_process(folder: Path, **options: str) -> Iterator[RedisProcess]:
    """Run a server for a block."""
    found = RedisProcess(folder, **options)
    found.start()
    try:
        yield found
    finally:
        found.kill()


@contextmanager
def redis_server(folder: Path, **options: str) -> Iterator[str]:
    """Run a server for a block, and yield its address. See `RedisProcess`."""
    with redis_process(folder, **options) as found:
        yield found.url


@contextmanager
def sentinel(folder: Path, *lines: str) -> Iterator[int]:
    """Run a Sentinel for a block, and yield its port; without `lines` of configuration it watches no server yet."""
    port, file = free_port(), folder / "sentinel.conf"
    file.write_text("\n".join((f"port {port}", "bind 127.0.0.1", f"dir {folder}", *lines, "")))
    process = subprocess.Popen([str(server()), str(file), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield port
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_for(port: int) -> None:
    """Wait until a Redis answers on a port."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if not connection.recv(64).startswith(b"-LOADING"):
                    return
        except OSError:
            assert time.monotonic() < deadline, "Redis did not start"
        time.sleep(0.05)
