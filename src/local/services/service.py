"""What a local service is: how it is started, its address, and how its health is checked."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from asgard.common.aliases import Say
from asgard.common.settings import Settings
from asgard.local.services.ports import HOST
from asgard.local.services.processes import command_line, is_locked, start_time

Ports = Mapping[str, int]
"""Port numbers by purpose; `port` is the one that clients use."""


@dataclass(frozen=True)
class Launch:
    """A command ready to start, and its complete environment."""

    command: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Service:
    """One kind of service.

    Args:
        name: its name in `services.json` and in the project folder.
        title: its name in messages.
        extra: the extra of Asgard that needs it.
        marker: a text that its command line contains.
        ports: the purposes that it needs ports for; clients use `port`.
        is_installed: whether the installed extras need it.
        prepare: prepares its folder and returns the command; may fetch files that it needs.
        url: the address that clients use.
        is_healthy: asks the service itself; False while it can't serve requests.
    """

    name: str
    title: str
    extra: str
    marker: str
    ports: tuple[str, ...]
    is_installed: Callable[[], bool]
    prepare: Callable[[Path, Ports, Settings, Say], Launch]
    url: Callable[[Ports], str]
    is_healthy: Callable[[Ports], bool]


@dataclass(frozen=True)
class ServiceFolder:
    """The paths of one service of a project folder: its data, lock, record and log."""

    project: Path
    name: str

    @property
    def folder(self) -> Path:
        """The folder of its data."""
        return self.project / self.name

    @property
    def lock(self) -> Path:
        """The file that the service's process keeps locked until it ends."""
        return self.folder / "process.lock"

    @property
    def record(self) -> Path:
        """The record of the process that was started last."""
        return self.folder / "process.json"

    @property
    def log(self) -> Path:
        """Its output; older logs end in .1, .2 and .3."""
        return self.project / "logs" / f"{self.name}.log"


@dataclass(frozen=True)
class Record:
    """The process that was started last; `pid` is None after a clean stop. The next start uses the ports again."""

    pid: int | None
    started: str | None
    ports: dict[str, int]

    def is_alive(self, place: ServiceFolder, marker: str) -> bool:
        """Whether this process still runs and serves this folder."""
        return (
            self.pid is not None
            and is_locked(place.lock)
            and start_time(self.pid) == self.started
            and marker in command_line(self.pid)
        )


def read_record(place: ServiceFolder) -> Record | None:
    """Read a service's record; None if it does not exist or can't be read."""
    try:
        content = json.loads(place.record.read_text(encoding="utf-8"))
        return Record(content["pid"], content["started"], {str(k): int(v) for k, v in content["ports"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_record(place: ServiceFolder, record: Record) -> None:
    """Write a service's record atomically."""
    write_json(place.record, {"pid": record.pid, "started": record.started, "ports": record.ports})


def write_json(path: Path, content: object) -> None:
    """Write a small JSON file atomically."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    new.replace(path)


def http_url(port: int) -> str:
    """The base address of an HTTP service on this machine."""
    return f"http://{HOST}:{port}"


def answers(*urls: str) -> bool:
    """Whether every address answers a GET with 200."""
    import urllib3

    with urllib3.PoolManager(timeout=2.0, retries=False) as pool:
        try:
            return all(pool.request("GET", url).status == 200 for url in urls)
        except urllib3.exceptions.HTTPError:
            return False
