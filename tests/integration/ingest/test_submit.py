"""The ingest job through the real spark-submit."""

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import Fresh
from tests.support.runs import rows_of
from tests.support.spark_submit import submit

from asgard.common.settings import Settings
from asgard.lakehouse.catalog.lake import Lakehouse


def test_ingest_by_spark_submit(
    lake: Lakehouse, project: Settings, fresh: Fresh, tmp_path: Path, repository_root: Path
) -> None:
    table, package = fresh.table("bronze"), tmp_path / "asgard.zip"
    subprocess.run([sys.executable, "-m", "asgard.local.package", str(package)], check=True)
    data = tmp_path / "x.csv"
    data.write_text('id,note\n1,"two\nlines"\nx,y\n')
    job = repository_root / "spark-apps" / "ingest_job.py"
    place = ["--dir", str(project.project_dir), "--json"]
    done = submit(project, job, [package], [str(table), str(data), "--columns", "id bigint, note string", *place])
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["status"], found["rows"], found["misfits"]) == ("published", 2, 1)
    assert rows_of(lake, table, "id", "note", "_source_row") == [(1, "two\nlines", 1), (None, "y", 2)]

    data.write_bytes(b"id,note\n1,\xff\n")
    wrong = submit(project, job, [package], [str(table), str(data), *place])
    said = wrong.stdout + wrong.stderr  # spark-submit joins the two
    assert wrong.returncode == 1
    assert "is not utf-8: byte 0xff at offset 10" in said
    assert "Traceback" not in said
