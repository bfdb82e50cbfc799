"""Feast's own servers, each in a separate process, and its command line."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3

PATIENCE_SECONDS = 120


@contextmanager
def feast_server(folder: Path, command: str, *arguments: str) -> Iterator[urllib3.HTTPConnectionPool]:
    """Run `feast ui` or `feast serve` on a Feast repository for a block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "feast.cli.cli", "-c", str(folder), command, "--host", "127.0.0.1"]
    server = subprocess.Popen(
        [*words, "--port", str(port), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        with urllib3.HTTPConnectionPool("127.0.0.1", port, retries=False) as client:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not _answers(client):
                assert server.poll() is None, server.stderr.read() if server.stderr else ""
                assert time.monotonic() < deadline, f"gave up waiting for feast {command}"
                time.sleep(0.1)
            yield client
    finally:
        server.terminate()
        server.communicate(timeout=PATIENCE_SECONDS)


def _answers(client: urllib3.HTTPConnectionPool) -> bool:
    try:
        return client.request("GET", "/health").status == 200
    except urllib3.exceptions.HTTPError:
        return False


def feast(folder: Path, *arguments: str) -> str:
    """Run Feast's own command line, and return its output."""
    command = [sys.executable, "-m", "feast.cli.cli", "-c", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
