"""Choose the ports that the services of a folder listen on: the same ones each time if they are free."""

import hashlib
import socket
from collections.abc import Collection
from pathlib import Path

from asgard.common.errors import EnvironmentSetupError
from asgard.local.services.processes import port_owner, program

HOST = "127.0.0.1"
FIRST, COUNT, SPREAD = 20_000, 12_000, 50
"""Ports below the range that systems use for outgoing connections (from 32768 on Linux, 49152 on macOS)."""


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def choose_port(folder: Path, purpose: str, remembered: int | None, avoid: Collection[int]) -> int:
    """A free port: the remembered one, else one derived from the folder's path, else any."""
    first = int.from_bytes(hashlib.sha256(f"{folder.resolve()} {purpose}".encode()).digest()[:4]) % COUNT
    candidates = [FIRST + (first + step) % COUNT for step in range(SPREAD)]
    for port in ([remembered] if remembered else []) + candidates:
        if port not in avoid and is_free(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def check_asked(port: int, purpose: str, option: str) -> int:
    """Return the port that the user asked for.

    Raises:
        EnvironmentSetupError: the port is taken; the message names the process if it can be found.
    """
    if is_free(port):
        return port
    owner = port_owner(port)
    who = f" by process {owner} ({program(owner)})" if owner else ""
    raise EnvironmentSetupError(
        f"Port {port} for {purpose} is taken{who}.",
        hint=f"Give another one with {option}, or leave the option out to have a free port chosen.",
    )
