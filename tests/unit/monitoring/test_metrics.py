"""Metrics: what is counted from the jobs' events, whatever happens to the files that hold them."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from pyarrow.fs import LocalFileSystem

from asgard.cli.commands import metrics_command
from asgard.common.errors import ServiceError
from asgard.common.settings import Settings, load_settings
from asgard.common.storage import Storage
from asgard.jobs.counted import counted
from asgard.jobs.entrypoint import run_job
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.monitoring import events as events_module
from asgard.monitoring import metrics
from asgard.monitoring.events import EventLog, JobEvent, Outcome, PredictionFacts, TableFacts
from asgard.monitoring.stale_intervals import LeftFacts

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
LATER = timedelta(hours=1, minutes=1)


def storage_in(folder: Path) -> Storage:
    return Storage(LocalFileSystem(), f"{folder}/_asgard", local=True)


def event(number: int, outcome: Outcome = Outcome.SUCCEEDED, **changes: Any) -> JobEvent:
    started = NOW + timedelta(minutes=number)
    plain = JobEvent(
        f"{started:%Y%m%dt%H%M%S}-{number:06x}", "ingest", "test", started, outcome, started + timedelta(seconds=9), 9.0
    )
    return replace(plain, **changes)


def leave(storage: Storage, *events: JobEvent) -> None:
    for each in events:
        storage.write(f"events/ended/{each.id}.json", each.encode())


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What Prometheus's own parser makes of the text: every series once."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(text: str, name: str, **labels: str) -> float | None:
    return samples(text).get((name, frozenset({"warehouse": "", **labels}.items())))


def exposed(log: EventLog, now: datetime = NOW) -> str:
    return metrics.exposition(metrics.count(log.events(now), "test"))


def test_known_jobs_start_from_zero(tmp_path: Path) -> None:
    text = exposed(EventLog(storage_in(tmp_path)))
    for job in metrics.KNOWN_JOBS:
        assert value(text, "asgard_job_success_total", job_name=job, environment="test") == 0
        assert value(text, "asgard_job_failure_total", job_name=job, environment="test") == 0


def test_every_definition_is_exposed_with_its_type_and_help() -> None:
    families = {
        family.name: family
        for family in text_string_to_metric_families(metrics.exposition(metrics.count([event(1)], "x")))
    }
    for definition in metrics.DEFINITIONS:
        assert definition.name.startswith("asgard_")
        family = families[definition.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (definition.type, definition.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le", "quantile"} == set(definition.labels)
            assert not {"job", "instance"} & set(sample.labels)  # what Prometheus and the Pushgateway overwrite


def test_counts_of_jobs_tables_and_checks() -> None:
    facts = TableFacts(10, 4, {"warn": 1}, {"run-1": NOW}, {"email": 0.25, "id": 0.0})
    worse = TableFacts(0, 4, {"error": 2})
    newer = TableFacts(5, 4, {}, {"run-4": NOW + timedelta(hours=1)}, {"email": 0.5})
    text = metrics.exposition(
        metrics.count(
            [
                event(1, steps={"write": 2.0}, tables={"gold.a": facts}),
                event(2, Outcome.FAILED, tables={"gold.a": worse}),
                event(3, Outcome.DIED, seconds=None),
                event(4, steps={"write": 3.0}, seconds=400.0, tables={"gold.a": newer}),
            ],
            "test",
        )
    )
    job = {"job_name": "ingest", "environment": "test"}
    table = {"table": "gold.a", "environment": "test"}
    assert value(text, "asgard_job_success_total", **job) == 2
    assert value(text, "asgard_job_failure_total", **job) == 2
    assert value(text, "asgard_job_duration_seconds_count", **job) == 3
    assert value(text, "asgard_job_duration_seconds_sum", **job) == 418
    assert value(text, "asgard_job_duration_seconds_bucket", le="15.0", **job) == 2
    assert value(text, "asgard_job_duration_seconds_bucket", le="600.0", **job) == 3
    assert value(text, "asgard_job_duration_seconds_bucket", le="+Inf", **job) == 3
    assert value(text, "asgard_run_step_duration_seconds_sum", step="write", **job) == 5
    assert value(text, "asgard_rows_written_total", target="main", **table) == 15
    assert value(text, "asgard_checks_total", **table) == 12
    assert value(text, "asgard_checks_failed_total", severity="error", **table) == 2
    assert value(text, "asgard_checks_failed_total", severity="warn", **table) == 1
    assert value(text, "asgard_feature_null_rate", column="email", target="main", **table) == 0.5
    assert (
        value(text, "asgard_feature_null_rate", column="id", target="main", **table) is None
    )  # the newest publish has no such column
    published = value(text, "asgard_table_last_publish_timestamp_seconds", target="main", **table)
    assert published == (NOW + timedelta(hours=1)).timestamp()
    succeeded = value(text, "asgard_job_last_success_timestamp_seconds", **job)
    assert succeeded == (NOW + timedelta(minutes=4, seconds=9)).timestamp()


def test_label_values_are_escaped() -> None:
    text = metrics.exposition(metrics.count([event(1, job='a"b\\c\nd')], "test"))
    assert value(text, "asgard_job_success_total", job_name='a"b\\c\nd', environment="test") == 1


rates = st.dictionaries(st.sampled_from(["a", "b"]), st.floats(0, 1), max_size=2)
moments = st.integers(0, 5000).map(lambda second: NOW + timedelta(seconds=second))
facts_of_tables = st.dictionaries(
    st.sampled_from(["gold.x", "gold.y"]),
    st.builds(
        TableFacts,
        rows_written=st.integers(0, 9),
        checks=st.integers(0, 9),
        checks_failed=st.dictionaries(st.sampled_from(["error", "warn"]), st.integers(1, 3)),
        publishes=st.dictionaries(st.sampled_from(["one", "two", "three"]), moments, max_size=2),
        null_rate=rates,
    ),
    max_size=2,
)
what_is_left = st.dictionaries(
    st.sampled_from(["shop", "stock"]),
    st.builds(
        LeftFacts,
        at=moments,
        tables=st.sampled_from([("gold.x",), ("gold.x", "gold.y")]),
        conditions=st.just(("missing", "stale by data")),
        counts=st.dictionaries(
            st.just("gold.x"),
            st.dictionaries(st.sampled_from(["missing", "stale by data"]), st.integers(1, 9), min_size=1),
        ),
    ),
    max_size=1,
)
some_events = st.lists(
    st.builds(
        lambda number, outcome, job, environment, target, seconds, tables, left: event(
            number, outcome, job=job, environment=environment, target=target, seconds=seconds, tables=tables, left=left
        ),
        number=st.integers(0, 500),
        outcome=st.sampled_from(list(Outcome)),
        job=st.sampled_from(["ingest", "backfill", "other"]),
        environment=st.sampled_from(["test", "prod"]),
        target=st.sampled_from(["main", "dev"]),
        seconds=st.none() | st.integers(0, 10_000).map(float),
        tables=facts_of_tables,
        left=what_is_left,
    ),
    max_size=25,
    unique_by=lambda each: each.id,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=some_events, seed=st.integers(0, 2**20))
def test_totals_are_the_naive_count_and_never_shrink(
    found: list[JobEvent], seed: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "PACK_AT", 3)
    monkeypatch.setattr(events_module, "MERGE_AT", 2)
    storage = storage_in(tmp_path_factory.mktemp("events"))
    log, dice = EventLog(storage), random.Random(seed)
    before: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for each in found:
        leave(storage, each)
        if dice.random() < 0.4:
            log.settle(NOW)
        after = samples(exposed(log))
        grows = [key for key in before if key[0].endswith(("_total", "_count", "_bucket", "_timestamp_seconds"))]
        assert all(after[key] >= before[key] for key in grows)
        before = after
    packed = log.events(NOW)
    assert [each.id for each in packed] == sorted(each.id for each in found)
    assert exposed(log) == metrics.exposition(metrics.count(found, "test"))
    naive = Counter((each.job, each.environment, each.outcome is Outcome.SUCCEEDED) for each in found)
    text = exposed(log)
    for (job, environment, ended_well), number in naive.items():
        name = "asgard_job_success_total" if ended_well else "asgard_job_failure_total"
        assert value(text, name, job_name=job, environment=environment) == number


@settings(deadline=None)
@given(found=some_events, held=st.sets(st.tuples(st.sampled_from(["main", "dev"]), st.sampled_from(["one", "two"]))))
def test_the_last_publish_is_the_newest_that_its_target_holds(
    found: list[JobEvent], held: set[tuple[str, str]]
) -> None:
    text = metrics.exposition(metrics.count(found, "test", "w", lambda target, run_id: (target, run_id) in held))
    wanted: dict[tuple[str, str, str], float] = {}
    for own in found:
        for table, facts in own.tables.items():
            for target in {own.target} if facts.publishes else ():
                for each in found:
                    if each.environment == own.environment and table in each.tables:
                        for run_id, moment in each.tables[table].publishes.items():
                            if (target, run_id) in held:
                                key = (table, target, own.environment)
                                wanted[key] = max(wanted.get(key, 0.0), moment.timestamp())
    shown = {
        (labels["table"], labels["target"], labels["environment"]): number
        for (name, pairs), number in samples(text).items()
        if name == "asgard_table_last_publish_timestamp_seconds" and (labels := dict(pairs))["warehouse"] == "w"
    }
    assert shown == wanted


def test_null_rates_of_a_publish_that_was_rolled_back_are_not_shown() -> None:
    older = TableFacts(1, publishes={"older": NOW}, null_rate={"a": 0.5})
    newer = TableFacts(1, publishes={"newer": NOW + timedelta(hours=1)}, null_rate={"a": 0.25})
    found = [event(1, tables={"gold.t": older}), event(2, tables={"gold.t": newer})]
    labels = {"table": "gold.t", "column": "a", "target": "main", "environment": "test"}
    for held, rate in (({"older", "newer"}, 0.25), ({"older"}, 0.5), (set[str](), None)):
        text = metrics.exposition(metrics.count(found, "test", stands=lambda _, run_id, held=held: run_id in held))
        assert value(text, "asgard_feature_null_rate", **labels) == rate


def test_an_event_of_an_older_version_counts_for_main() -> None:
    line = {
        "id": "20240301t120000-000001",
        "job": "backfill",
        "environment": "test",
        "started": NOW.isoformat(),
        "tables": {"gold.t": {"published": NOW.isoformat(), "null_rate": {"a": 1}, "rows_written": 7}},
    }
    found = JobEvent.decode(json.dumps(line).encode())
    text = metrics.exposition(metrics.count([found], "test", stands=lambda *_: False))
    labels = {"table": "gold.t", "target": "main", "environment": "test"}
    assert value(text, "asgard_table_last_publish_timestamp_seconds", **labels) == NOW.timestamp()
    assert value(text, "asgard_feature_null_rate", column="a", **labels) == 1
    assert value(text, "asgard_rows_written_total", **labels) == 7


def test_two_warehouses_on_one_host_have_no_series_in_common() -> None:
    both = [samples(metrics.exposition(metrics.count([event(1)], "test", name))) for name in ("file:/a", "file:/b")]
    assert not set(both[0]) & set(both[1])
    assert {dict(labels)["warehouse"] for _, labels in both[0]} == {"file:/a"}


def test_what_the_latest_backfill_left_and_nothing_else() -> None:
    """A table is 0 once nothing of it is stale, and has no series once its pipeline does not declare it."""
    conditions = ("missing", "in doubt")

    def backfill(number: int, pipeline: str, at: int, tables: tuple[str, ...], **counts: int) -> JobEvent:
        left = LeftFacts(NOW + timedelta(hours=at), tables, conditions, {tables[0]: counts} if counts else {})
        return event(number, job="backfill", left={pipeline: left})

    found = [
        backfill(1, "shop", 1, ("gold.x", "gold.y"), missing=3),
        backfill(2, "shop", 9, ("gold.x",)),
        backfill(3, "shop", 5, ("gold.x", "gold.z"), missing=7),  # began later, and was counted earlier
        backfill(4, "stock", 2, ("gold.s",), missing=2),
    ]
    totals = metrics.count(found, "test")
    assert totals.values[metrics.STALE_INTERVALS] == {
        ("shop", "gold.x", "missing", "main", "test"): 0,
        ("shop", "gold.x", "in doubt", "main", "test"): 0,
        ("stock", "gold.s", "missing", "main", "test"): 2,
        ("stock", "gold.s", "in doubt", "main", "test"): 0,
    }


@settings(deadline=None)
@given(found=some_events)
def test_an_event_survives_its_file(found: list[JobEvent]) -> None:
    for each in found:
        assert JobEvent.decode(each.encode()) == each
        newer = json.loads(each.encode()) | {"what_a_later_version_knows": 1}
        assert JobEvent.decode(json.dumps(newer).encode()) == each


def test_many_events_become_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "PACK_AT", 8)
    monkeypatch.setattr(events_module, "MERGE_AT", 4)
    storage = storage_in(tmp_path)
    log = EventLog(storage)
    for number in range(100):
        leave(storage, event(number))
        log.settle(NOW)
        assert len(list(storage.list("events"))) < 8 + 4
    assert len(log.events(NOW)) == 100


def test_a_pack_that_was_cut_short_counts_once(tmp_path: Path) -> None:
    """Killed after the pack was written, before the single files were deleted: both are there."""
    storage = storage_in(tmp_path)
    leave(storage, *(event(number) for number in range(events_module.PACK_AT)))
    singles = {entry.path: storage.read(entry.path) or b"" for entry in storage.list("events/ended")}
    EventLog(storage).settle(NOW)
    assert list(storage.list("events/ended")) == []
    for path, content in singles.items():
        storage.write(path, content)
    assert len(EventLog(storage).events(NOW)) == events_module.PACK_AT
    EventLog(storage).settle(NOW)
    assert len(EventLog(storage).events(NOW)) == events_module.PACK_AT


def test_a_reader_misses_nothing_while_others_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "PACK_AT", 4)
    monkeypatch.setattr(events_module, "MERGE_AT", 2)
    storage = storage_in(tmp_path)
    log = EventLog(storage)
    left = [0]

    def write() -> None:
        for number in range(80):
            leave(storage, event(number))
            left[0] = number + 1
            log.settle(NOW)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            at_least = left[0]
            assert len(log.events(NOW)) >= at_least
        writing.result()
    assert len(log.events(NOW)) == 80


_WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pyarrow.fs import LocalFileSystem
from asgard.common.storage import Storage
from asgard.monitoring import events
events.PACK_AT, events.MERGE_AT = 5, 3
log = events.EventLog(Storage(LocalFileSystem(), sys.argv[1], local=True))
for number in range(int(sys.argv[2])):
    with log.job("ingest", "test") as event:
        event.end(events.Outcome.FAILED if number % 3 == 0 else events.Outcome.SUCCEEDED)
    log.settle(datetime.now(UTC))
"""


def test_two_processes_write_and_pack_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITER, f"{tmp_path}/_asgard", "30"]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    text = exposed(EventLog(storage_in(tmp_path)))
    assert value(text, "asgard_job_success_total", job_name="ingest", environment="test") == 40
    assert value(text, "asgard_job_failure_total", job_name="ingest", environment="test") == 20
    assert list(storage_in(tmp_path).list("events/open")) == []


_VICTIM = """
import sys, time
from datetime import UTC, datetime
from pyarrow.fs import LocalFileSystem
from asgard.common.storage import Storage
from asgard.monitoring.events import EventLog, TableFacts
with EventLog(Storage(LocalFileSystem(), sys.argv[1], local=True)).job("backfill", "test") as event:
    event.note_run("20240101t000000-a", {"write": 1.5}, {"gold.a": TableFacts(rows_written=7)})
    print("open", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def killed(tmp_path: Path) -> Storage:
    """Events of a job that was killed after its first run."""
    command = [sys.executable, "-c", _VICTIM, f"{tmp_path}/_asgard"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "open\n"
        victim.send_signal(signal.SIGKILL)
    return storage_in(tmp_path)


def test_a_killed_job_is_a_failure_once_its_renewal_expired(killed: Storage) -> None:
    log, now = EventLog(killed), datetime.now(UTC)
    job = {"job_name": "backfill", "environment": "test"}
    log.settle(now)
    assert value(exposed(log, now), "asgard_job_failure_total", **job) == 0
    for _ in range(2):
        text = exposed(log, now + LATER)
        assert value(text, "asgard_job_failure_total", **job) == 1
        assert value(text, "asgard_job_duration_seconds_count", **job) is None
        assert value(text, "asgard_rows_written_total", table="gold.a", target="main", environment="test") == 7
        log.settle(now + LATER)
    assert value(exposed(log, now), "asgard_job_failure_total", **job) == 1  # written down: no clock brings it back
    assert list(killed.list("events/open")) == []


def test_a_job_that_comes_back_from_the_dead_counts_as_both(tmp_path: Path) -> None:
    log, job = EventLog(storage_in(tmp_path)), {"job_name": "ingest", "environment": "test"}
    with log.job("ingest", "test") as running:
        log.settle(datetime.now(UTC) + LATER)
        running.end(Outcome.SUCCEEDED)
    text = exposed(log, datetime.now(UTC))
    assert value(text, "asgard_job_failure_total", **job) == 1
    assert value(text, "asgard_job_success_total", **job) == 1


def test_a_job_killed_right_after_its_end_is_no_failure(tmp_path: Path) -> None:
    storage = storage_in(tmp_path)
    done = event(1)
    leave(storage, done)
    storage.write(f"events/open/{done.id}.json", replace(done, outcome=None, ended=None, seconds=None).encode())
    now = datetime.now(UTC) + LATER
    assert [each.outcome for each in EventLog(storage).events(now)] == [Outcome.SUCCEEDED]
    EventLog(storage).settle(now)
    assert [each.outcome for each in EventLog(storage).events(now)] == [Outcome.SUCCEEDED]
    assert list(storage.list("events/open")) == []


def test_a_long_job_renews_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asgard.common.heartbeat.RENEWAL_SECONDS", 0.01)
    storage = storage_in(tmp_path)
    with EventLog(storage).job("ingest", "test") as running:
        first = next(storage.list("events/open")).modified
        deadline = time.monotonic() + 10
        while next(storage.list("events/open")).modified == first:
            assert time.monotonic() < deadline
        running.end(Outcome.SUCCEEDED)
        running.renew()
    assert list(storage.list("events/open")) == []


def test_a_foreign_file_among_the_events_is_named(tmp_path: Path) -> None:
    storage = storage_in(tmp_path)
    storage.write("events/ended/notes.json", b"{}")
    with pytest.raises(ServiceError, match=r"events/ended/notes\.json in the warehouse is not an event"):
        EventLog(storage).events(NOW)


@pytest.fixture
def settings_of(tmp_path: Path) -> Callable[..., Settings]:
    def make(**given: str) -> Settings:
        flags = {"project_dir": str(tmp_path / "project"), "nessie_uri": "http://127.0.0.1:1", "environment": "test"}
        return load_settings({**flags, **given}, environment={})

    return make


def test_the_command_prints_what_prometheus_reads(
    settings_of: Callable[..., Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    found = settings_of()
    leave(Storage.of(found), event(1))
    arguments = ["--dir", str(found.project_dir), "--set", "environment=test"]
    assert run_job(metrics_command.metrics, arguments) == 0
    text = capsys.readouterr().out
    assert (
        value(text, "asgard_job_success_total", job_name="ingest", environment="test", warehouse=found.warehouse) == 1
    )
    assert run_job(metrics_command.metrics, [*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["metrics"]
    assert [one["name"] for one in printed] == [definition.name for definition in metrics.DEFINITIONS]
    assert {(s["name"], frozenset(s["labels"].items())): s["value"] for m in printed for s in m["samples"]} == samples(
        text
    )


@pytest.mark.parametrize(
    "error", [ServiceError("Nessie is away."), KeyboardInterrupt(), SystemExit(1)], ids=lambda e: type(e).__name__
)
def test_whatever_ends_a_job_early_makes_it_a_failure(
    error: BaseException, settings_of: Callable[..., Settings]
) -> None:
    lake, said = Lakehouse(settings_of()), list[str]()

    def run() -> None:
        with counted(lake, "ingest", said.append):
            raise error

    with pytest.raises(type(error)):
        run()
    with counted(lake, "ingest", said.append):
        pass
    text = exposed(EventLog(lake.storage), datetime.now(UTC))
    assert value(text, "asgard_job_failure_total", job_name="ingest", environment="test") == 1
    assert value(text, "asgard_job_success_total", job_name="ingest", environment="test") == 1
    assert said == []


def test_a_storage_that_refuses_does_not_fail_the_job(settings_of: Callable[..., Settings], tmp_path: Path) -> None:
    blocked = tmp_path / "project" / "warehouse" / "_asgard"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the folder should be")
    said = list[str]()
    with counted(Lakehouse(settings_of()), "ingest", said.append):
        pass
    assert any("could not be counted" in line for line in said)


def test_predictions_of_champion_and_challenger_are_told_apart() -> None:
    other = PredictionFacts(10, 0.25, NOW - timedelta(days=1), 1, 0.002, (0, 1, *(1,) * 11))
    both = PredictionFacts(90, 0.5, NOW - timedelta(days=9), 2, 0.01, (0, 2, *(2,) * 11), challenger=other)
    later = PredictionFacts(5, 0.75, NOW - timedelta(days=9))
    events = [event(1, predictions={"churn": both}), event(2, predictions={"churn": later})]
    decoded = [JobEvent.decode(each.encode()) for each in events]
    text = metrics.exposition(metrics.count(decoded[:1], "test"))
    alone = metrics.exposition(metrics.count(decoded, "test"))
    champion, challenger = (
        {"model": "churn", "side": side, "environment": "test"} for side in ("champion", "challenger")
    )
    assert value(alone, "asgard_predictions_total", **champion) == 95
    assert value(alone, "asgard_predictions_total", **challenger) == 10
    assert value(alone, "asgard_prediction_mean", **champion) == 0.75
    for gauge in ("asgard_prediction_mean", "asgard_model_trained_timestamp_seconds"):
        assert value(alone, gauge, **challenger) is None  # the experiment is over
        assert value(alone, gauge, **champion) is not None
    assert value(text, "asgard_prediction_mean", **champion) == 0.5
    assert value(text, "asgard_prediction_mean", **challenger) == 0.25
    assert value(text, "asgard_prediction_latency_seconds_count", source="batch", **champion) == 2
    assert value(alone, "asgard_prediction_latency_seconds_count", source="batch", **challenger) == 1
    trained = value(text, "asgard_model_trained_timestamp_seconds", **challenger)
    assert trained == (NOW - timedelta(days=1)).timestamp()
