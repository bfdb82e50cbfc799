"""Export the totals to a file for node_exporter's textfile collector, and to a Pushgateway.

An error here is reported, and does not fail the job.
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
"""Total time in seconds that a job waits for the Pushgateway."""
_PUSHES = 3
Standing = Callable[[], metrics.Stands]


def export(settings: Settings, storage: Storage, standing: Standing, say: Say) -> None:
    """Export the totals of the warehouse as the settings say, and settle the events.

    Args:
        settings: `metrics_textfile` and `pushgateway_url` are used.
        storage: the warehouse's storage.
        standing: returns a function that tells whether a target ref contains a run now.
        say: receives a line for each error.
    """
    log = EventLog(storage)
    try:
        log.settle(datetime.now(UTC))
    except AsgardError as error:
        say(f"events of earlier jobs could not be recorded or packed: {error.message}")
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
    """The current totals; refs are read after the events, so that they contain what the events' runs published."""
    events = log.events(datetime.now(UTC))
    return metrics.count(events, settings.environment, settings.warehouse, standing())


def write_textfile(path: Path, totals: Callable[[], metrics.Totals]) -> None:
    """Write the totals for node_exporter; a reader sees the old file or the new one.

    Several processes may write the same file: a lock lets one at a time count and write, so an older count never
    replaces a newer one.

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

    Two concurrent pushes may arrive in the wrong order. So each process counts again after its push, and pushes again
    if the count has changed: the last push always has the latest count.

    Args:
        gateway: the gateway's address.
        warehouse: the name of the group.
        totals: counts the totals.
        limit: total seconds to wait; after that, a gateway that hangs is abandoned.

    Raises:
        ServiceError: the gateway refused the push, or could not be reached.
        ServiceUnreachableError: the gateway did not answer in time.
    """
    failures: list[Exception] = []

    def work() -> None:
        try:
            _push(gateway, warehouse, totals, limit)
        except Exception as error:  # raised in the caller's thread
            failures.append(error)

    thread = threading.Thread(target=work, name="pushgateway", daemon=True)
    thread.start()
    thread.join(limit)
    hint = "Check pushgateway_url; the next job pushes this job's counts, too."
    if thread.is_alive() or any(isinstance(each, TimeoutError) for each in failures):
        raise ServiceUnreachableError(f"The Pushgateway {gateway} did not answer within {limit:g} s.", hint=hint)
    for failure in failures:
        raise ServiceError(f"The Pushgateway {gateway} did not accept the metrics: {failure}.", hint=hint) from failure


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
