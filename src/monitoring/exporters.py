"""Where the totals go: a file for node_exporter's textfile collector, and a Pushgateway.

Both are beside the job's work: whatever goes wrong here is said, and fails nothing.
"""

import fcntl
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from asgard.common.aliases import Say
from asgard.common.errors import AsgardError, EnvironmentSetupError, ServiceError, ServiceUnreachableError
from asgard.common.settings import Settings
from asgard.common.storage import Storage
from asgard.monitoring import metrics
from asgard.monitoring.events import EventLog

PUSH_SECONDS = 5.0
"""How long a job waits for the Pushgateway, all in all."""
_PUSHES = 3
Standing = Callable[[], metrics.Stands]


def export(settings: Settings, storage: Storage, standing: Standing, say: Say) -> None:
    """Publish the totals of the warehouse where the settings ask for it, and keep the events tidy.

    Args:
        settings: `metrics_textfile` and `pushgateway_url`.
        storage: of the warehouse.
        standing: gives what knows whether a target ref holds a run at that moment.
        say: is told what went wrong.
    """
    log = EventLog(storage)
    try:
        log.settle(datetime.now(UTC))
    except AsgardError as error:
        say(f"events of earlier jobs could not be settled: {error.message}")
    if settings.metrics_textfile is not None:
        try:
            write_textfile(settings.metrics_textfile, lambda: read_totals(log, settings, standing))
        except AsgardError as error:
            say(f"metrics were not written: {error.message}")
    if settings.pushgateway_url is not None:
        try:
            push(settings.pushgateway_url, settings.warehouse, lambda: read_totals(log, settings, standing))
        except AsgardError as error:
            say(f"metrics were not pushed: {error.message}")


def read_totals(log: EventLog, settings: Settings, standing: Standing) -> metrics.Totals:
    """The totals of this moment; refs are asked after the events were read, so they hold what those published."""
    events = log.events(datetime.now(UTC))
    return metrics.count(events, settings.environment, settings.warehouse, standing())


def write_textfile(path: Path, totals: Callable[[], metrics.Totals]) -> None:
    """Write the totals for node_exporter; a reader sees the old file or the new one.

    Several processes may write the same file: they take turns, each counting in its own turn, so no file is
    ever replaced by an older count.

    Raises:
        EnvironmentSetupError: the file can't be written.
    """
    from prometheus_client import write_to_textfile

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.name}.lock").open("ab") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            write_to_textfile(str(path), metrics.registry(totals()))
    except OSError as error:
        raise EnvironmentSetupError(
            f"The metrics file {path} can't be written: {error.strerror or error}.",
            hint="Set metrics_textfile to a file (*.prom) in a folder that exists and can be written.",
        ) from error


def push(gateway: str, warehouse: str, totals: Callable[[], metrics.Totals], *, limit: float = PUSH_SECONDS) -> None:
    """Put the totals into a Pushgateway, as one group per warehouse.

    Two processes that push at once may arrive in the wrong order. So each counts again after its push, and
    pushes again if the count moved: the last push is always of the newest count.

    Args:
        gateway: its address.
        warehouse: names the group.
        totals: counts.
        limit: seconds, all in all; a gateway that hangs is left hanging.

    Raises:
        ServiceError: it refused.
        ServiceUnreachableError: it did not answer in time, or not at all.
    """
    failures: list[Exception] = []

    def work() -> None:
        try:
            _push(gateway, warehouse, totals, limit)
        except Exception as error:  # handed over to the caller's thread
            failures.append(error)

    thread = threading.Thread(target=work, name="pushgateway", daemon=True)
    thread.start()
    thread.join(limit)
    hint = "Check pushgateway_url; the next job pushes what this one counted."
    if thread.is_alive():
        raise ServiceUnreachableError(f"The Pushgateway {gateway} did not answer within {limit:g} s.", hint=hint)
    for failure in failures:
        raise ServiceError(f"The Pushgateway {gateway} did not take the metrics: {failure}.", hint=hint) from failure


def _push(gateway: str, warehouse: str, totals: Callable[[], metrics.Totals], timeout: float) -> None:
    from prometheus_client import push_to_gateway

    count = totals()
    for _ in range(_PUSHES):
        push_to_gateway(
            gateway, "asgard", metrics.registry(count), grouping_key={"warehouse": warehouse}, timeout=timeout
        )
        pushed, count = count, totals()
        if count == pushed:
            return
