"""What goes wrong below Asgard is said in words: which service, which file."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from asgard.common.errors import AsgardError, RunError, ServiceError
from asgard.common.settings import Settings, load_settings
from asgard.common.spark_utils import explain, explained
from asgard.jobs import backfill_job, ingest_job
from asgard.jobs.entrypoint import run_job
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.records import RunRecords
from asgard.monitoring.events import EventLog, Outcome

NESSIE = """An error occurred while calling o1.append.
: org.projectnessie.client.http.HttpClientException: Failed to execute GET request against 'http://x:1/api/v2/config'.
\tat org.projectnessie.client.Nowhere(Nowhere.java:1)
Caused by: java.net.ConnectException: Connection refused
"""
S3 = """An error occurred while calling o1.append.
: software.amazon.awssdk.core.exception.SdkClientException: Unable to execute HTTP request: Connect to s3:9000 failed: \
Connection refused
\tat org.apache.iceberg.nessie.NessieTableOperations.refresh(NessieTableOperations.java:1)
Caused by: java.net.ConnectException: Connection refused
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"project_dir": str(tmp_path), "nessie_uri": "http://127.0.0.1:1"}, environment={})


def test_a_refused_connection_is_nessie_s_only_if_it_was_nessie() -> None:
    assert explain(RuntimeError(NESSIE), "Writing").message == (
        "Writing: Nessie stopped answering while Spark was working."
    )
    other = explain(RuntimeError(S3), "Writing").message
    assert "Nessie" not in other
    assert other == (
        "Writing: A connection was refused: SdkClientException: Unable to execute HTTP request: "
        "Connect to s3:9000 failed: Connection refused"
    )


def test_an_error_of_asgard_stays_what_it_is() -> None:
    with pytest.raises(ServiceError, match="own words"), explained("Reading"):
        raise ServiceError("own words")
    with (
        pytest.raises(RunError, match=r"Reading failed: ValueError: raw \(.*test_words\.py, line \d+") as caught,
        explained("Reading"),
    ):
        raise ValueError("raw")
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_damaged_record_is_named(settings: Settings) -> None:
    storage = Lakehouse(settings).storage
    storage.write("runs/20260101t000000-x/1.start.json", b'{"job": "test"}')
    storage.write("runs/20260101t000000-x/1.json", b'{"writes": ')
    with pytest.raises(ServiceError, match=r"runs/20260101t000000-x/1\.json .* is damaged"):
        RunRecords(storage).attempts()


def test_a_damaged_list_of_services_is_as_none(tmp_path: Path) -> None:
    for text in ("[]", '{"services": []}', '{"services": {"nessie": 7}}', "{"):
        (tmp_path / "services.json").write_text(text)
        assert load_settings({"project_dir": str(tmp_path)}, environment={}).nessie_uri is None


@pytest.mark.parametrize("job", ["backfill", "ingest"])
def test_a_job_that_cannot_reach_nessie_is_counted_as_failed(
    settings: Settings, tmp_path: Path, job: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shop.py").write_text("import asgard\n\nshop = asgard.Pipeline('shop')\n")
    (tmp_path / "rows.csv").write_text("id\n1\n")
    options = ["--dir", str(tmp_path), "--set", f"nessie_uri={settings.nessie_uri}"]
    arguments = {
        "backfill": ["-p", str(tmp_path / "shop.py"), *options],
        "ingest": ["bronze.rows", str(tmp_path / "rows.csv"), *options],
    }
    command = {"backfill": backfill_job.command, "ingest": ingest_job.command}
    assert run_job(command[job], arguments[job]) == AsgardError.exit_code
    assert "did not answer" in capsys.readouterr().err
    (event,) = EventLog(Lakehouse(settings).storage).events(datetime.now(UTC))
    assert (event.job, event.outcome) == (job, Outcome.FAILED)
