"""Faults 9, 15, 16: answers that are lost, a Nessie that dies and comes back, and one that is another."""

import os
import shutil
import signal
from dataclasses import replace

import pytest
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.proxy import LossyProxy
from tests.support.runs import declared, rows_of, values, write_rows

from asgard.common.errors import ServiceUnreachableError, WarehouseMismatchError
from asgard.common.settings import Settings, load_settings
from asgard.lakehouse.attempt import Attempt
from asgard.lakehouse.lake import Lakehouse
from asgard.lakehouse.run import RunRequest, Status, execute
from asgard.local import services


def through(lake: Lakehouse, proxy: LossyProxy) -> Lakehouse:
    """The same lakehouse, its Nessie reached through a proxy (Spark's own catalog goes straight)."""
    return Lakehouse.connect(replace(lake.settings, nessie_uri=proxy.url), "asgard tests")


@pytest.mark.parametrize("times", [1, 3])
def test_a_publish_whose_answer_is_lost_happens_once(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, times: int
) -> None:
    table = declared(fresh.table(), mode="append")
    write_rows(lake, table, values(spark, "id bigint", [[0]]))
    with LossyProxy(lake.nessie.uri).running() as proxy:
        proxied = through(lake, proxy)
        proxy.lose, proxy.remaining = "history/commit", times
        result = write_rows(proxied, table, values(spark, "id bigint", [[1]]))
        assert proxy.lost
    assert result.status in (Status.PUBLISHED, Status.ALREADY_PUBLISHED)
    assert rows_of(lake, table.name) == [(0,), (1,)]
    assert len([e for e in lake.nessie.log("main") if e.properties.get("asgard.run-id") == result.run_id]) == 1


def test_a_publish_that_never_arrived_is_tried_again(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table(), mode="append")
    with LossyProxy(lake.nessie.uri).running() as proxy:
        proxied = through(lake, proxy)
        proxy.refuse, proxy.remaining = "history/commit", 2
        result = write_rows(proxied, table, values(spark, "id bigint", [[1]]))
        assert len(proxy.lost) == 2
    assert result.status is Status.PUBLISHED
    assert rows_of(lake, table.name) == [(1,)]


def test_nessie_may_restart_between_any_two_steps(lake: Lakehouse, spark: SparkSession, fresh: Fresh) -> None:
    table = declared(fresh.table(), mode="append")
    write_rows(lake, table, values(spark, "id bigint", [[0]]))
    restarts = []

    def restart(line: str) -> None:
        step = line.split(" ")[0]
        if step in ("wrote", "auditing") and step not in restarts:
            restarts.append(step)
            kill_nessie(lake.settings)
            services.up(lake.settings, only=["nessie"])

    result = execute(
        lake,
        RunRequest("test"),
        lambda attempt: attempt.write(table, values(spark, "id bigint", [[1]])),
        restart,
    )
    assert restarts == ["wrote", "auditing"]
    assert result.status is Status.PUBLISHED
    assert rows_of(lake, table.name) == [(0,), (1,)]


def test_a_nessie_that_stays_away_is_said_in_words_and_the_run_id_finds_out(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asgard.lakehouse.publish._PATIENCE_SECONDS", (0.01, 0.01))
    table = declared(fresh.table(), mode="append")
    write_rows(lake, table, values(spark, "id bigint", [[0]]))
    run_id = f"20260101t000000-away-{table.name.name[2:]}"
    with LossyProxy(lake.nessie.uri).running() as proxy:
        proxied = through(lake, proxy)

        def work(attempt: Attempt) -> None:
            attempt.write(table, values(spark, "id bigint", [[1]]))

        def go_away(line: str) -> None:
            if line == "auditing":
                proxy.refuse, proxy.remaining = "/", 1000

        with pytest.raises(ServiceUnreachableError, match=r"did not (answer|say)"):
            execute(proxied, RunRequest("test", run_id), work, go_away)  # type: ignore[arg-type]
    again = write_rows(lake, table, values(spark, "id bigint", [[1]]), run_id=run_id)
    assert again.status is Status.PUBLISHED
    assert rows_of(lake, table.name) == [(0,), (1,)]


def test_another_nessie_than_the_warehouse_was_made_by_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("other")
    settings = load_settings({"project_dir": str(folder)})
    try:
        services.up(settings, only=["nessie"])
        settings = load_settings({"project_dir": str(folder)})
        Lakehouse.connect(settings)
        services.down(settings)
        shutil.rmtree(next(path for path in folder.rglob("*") if path.is_dir() and "rocks" in path.name))
        services.up(settings, only=["nessie"])
        with pytest.raises(WarehouseMismatchError, match="was created at") as caught:
            Lakehouse.connect(load_settings({"project_dir": str(folder)}))
        assert "in-memory" in caught.value.hint
    finally:
        services.down(settings)


def kill_nessie(settings: Settings) -> None:
    found = next(status for status in services.status(settings) if status.name == "nessie")
    assert found.pid is not None
    os.kill(found.pid, signal.SIGKILL)
