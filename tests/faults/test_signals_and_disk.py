"""Faults 18, 19, 56: a full disk, a polite stop, and secrets that must not leak."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.runs import declared, rows_of, values, write_rows
from tests.support.stopping import started

from asgard.common.errors import EnvironmentSetupError, ServiceError
from asgard.common.names import parse_audit_branch
from asgard.common.settings import Secret, Settings, load_settings
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.history import list_runs
from asgard.lakehouse.runs.run import RunAuditFailedError
from asgard.validation.checks import between

SLOW = """
from pathlib import Path
from asgard import Pipeline
from asgard.validation.checks import not_null
slow = Pipeline("slow")
slow.source("{source}")

@slow.table("{target}", inputs={{"rows": "{source}"}}, checks=[not_null("id")])
def target(rows):
    def wait(batches):
        import time
        for batch in batches:
            Path("{block}").touch()
            time.sleep(600)
            yield batch
    return rows.mapInPandas(wait, "id bigint")
"""


def test_sigterm_stops_within_seconds_and_keeps_the_branch(
    lake: Lakehouse, project: Settings, spark: SparkSession, fresh: Fresh, tmp_path: Path
) -> None:
    source, target = fresh.table("bronze"), fresh.table()
    write_rows(lake, declared(source, mode="append"), values(spark, "id bigint", [[1]]))
    block, path = tmp_path / "computing", tmp_path / "slow_pipeline.py"
    path.write_text(SLOW.format(source=source, target=target, block=block))
    run_id = f"20260101t000000-term-{target.name[2:]}"
    head = lake.nessie.head("main")
    arguments = ["backfill", "-p", str(path), "--run-id", run_id, "--dir", str(project.project_dir)]
    with started([sys.executable, "-m", "asgard.cli", *arguments]) as process:
        process.wait_for(block.exists)
        sent = time.monotonic()
        code, said = process.stop(signal.SIGTERM)
        assert time.monotonic() - sent < 30
        assert code == 143
        assert said.count("terminated: nothing incomplete was published\n") == 1
        assert "Traceback" not in said
        assert "rror" not in said
        assert process.left() == []
    assert lake.nessie.head("main") == head
    branches = [parse_audit_branch(ref.name) for ref in lake.nessie.references("audit_")]
    assert (run_id, 1) in branches
    assert list_runs(lake, run_id=run_id)[0].status == "failed"  # type: ignore[arg-type]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 4 MB; needs the right to mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_said_in_words_and_main_is_as_it_was(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, small_disk: Path
) -> None:
    tight = Lakehouse(replace(lake.settings, warehouse=small_disk.as_uri()))
    tight.__dict__["_spark"] = spark
    head = lake.nessie.head("main")
    rows = spark.range(3_000_000).selectExpr("id", "sha2(string(id), 256) AS noise")
    with pytest.raises(EnvironmentSetupError, match="disk is full"):
        write_rows(tight, declared(fresh.table()), rows)
    assert lake.nessie.head("main") == head


@pytest.mark.parametrize("free", [0, 40_000])
def test_services_on_a_full_disk_say_so_and_none_is_left(free: int, small_disk: Path) -> None:
    others = os.open(small_disk / "others", os.O_CREAT | os.O_WRONLY)
    os.posix_fallocate(others, 0, shutil.disk_usage(small_disk).free - free // 4096 * 4096)
    os.close(others)
    folder = small_disk / "project"
    with started([sys.executable, "-m", "asgard.cli", "up", "--only", "mlflow", "--dir", str(folder)]) as process:
        code, said = process.ended()
        assert code == 1
        assert f"the disk of {folder} is full.\nhint: Free some space there, or choose another folder" in said
        assert "Traceback" not in said
        assert process.left() == []


def test_an_mlflow_on_a_full_disk_is_said_so() -> None:
    from mlflow.exceptions import MlflowException

    from asgard.model.mlflow_access.client import in_words

    settings = load_settings({"mlflow_tracking_uri": "http://127.0.0.1:1"})
    with pytest.raises(ServiceError, match="can't write: its disk is full"), in_words(settings):
        raise MlflowException("(sqlite3.OperationalError) database or disk is full")  # as a full tmpfs made it say


def test_secrets_appear_nowhere(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh, capfd: pytest.CaptureFixture[str]
) -> None:
    canary = "canary-7f3a9c51"
    settings = replace(
        lake.settings,
        nessie_token=Secret(canary),
        aws_secret_access_key=Secret(canary),
        redis_url=Secret(f"redis://user:{canary}@localhost:1/0"),
    )
    guarded = Lakehouse(settings)
    guarded.__dict__["_spark"] = spark
    table = declared(fresh.table(), checks=[between("id", 0, 1)])
    result = write_rows(guarded, table, values(spark, "id bigint", [[1]]))
    with pytest.raises(RunAuditFailedError) as caught:
        write_rows(guarded, table, values(spark, "id bigint", [[7]]))
    texts = [str(caught.value), repr(caught.value), str(result.to_json()), repr(settings), *capfd.readouterr()]
    texts += [str(entry) for _, entry in zip(range(20), lake.nessie.log("main"), strict=False)]
    root = Path(lake.settings.warehouse.removeprefix("file://"))
    texts += [path.read_text() for path in (root / "_asgard").rglob("*.json")]
    texts += [str(os.listdir(root))]
    assert not [text for text in texts if canary in text]
    assert rows_of(lake, table.name) == [(1,)]
