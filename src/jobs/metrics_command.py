"""`asgard metrics`: the totals of the warehouse, in Prometheus's text format.

Reads: the events that jobs left in the warehouse. Writes: nothing.
"""

from datetime import UTC, datetime

import typer

from asgard.jobs.options import DirOption, JsonOption, SetOption, settings_from


def command(directory: DirOption = None, settings: SetOption = None, as_json: JsonOption = False) -> None:
    """Print the metrics of all jobs so far, as Prometheus reads them."""
    from asgard.common.storage import Storage
    from asgard.jobs.reporting import show_json
    from asgard.monitoring import metrics
    from asgard.monitoring.events import EventLog

    found = settings_from(settings, directory)
    totals = metrics.count(EventLog(Storage.of(found)).events(datetime.now(UTC)), found.environment)
    if as_json:
        show_json({"metrics": metrics.to_json(totals)})
    else:
        typer.echo(metrics.exposition(totals), nl=False)
