"""`asgard metrics`: the totals of the warehouse, in Prometheus's text format.

Reads: the events that jobs wrote to the warehouse, and the logs of the refs that they published to. Writes: nothing.
"""

from datetime import UTC, datetime

import typer

from asgard.jobs.options import DirOption, JsonOption, SetOption, settings_from


def metrics(directory: DirOption = None, settings: SetOption = None, as_json: JsonOption = False) -> None:
    """Print all metrics in Prometheus's text format."""
    from asgard.common.storage import Storage
    from asgard.jobs.counted import PublishedRuns
    from asgard.jobs.reporting import show_json
    from asgard.lakehouse.catalog.nessie import Nessie
    from asgard.monitoring.events import EventLog
    from asgard.monitoring.metrics import add_lags, count, exposition, to_json

    loaded = settings_from(settings, directory)
    now = datetime.now(UTC)
    stands = PublishedRuns(lambda: Nessie.of(loaded), lambda line: typer.echo(line, err=True))
    totals = count(EventLog(Storage.of(loaded)).events(now), loaded.environment, loaded.warehouse, stands)
    add_lags(totals, now)
    if as_json:
        show_json({"metrics": to_json(totals)})
    else:
        typer.echo(exposition(totals), nl=False)
