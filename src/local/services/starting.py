"""Start one service, or find it running, and wait until it is healthy or has failed."""

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from asgard.common.aliases import Say
from asgard.common.errors import AsgardError, EnvironmentSetupError, ServiceError, UsageError
from asgard.common.settings import Settings
from asgard.local.services.ports import check_asked, choose_port, is_free
from asgard.local.services.processes import (
    POLL_SECONDS,
    is_locked,
    kill,
    lock_holders,
    spawn,
    start_time,
    stop,
    uptime_seconds,
    wait_for,
)
from asgard.local.services.service import Ports, Record, Service, ServiceFolder, read_record, write_record

START_SECONDS = 120.0
HUNG_SECONDS = 10.0
ORPHAN_SECONDS = 2.0
STOP_SECONDS = 15.0
GIVE_UP_SECONDS = 2.0
PORT_TRIES = 3
LOGS_KEPT = 3
LOG_LINES_SHOWN = 15
FULL_BYTES = 1_000_000


class ServiceStartError(ServiceError):
    """A local service did not start."""


@dataclass
class Start:
    """One service that is being started."""

    service: Service
    place: ServiceFolder
    asked: int | None
    ports: Ports = field(default_factory=dict)
    pid: int = 0
    is_new: bool = False
    since: float = 0.0
    limit: float = START_SECONDS
    tries: int = 0

    def look(self) -> None:
        """Find the service running, or check that the requested port is free, before any service starts.

        Raises:
            UsageError: the service runs on another port than the requested one.
            EnvironmentSetupError: the requested port is taken.
        """
        record = read_record(self.place)
        if record is None or not record.is_alive(self.place, self.service.marker):
            if self.asked is not None:
                check_asked(self.asked, self.service.title, f"--{self.service.name}-port")
            return
        if self.asked is not None and self.asked != record.ports["port"]:
            raise UsageError(
                f"{self.service.title} already runs on port {record.ports['port']}, but {self.asked} was requested.",
                hint="Stop the services with `asgard down` first.",
            )
        self.ports, self.pid, self.since = record.ports, record.pid or 0, time.monotonic()
        age = uptime_seconds(self.pid) or START_SECONDS
        self.limit = max(HUNG_SECONDS, START_SECONDS - age)

    def begin(self, settings: Settings, say: Say) -> None:
        """Start the service, unless it was found running."""
        if self.pid:
            return
        record = read_record(self.place)
        if is_locked(self.place.lock):
            self._end_orphans(say)
        elif record and record.pid is not None:
            say(f"{self.service.title}: its process {record.pid} ended without `asgard down`; starting it again")
        self.launch(record.ports if record else {}, settings, say)

    def _end_orphans(self, say: Say) -> None:
        """End processes that hold the lock but have no record: a killed command or a killed service left them."""
        if wait_for(lambda: not is_locked(self.place.lock), ORPHAN_SECONDS):
            return
        pids = lock_holders(self.place.lock)
        say(f"{self.service.title}: ending process {', '.join(map(str, pids))}, which has no record")
        stop(pids, lock=self.place.lock, limit=STOP_SECONDS)

    def launch(self, remembered: Ports, settings: Settings, say: Say) -> None:
        """Start the process and write its record."""
        self.place.folder.mkdir(parents=True, exist_ok=True)
        self.ports = self._choose_ports(remembered)
        launch = self.service.prepare(self.place.folder, self.ports, settings, say)
        _rotate(self.place.log)
        self.is_new = True
        pid = spawn(
            launch.command,
            lock=self.place.lock,
            log=self.place.log,
            environment=launch.environment,
            folder=self.place.folder,
        )
        if pid is None:
            self.is_new = False
            holders = ", ".join(map(str, lock_holders(self.place.lock)))
            raise ServiceStartError(
                f"{self.service.title} can't start: another process {holders} uses {self.place.folder}.",
                hint="End that process, or use another folder with --dir.",
            )
        self.pid, self.since, self.limit = pid, time.monotonic(), START_SECONDS
        self.tries += 1
        write_record(self.place, Record(pid, start_time(pid), dict(self.ports)))
        say(f"{self.service.title}: starting on {self.service.url(self.ports)}")

    def give_up(self) -> None:
        """Stop the service again if this command started it, or was about to."""
        if self.is_new:
            kill(self.place.lock, GIVE_UP_SECONDS)  # it has no clients yet, and its data survives a kill
            if self.ports:
                with suppress(OSError):
                    write_record(self.place, Record(None, None, dict(self.ports)))

    def _choose_ports(self, remembered: Ports) -> Ports:
        chosen: dict[str, int] = {}
        for purpose in self.service.ports:
            if purpose == "port" and self.asked is not None:
                chosen[purpose] = check_asked(self.asked, self.service.title, f"--{self.service.name}-port")
            else:
                label = f"{self.service.name} {purpose}"
                avoid = {*chosen.values(), *([self.asked] if self.asked else [])}
                chosen[purpose] = choose_port(self.place.project, label, remembered.get(purpose), avoid)
        return chosen

    @property
    def seconds(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.since


def wait_until_healthy(starts: Sequence[Start], settings: Settings, say: Say) -> None:
    """Wait until all services are healthy; restart those that hang, or whose port another process took.

    Raises:
        ServiceStartError: the first failure; further failures are reported by `say`.
    """
    pending = list(starts)
    failures: list[AsgardError] = []
    while pending:
        for start in list(pending):
            title = start.service.title
            if not is_locked(start.place.lock):
                if not start.is_new:
                    say(f"{title}: process {start.pid} has just ended; starting it again")
                    start.launch(start.ports, settings, say)
                elif start.tries < PORT_TRIES and not all(map(is_free, start.ports.values())):
                    say(f"{title}: another process has just taken its port; trying another port")
                    start.launch({}, settings, say)
                else:
                    failures.append(_ended(start))
                    pending.remove(start)
            elif start.service.is_healthy(start.ports):
                say(f"{title}: {f'healthy after {start.seconds:.1f} s' if start.is_new else 'already running'}")
                pending.remove(start)
            elif start.is_new and is_full(start.place.project):
                stop(lock_holders(start.place.lock), lock=start.place.lock, limit=STOP_SECONDS)
                failures.append(no_space(start.place.project, f"{title} does not become healthy"))
                pending.remove(start)
            elif start.seconds > start.limit:
                stop(lock_holders(start.place.lock), lock=start.place.lock, limit=STOP_SECONDS)
                if start.is_new:
                    failures.append(_too_slow(start))
                    pending.remove(start)
                else:
                    say(f"{title}: process {start.pid} does not answer; starting it again")
                    start.launch(start.ports, settings, say)
        if pending:
            time.sleep(POLL_SECONDS)
    for failure in failures[1:]:
        say(str(failure))
    if failures:
        raise failures[0]


def _ended(start: Start) -> AsgardError:
    if is_full(start.place.project):
        return no_space(start.place.project, f"{start.service.title} ended while starting")
    write_record(start.place, Record(None, None, dict(start.ports)))
    return ServiceStartError(
        f"{start.service.title} ended while starting. The last lines of its log:\n{_last_lines(start.place.log)}",
        hint=f"The complete log is {start.place.log}.",
    )


def _too_slow(start: Start) -> AsgardError:
    return ServiceStartError(
        f"{start.service.title} was not healthy after {start.limit:.0f} s and was stopped. The last lines of its log:\n"
        f"{_last_lines(start.place.log)}",
        hint=f"The complete log is {start.place.log}.",
    )


def is_full(folder: Path) -> bool:
    """Whether a folder's disk is almost full, so that a service can't write even its log."""
    return shutil.disk_usage(folder).free < FULL_BYTES


def no_space(folder: Path, what: str) -> EnvironmentSetupError:
    """The error for a full disk."""
    return EnvironmentSetupError(
        f"{what}: the disk of {folder} is full.", hint="Free some space there, or choose another folder with --dir."
    )


def _last_lines(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return "\n".join(f"  {line}" for line in lines[-LOG_LINES_SHOWN:]) or "  (it is empty)"


def _rotate(log: Path) -> None:
    """Keep the logs of the last three starts as .1, .2 and .3."""
    log.parent.mkdir(parents=True, exist_ok=True)
    names = [log, *(log.with_name(f"{log.name}.{number}") for number in range(1, LOGS_KEPT + 1))]
    for older, newer in reversed(list(zip(names[1:], names, strict=False))):
        if newer.exists():
            newer.replace(older)
