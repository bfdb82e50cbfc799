"""What a local service is: how it is started, where it answers, and how one knows that it is well."""

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
    """A command ready to start, and its whole environment."""

    command: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Service:
    """One kind of service.

    Args:
        name: as in `services.json` and in the project folder.
        title: as people call it.
        extra: the extra that brings it.
        marker: a text that its command line has.
        ports: the purposes that it needs ports for; `port` is the clients'.
        is_installed: whether the installed extras need it.
        prepare: makes its folder ready and gives the command; may fetch what it needs.
        url: the address that clients use.
        is_healthy: asks the service itself; False while it can't serve.
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
    """Where one service of a project folder keeps its data, lock, record and log."""

    project: Path
    name: str

    @property
    def folder(self) -> Path:
        """Its data."""
        return self.project / self.name

    @property
    def lock(self) -> Path:
        """Locked by the service's process for as long as it lives."""
        return self.folder / "process.lock"

    @property
    def record(self) -> Path:
        """What was last started here."""
        return self.folder / "process.json"

    @property
    def log(self) -> Path:
        """What it prints; older ones end in .1, .2 and .3."""
        return self.project / "logs" / f"{self.name}.log"


@dataclass(frozen=True)
class Record:
    """The process that was started last; `pid` is None after a clean stop. The ports are kept for the next."""

    pid: int | None
    started: str | None
    ports: dict[str, int]

    def is_alive(self, place: ServiceFolder, marker: str) -> bool:
        """Whether exactly this process runs now, and serves this very folder."""
        return (
            self.pid is not None
            and is_locked(place.lock)
            and start_time(self.pid) == self.started
            and marker in command_line(self.pid)
        )


def read_record(place: ServiceFolder) -> Record | None:
    """The record of a place; None if there is none, or it can't be read."""
    try:
        content = json.loads(place.record.read_text(encoding="utf-8"))
        return Record(content["pid"], content["started"], {str(k): int(v) for k, v in content["ports"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_record(place: ServiceFolder, record: Record) -> None:
    """Put the record in place, whole or not at all."""
    write_json(place.record, {"pid": record.pid, "started": record.started, "ports": record.ports})


def write_json(path: Path, content: object) -> None:
    """Write a small file, whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    new.replace(path)


def http_url(port: int) -> str:
    """The base address of an HTTP service on this machine."""
    return f"http://{HOST}:{port}"


def answers(*urls: str) -> bool:
    """Whether each of these addresses answers a GET with 200."""
    import urllib3

    with urllib3.PoolManager(timeout=2.0, retries=False) as pool:
        try:
            return all(pool.request("GET", url).status == 200 for url in urls)
        except urllib3.exceptions.HTTPError:
            return False
