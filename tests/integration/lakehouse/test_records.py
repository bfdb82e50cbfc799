"""`asgard runs RUN` holds the record against the SHA-256 in the publish commit."""

import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.runs import declared, values, write_rows

from asgard.cli.app import main
from asgard.common.settings import Settings
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.history import list_runs

WORDS = "the record differs from the published one"


def test_a_record_that_was_changed_after_its_publish_is_told(
    project: Settings, lake: Lakehouse, spark: SparkSession, fresh: Fresh, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown() -> str:
        assert main(["runs", result.run_id, "--dir", str(project.project_dir)]) == 0
        return capsys.readouterr().out

    result = write_rows(lake, declared(fresh.table()), values(spark, "id bigint", [[1]]))
    assert [run.intact for run in list_runs(lake, run_id=result.run_id)] == [True]
    assert WORDS not in shown()

    path = Path(unquote(urlsplit(lake.settings.warehouse).path)) / f"_asgard/runs/{result.run_id}/1.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "user": "somebody else"}))
    assert [run.intact for run in list_runs(lake, run_id=result.run_id)] == [False]
    assert WORDS in shown()
    path.unlink()
    assert WORDS in shown()


def test_only_a_published_record_has_something_to_be_held_against(
    lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    table = declared(fresh.table(), mode="merge", keys=["id"])
    rows = values(spark, "id bigint", [[1]])
    write_rows(lake, table, rows)
    unchanged = write_rows(lake, table, rows)
    assert [run.intact for run in list_runs(lake, run_id=unchanged.run_id)] == [None]
