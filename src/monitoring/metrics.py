"""Every metric of Asgard: its name, type, meaning and labels, and how it is counted from the jobs' events.

The values are absolute: each time they are counted from all events of the warehouse, from 0 for every known job, so
every process exports the same values. Ages and lags are exported as the time that they count from: a rule uses
`time() - asgard_..._timestamp_seconds`, which stays correct while nothing is exported.

The label for a job is `job_name`, because Prometheus and the Pushgateway would overwrite `job` with the name of their
own scrape or push job.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from asgard.monitoring.events import LATENCY_BUCKETS, JobEvent, OnlineFacts, Outcome, PredictionFacts
from asgard.monitoring.stale_intervals import LeftFacts

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

KNOWN_JOBS = ("backfill", "batch-predict", "ingest", "online-sync", "train")
"""Jobs whose counters are 0, not missing, before their first execution: a rate needs a value to start from."""
BUCKETS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0)
"""Upper bounds, in seconds, of the histogram of job durations."""


WAREHOUSE = "warehouse"
"""The label that every series has."""
Stands = Callable[[str, str], bool]
"""Function that tells whether a target ref contains a run now."""


class Type(StrEnum):
    """A metric's type, as Prometheus names it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


@dataclass(frozen=True)
class Definition:
    """One metric."""

    name: str
    type: Type
    help: str
    counted_by: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels of its series; the last one is the warehouse, as one host may have several."""
        return (*self.counted_by, WAREHOUSE)


JOB_SUCCESS = Definition(
    "asgard_job_success_total",
    Type.COUNTER,
    "Executions of a job that succeeded, including those that found nothing to do.",
    ("job_name", "environment"),
)
JOB_FAILURE = Definition(
    "asgard_job_failure_total",
    Type.COUNTER,
    "Executions of a job that failed, were stopped, or died.",
    ("job_name", "environment"),
)
JOB_DURATION = Definition(
    "asgard_job_duration_seconds",
    Type.HISTOGRAM,
    "Duration of a job's executions, except those that died.",
    ("job_name", "environment"),
)
STEP_DURATION = Definition(
    "asgard_run_step_duration_seconds",
    Type.SUMMARY,
    "Time that a job's runs spent in each step: begin, write, audit, publish.",
    ("job_name", "step", "environment"),
)
LAST_SUCCESS = Definition(
    "asgard_job_last_success_timestamp_seconds",
    Type.GAUGE,
    "When a job last succeeded; absent before its first success.",
    ("job_name", "environment"),
)
ROWS_WRITTEN = Definition(
    "asgard_rows_written_total",
    Type.COUNTER,
    "Rows of data files that runs added and published to a target ref, including runs that were rolled back later.",
    ("table", "target", "environment"),
)
CHECKS = Definition(
    "asgard_checks_total", Type.COUNTER, "Checks that were run in audits of runs.", ("table", "environment")
)
CHECKS_FAILED = Definition(
    "asgard_checks_failed_total",
    Type.COUNTER,
    "Checks that failed in audits of runs, by severity; `error` prevented the run from publishing.",
    ("table", "severity", "environment"),
)
LAST_PUBLISH = Definition(
    "asgard_table_last_publish_timestamp_seconds",
    Type.GAUGE,
    "When a run last published a table; only runs that the target ref contains now, including merged ones.",
    ("table", "target", "environment"),
)
STALE_INTERVALS = Definition(
    "asgard_stale_intervals",
    Type.GAUGE,
    "Intervals of a table that its pipeline's last backfill left missing, stale or in doubt, by condition; 0 for none.",
    ("pipeline", "table", "condition", "target", "environment"),
)
FEATURE_NULL_RATE = Definition(
    "asgard_feature_null_rate",
    Type.GAUGE,
    "Share of nulls, 0 to 1, in the last published rows of a gold table's column; absent if they were rolled back.",
    ("table", "target", "column", "environment"),
)
PREDICTIONS = Definition(
    "asgard_predictions_total",
    Type.COUNTER,
    "Published batch predictions that are not null, by model and side: a challenger is the version with a share.",
    ("model", "side", "environment"),
)
PREDICTION_MEAN = Definition(
    "asgard_prediction_mean",
    Type.GAUGE,
    "Mean score of a model's last batch, by side; challenger only if that batch had one; absent for several classes.",
    ("model", "side", "environment"),
)
PREDICTION_LATENCY = Definition(
    "asgard_prediction_latency_seconds",
    Type.HISTOGRAM,
    "Latency of a model: source `batch` is for Arrow batches; `lookup`, in a process that serves, is for lookups of "
    "views, whose names are the label `model`.",
    ("model", "side", "source", "environment"),
)
MODEL_TRAINED = Definition(
    "asgard_model_trained_timestamp_seconds",
    Type.GAUGE,
    "When the version of a model's last batch was registered, by side like the mean; its age is time() - this.",
    ("model", "side", "environment"),
)
ONLINE_KEYS = Definition(
    "asgard_online_store_keys",
    Type.GAUGE,
    "Entities of a view in the online store, after its last sync.",
    ("view", "environment"),
)
ONLINE_EQUAL = Definition(
    "asgard_online_equal_timestamp_seconds",
    Type.GAUGE,
    "The time at which the online store was last known to equal what was published, by view; its lag is time() - this.",
    ("view", "environment"),
)
ONLINE_LAG = Definition(
    "asgard_online_sync_lag_seconds",
    Type.GAUGE,
    "Seconds since the online store was last known to equal what is published, by view; only in `asgard metrics`.",
    ("view", "environment"),
)

DEFINITIONS: tuple[Definition, ...] = (
    JOB_SUCCESS,
    JOB_FAILURE,
    JOB_DURATION,
    STEP_DURATION,
    LAST_SUCCESS,
    ROWS_WRITTEN,
    CHECKS,
    CHECKS_FAILED,
    LAST_PUBLISH,
    STALE_INTERVALS,
    FEATURE_NULL_RATE,
    PREDICTIONS,
    PREDICTION_MEAN,
    PREDICTION_LATENCY,
    MODEL_TRAINED,
    ONLINE_KEYS,
    ONLINE_EQUAL,
    ONLINE_LAG,
)

Labels = tuple[str, ...]


@dataclass
class Observations:
    """The aggregated observations of a histogram or summary."""

    bounds: tuple[float, ...] = BUCKETS
    count: int = 0
    sum: float = 0.0
    buckets: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.buckets = [0] * len(self.bounds)

    def add(self, value: float) -> None:
        """Observe a value."""
        self.add_all(1, value, [int(value <= bound) for bound in self.bounds])

    def add_all(self, count: int, total: float, within: Sequence[int]) -> None:
        """Add several observations; `within` is the number of them that are at most each bound."""
        self.count += count
        self.sum += total
        self.buckets = [mine + more for mine, more in zip(self.buckets, within, strict=True)]


@dataclass
class Totals:
    """The value of every series, by definition and labels (in the definition's order).

    Attributes:
        warehouse: the warehouse of the events; the last label of each series.
    """

    warehouse: str = ""
    values: dict[Definition, dict[Labels, float]] = field(default_factory=dict)
    observations: dict[Definition, dict[Labels, Observations]] = field(default_factory=dict)

    def add(self, metric: Definition, labels: Labels, value: float) -> None:
        """Add to a value."""
        series = self.values.setdefault(metric, {})
        series[labels] = series.get(labels, 0) + value

    def latest(self, metric: Definition, labels: Labels, value: float) -> None:
        """Keep the greatest value, for times."""
        series = self.values.setdefault(metric, {})
        series[labels] = max(value, series.get(labels, value))

    def observe(self, metric: Definition, labels: Labels, value: float) -> None:
        """Observe a duration."""
        self.observations.setdefault(metric, {}).setdefault(labels, Observations()).add(value)


def count(
    events: Iterable[JobEvent],
    environment: str,
    warehouse: str = "",
    stands: Stands = lambda _target, _run_id: True,
    jobs: Sequence[str] = KNOWN_JOBS,
) -> Totals:
    """Count the totals.

    Args:
        events: the warehouse's events, each once.
        environment: the environment in which the known jobs start from 0.
        warehouse: the warehouse of the events.
        stands: tells whether a target ref contains a run now; only called for the latest runs.
        jobs: the known jobs.
    """
    totals = Totals(warehouse)
    for job in jobs:
        totals.add(JOB_SUCCESS, (job, environment), 0)
        totals.add(JOB_FAILURE, (job, environment), 0)
    ordered = sorted(events, key=lambda event: event.id)
    for event in ordered:
        _count_job(totals, event)
        for table, facts in event.tables.items():
            key = (table, event.environment)
            totals.add(ROWS_WRITTEN, (table, event.target, event.environment), facts.rows_written)
            totals.add(CHECKS, key, facts.checks)
            totals.add(CHECKS_FAILED, (table, "error", event.environment), 0)
            for severity, failed in facts.checks_failed.items():
                totals.add(CHECKS_FAILED, (table, severity, event.environment), failed)
        for model, predicted in event.predictions.items():
            _count_predictions(totals, event, model, "champion", predicted)
            if predicted.challenger is not None:
                _count_predictions(totals, event, model, "challenger", predicted.challenger)
            else:
                for gauge in (PREDICTION_MEAN, MODEL_TRAINED):
                    totals.values.get(gauge, {}).pop((model, "challenger", event.environment), None)
    _count_online(totals, ordered)
    _count_publishes(totals, ordered, stands)
    _count_left(totals, ordered)
    return totals


def _count_publishes(totals: Totals, events: Sequence[JobEvent], stands: Stands) -> None:
    """Count, for each table and target ref, the latest publish that the ref still contains."""
    published: dict[tuple[str, str], list[tuple[datetime, str, JobEvent]]] = {}
    targets: dict[tuple[str, str], set[str]] = {}
    for event in events:
        for table, facts in event.tables.items():
            for run_id, moment in facts.publishes.items():
                published.setdefault((table, event.environment), []).append((moment, run_id, event))
                targets.setdefault((table, event.environment), set()).add(event.target)
    for (table, environment), candidates in published.items():
        newest_first = sorted(candidates, key=lambda each: each[:2], reverse=True)
        for target in targets[table, environment]:
            standing = next((each for each in newest_first if _is_of(each[2], each[1], target, stands)), None)
            if standing is None:
                continue
            moment, run_id, event = standing
            totals.latest(LAST_PUBLISH, (table, target, environment), moment.timestamp())
            facts = event.tables[table]
            for column, rate in facts.null_rate.items() if facts.last_run == run_id else ():
                totals.add(FEATURE_NULL_RATE, (table, target, column, environment), rate)


def _is_of(event: JobEvent, run_id: str, target: str, stands: Stands) -> bool:
    """Whether a target ref contains a run; for an older version's event without a run id, its target is compared."""
    return stands(target, run_id) if run_id else event.target == target


def add_lags(totals: Totals, now: datetime) -> None:
    """Add the lags at this moment, which must not be stored because they change with time."""
    for key, equal_at in totals.values.get(ONLINE_EQUAL, {}).items():
        totals.add(ONLINE_LAG, key, max(0.0, round(now.timestamp() - equal_at, 3)))


def _count_left(totals: Totals, events: Iterable[JobEvent]) -> None:
    """Count what the latest backfill of each pipeline left; a table that the pipeline no longer has has no series."""
    newest: dict[tuple[str, str, str], LeftFacts] = {}
    for event in events:
        for pipeline, facts in event.left.items():
            key = (pipeline, event.target, event.environment)
            newest[key] = max(newest.get(key, facts), facts, key=lambda each: each.at)
    for (pipeline, target, environment), facts in newest.items():
        for table, condition, intervals in facts.series():
            totals.add(STALE_INTERVALS, (pipeline, table, condition, target, environment), intervals)


def _count_online(totals: Totals, events: Iterable[JobEvent]) -> None:
    newest: dict[Labels, OnlineFacts] = {}
    for event in events:
        for view, facts in event.online.items():
            key: Labels = (view, event.environment)
            newest[key] = max(newest.get(key, facts), facts, key=lambda each: each.equal_at)
    for key, facts in newest.items():
        if not facts.is_gone:
            totals.add(ONLINE_KEYS, key, facts.keys)
            totals.add(ONLINE_EQUAL, key, facts.equal_at.timestamp())


def _count_predictions(totals: Totals, event: JobEvent, model: str, side: str, predicted: PredictionFacts) -> None:
    key = (model, side, event.environment)
    totals.add(PREDICTIONS, key, predicted.rows)
    if predicted.mean is not None:
        totals.values.setdefault(PREDICTION_MEAN, {})[key] = predicted.mean
    totals.values.setdefault(MODEL_TRAINED, {})[key] = predicted.trained.timestamp()
    if predicted.batches:
        series = totals.observations.setdefault(PREDICTION_LATENCY, {})
        seen = series.setdefault((model, side, "batch", event.environment), Observations(LATENCY_BUCKETS))
        seen.add_all(predicted.batches, predicted.seconds, predicted.within)


def _count_job(totals: Totals, event: JobEvent) -> None:
    key = (event.job, event.environment)
    ended_well = event.outcome is Outcome.SUCCEEDED
    totals.add(JOB_SUCCESS, key, int(ended_well))
    totals.add(JOB_FAILURE, key, int(not ended_well))
    if ended_well and event.ended is not None:
        totals.latest(LAST_SUCCESS, key, event.ended.timestamp())
    if event.seconds is not None:
        totals.observe(JOB_DURATION, key, event.seconds)
    for step, seconds in event.steps.items():
        totals.observe(STEP_DURATION, (event.job, step, event.environment), seconds)


def registry(totals: Totals) -> "CollectorRegistry":
    """The totals as a registry of prometheus_client, for its text format and its push."""
    from prometheus_client import CollectorRegistry

    collectors = CollectorRegistry()
    collectors.register(_collector(totals))
    return collectors


def exposition(totals: Totals) -> str:
    """The totals in Prometheus's text format."""
    from prometheus_client import generate_latest

    return generate_latest(registry(totals)).decode()


def to_json(totals: Totals) -> list[Mapping[str, object]]:
    """The totals as plain values: each metric with its samples."""
    return [
        {
            "name": definition.name,
            "type": str(definition.type),
            "help": definition.help,
            "samples": [
                {"name": sample.name, "labels": sample.labels, "value": sample.value}
                for sample in _family(definition, totals).samples
            ],
        }
        for definition in DEFINITIONS
    ]


def _collector(totals: Totals) -> "Collector":
    from prometheus_client.registry import Collector

    class TotalsCollector(Collector):
        """A collector that returns the given totals."""

        def collect(self) -> "Iterator[Metric]":
            for definition in DEFINITIONS:
                yield _family(definition, totals)

    return TotalsCollector()


def _family(definition: Definition, totals: Totals) -> "Metric":
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        SummaryMetricFamily,
    )

    def full(series: Mapping[Labels, Any]) -> list[tuple[Labels, Any]]:
        return [((*key, totals.warehouse), value) for key, value in sorted(series.items())]

    values = full(totals.values.get(definition, {}))
    observed = full(totals.observations.get(definition, {}))
    name, text, labels = definition.name, definition.help, definition.labels
    match definition.type:
        case Type.COUNTER:
            counter = CounterMetricFamily(name, text, labels=labels)
            for key, value in values:
                counter.add_metric(key, value)
            return counter
        case Type.GAUGE:
            gauge = GaugeMetricFamily(name, text, labels=labels)
            for key, value in values:
                gauge.add_metric(key, value)
            return gauge
        case Type.HISTOGRAM:
            histogram = HistogramMetricFamily(name, text, labels=labels)
            for key, seen in observed:
                buckets = [(str(bound), float(number)) for bound, number in zip(seen.bounds, seen.buckets, strict=True)]
                histogram.add_metric(key, [*buckets, ("+Inf", float(seen.count))], seen.sum)
            return histogram
        case Type.SUMMARY:
            summary = SummaryMetricFamily(name, text, labels=labels)
            for key, seen in observed:
                summary.add_metric(key, seen.count, seen.sum)
            return summary
