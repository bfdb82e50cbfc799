"""The jobs through the real spark-submit, with the code as zips."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.runs import declared, rows_of, values, write_rows
from tests.support.spark_submit import submit

from asgard.common.settings import Settings
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.history import list_runs
from asgard.lakehouse.runs.run import RunResult

PIPELINE = """
from asgard import Pipeline
from asgard.validation.checks import not_null
zipped = Pipeline("zipped")
zipped.source("{source}")

@zipped.table("{target}", inputs={{"rows": "{source}"}}, checks=[not_null("id")])
def target(rows):
    import zipped_{suffix}
    from pyspark.sql.functions import udf
    return rows.select(udf(zipped_{suffix}.double, "bigint")("id").alias("id"))

def double(number):
    return number * 2
"""


def test_backfill_by_spark_submit_with_a_pipeline_in_a_zip(
    lake: Lakehouse, project: Settings, spark: SparkSession, fresh: Fresh, tmp_path: Path, repository_root: Path
) -> None:
    source, target = fresh.table("bronze"), fresh.table()
    write_rows(lake, declared(source, mode="append"), values(spark, "id bigint", [[1], [2]]))
    suffix = target.name[2:]
    pipelines, package = tmp_path / "pipelines.zip", tmp_path / "asgard.zip"
    with zipfile.ZipFile(pipelines, "w") as archive:
        archive.writestr(f"zipped_{suffix}.py", PIPELINE.format(source=source, target=target, suffix=suffix))
    stamped = {**os.environ, "ASGARD_CODE_VERSION": "stamped-in-the-zip"}
    subprocess.run([sys.executable, "-m", "asgard.local.package", str(package)], check=True, env=stamped)

    run_id = f"20260101t000000-submit-{suffix}"
    done = submit(
        project,
        repository_root / "spark-apps" / "backfill_job.py",
        [package, pipelines],
        ["--pipeline", f"{pipelines}:zipped_{suffix}", "--run-id", run_id, "--dir", str(project.project_dir), "--json"],
    )
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert run["status"] == "published"
    assert rows_of(lake, target) == [(2,), (4,)]
    attempt = list_runs(lake, run_id=RunResult(run["run_id"], 1, run["status"]).run_id)[0].attempt
    assert attempt.start["code_version"] == "stamped-in-the-zip"

    options = ["--pipeline", "no_such", "--dir", str(project.project_dir)]
    wrong = submit(project, repository_root / "spark-apps" / "backfill_job.py", [package], options)
    assert wrong.returncode == 2
    said = wrong.stdout + wrong.stderr  # spark-submit joins the two
    assert "error: There is no pipeline" in said
    assert "hint:" in said
    assert "Traceback" not in said
