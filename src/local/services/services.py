"""Start, find, check and stop the services of one project folder.

Several processes may call `up` concurrently: a lock on the folder lets one of them start what is missing, and the
others find it running. In each service's folder, `process.lock` tells whether it runs (see
`local/services/processes.py`), and `process.json` describes it; the settings read `services.json`, which is made from
these files.
"""

import errno
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from asgard.common.aliases import Say
from asgard.common.errors import EnvironmentSetupError, UsageError
from asgard.common.settings import SERVICES_FILE, Settings
from asgard.common.stopping import Stopped
from asgard.local.services.mlflow_server import MLFLOW
from asgard.local.services.nessie import NESSIE
from asgard.local.services.processes import is_locked, lock_holders, locked, stop, uptime_seconds
from asgard.local.services.redis_server import REDIS
from asgard.local.services.service import (
    Record,
    Service,
    ServiceFolder,
    http_url,
    read_record,
    write_json,
    write_record,
)
from asgard.local.services.starting import Start, no_space, wait_until_healthy

SERVICES: tuple[Service, ...] = (NESSIE, MLFLOW, REDIS)
STOP_SECONDS = 15.0


class State(StrEnum):
    """The state of a service."""

    RUNNING = "running"
    STOPPED = "stopped"
    STALE = "stale"
    """It was started and not stopped, but its process has ended."""
    UNHEALTHY = "unhealthy"
    """Its process runs, but does not answer correctly."""


@dataclass(frozen=True)
class ServiceStatus:
    """The current status of one service of a project folder."""

    name: str
    state: State
    url: str | None
    pid: int | None
    uptime_seconds: float | None
    log: Path


@dataclass(frozen=True)
class Services:
    """The services that run in a project folder, by name."""

    project: Path
    urls: Mapping[str, str]
    started: tuple[str, ...]
    """Names of the services that this call started; the others were running."""


def up(
    settings: Settings,
    *,
    only: Collection[str] | None = None,
    ports: Mapping[str, int] | None = None,
    say: Say | None = None,
) -> Services:
    """Start the services that are not running, and wait until all of them are healthy.

    Args:
        settings: `project_dir` is the folder.
        only: names of the services to start; by default all that the installed extras need.
        ports: ports by service name; by default the port of the last start, or a free one.
        say: receives one line for each step.

    Raises:
        UsageError: a name is unknown, or a service runs on another port than the requested one.
        EnvironmentSetupError: Java, a jar, a server or a port is not available.
        ServiceStartError: a service ended while starting, or did not become healthy; contains the log's last lines.
        Stopped: a signal arrived; the services that this call started were stopped again.
    """
    say = say or _say_nothing
    wanted = _wanted(only)
    asked = dict(ports or {})
    _check_names(asked)
    project = settings.project_dir.resolve()
    starts = [Start(service, ServiceFolder(project, service.name), asked.get(service.name)) for service in wanted]
    with locked(project / "up.lock", lambda: say(f"another process starts or stops services in {project}: waiting")):
        try:
            _start(starts, project, settings, say)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise no_space(project, "The services can't be started") from error
            raise EnvironmentSetupError(
                f"The services can't be started in {project}: {error}.", hint="Choose another folder with --dir."
            ) from error
    return Services(
        project,
        {start.service.name: start.service.url(start.ports) for start in starts},
        tuple(start.service.name for start in starts if start.is_new),
    )


def _start(starts: Sequence[Start], project: Path, settings: Settings, say: Say) -> None:
    try:
        for start in starts:
            start.look()
        for start in starts:
            start.begin(settings, say)
        wait_until_healthy(starts, settings, say)
    except (Stopped, OSError):  # OSError: e.g. the disk is full, and a record can't be written
        for start in starts:
            start.give_up()
        raise
    finally:
        _write_services_file(project)


def _say_nothing(line: str) -> None:
    """Ignore the line, for callers without `say`."""


def _wanted(only: Collection[str] | None) -> list[Service]:
    if only is None:
        return [service for service in SERVICES if service.is_installed()]
    _check_names(only)
    wanted = [service for service in SERVICES if service.name in only]
    for service in wanted:
        if not service.is_installed():
            raise UsageError(
                f"{service.title} was requested, but the code that uses it is not installed.",
                hint=f"Install Asgard with its extra {service.extra}.",
            )
    return wanted


def _check_names(names: Collection[str]) -> None:
    known = [service.name for service in SERVICES]
    for name in names:
        if name not in known:
            raise UsageError(f"{name!r} is not a local service.", hint=f"Use one of: {', '.join(known)}.")


def _write_services_file(project: Path) -> None:
    """Write the running services' addresses for the settings of later commands; remove the file if none runs."""
    addresses: dict[str, dict[str, object]] = {}
    for service in SERVICES:
        place = ServiceFolder(project, service.name)
        record = read_record(place)
        if record and record.is_alive(place, service.marker):
            addresses[service.name] = {"url": service.url(record.ports), "pid": record.pid, "started": record.started}
            if "management" in record.ports:
                addresses[service.name]["management_url"] = http_url(record.ports["management"])
    if addresses:
        write_json(project / SERVICES_FILE, {"services": addresses})
    else:
        (project / SERVICES_FILE).unlink(missing_ok=True)


def status(settings: Settings) -> list[ServiceStatus]:
    """The status of each service of the project folder, except those that no installed extra needs."""
    project = settings.project_dir.resolve()
    states = []
    for service in SERVICES:
        place = ServiceFolder(project, service.name)
        record = read_record(place)
        if service.is_installed() or record is not None:
            states.append(_status(service, place, record))
    return states


def _status(service: Service, place: ServiceFolder, record: Record | None) -> ServiceStatus:
    if record is not None and record.is_alive(place, service.marker):
        state = State.RUNNING if service.is_healthy(record.ports) else State.UNHEALTHY
        age = uptime_seconds(record.pid) if record.pid else None
        return ServiceStatus(service.name, state, service.url(record.ports), record.pid, age, place.log)
    if is_locked(place.lock):
        pid = next(iter(lock_holders(place.lock)), None)
        return ServiceStatus(service.name, State.UNHEALTHY, None, pid, None, place.log)
    state = State.STALE if record is not None and record.pid is not None else State.STOPPED
    return ServiceStatus(service.name, state, None, None, None, place.log)


def down(settings: Settings, *, say: Say | None = None) -> list[str]:
    """Stop every service of the project folder; their data and ports are kept for the next `up`.

    Returns:
        The names of the services that were stopped.
    """
    say = say or _say_nothing
    project = settings.project_dir.resolve()
    stopped: list[str] = []
    if not project.is_dir():
        return stopped
    with locked(project / "up.lock", lambda: say(f"another process starts or stops services in {project}: waiting")):
        for service in SERVICES:
            place = ServiceFolder(project, service.name)
            record = read_record(place)
            if is_locked(place.lock):
                alive = record is not None and record.is_alive(place, service.marker)
                pids = [record.pid] if alive and record and record.pid else lock_holders(place.lock)
                clean = stop(pids, lock=place.lock, limit=STOP_SECONDS)
                say(
                    f"{service.title}: {'stopped' if clean else f'killed: it did not stop within {STOP_SECONDS:.0f} s'}"
                )
                stopped.append(service.name)
            if record is not None:
                write_record(place, Record(None, None, record.ports))
        _write_services_file(project)
    return stopped
