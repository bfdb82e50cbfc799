"""Where the totals go: the textfile and the Pushgateway, also one that refuses, hangs or drips."""

import contextlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families
from pyarrow.fs import LocalFileSystem

from asgard.common.errors import EnvironmentSetupError, ServiceError, ServiceUnreachableError
from asgard.common.settings import load_settings
from asgard.common.storage import Storage
from asgard.monitoring import metrics
from asgard.monitoring.events import EventLog, Outcome
from asgard.monitoring.exporters import export, push, read_totals, write_textfile

WAREHOUSE = "s3://lake/iceberg"


class Gateway(ThreadingHTTPServer):
    """A Pushgateway at its HTTP boundary: keeps what was put, by path."""

    daemon_threads = True

    def __init__(self, behave: Callable[["Handler"], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behave = behave
        self.groups: dict[str, str] = {}
        self.puts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_PUT(self) -> None:
        self.server.behave(self)

    def body(self) -> str:
        return self.rfile.read(int(self.headers["Content-Length"])).decode()

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


def take(handler: Handler) -> None:
    handler.server.groups[handler.path] = handler.body()
    handler.server.puts += 1
    handler.send_response(200)
    handler.end_headers()


def refuse(handler: Handler) -> None:
    handler.body()
    handler.send_error(500)


HANGS_FOR = 30
"""Seconds; what drips takes longer."""


def hang(handler: Handler) -> None:
    handler.body()
    time.sleep(HANGS_FOR)


def drip(handler: Handler) -> None:
    """Send one byte of a header now and then: each read succeeds, and the answer never ends."""
    handler.body()
    with contextlib.suppress(OSError):
        for letter in b"HTTP/1.0 200 OK\r\nX: " + b"x" * 1000:
            handler.wfile.write(bytes([letter]))
            time.sleep(0.1)


@pytest.fixture
def gateway() -> Iterator[Callable[[Callable[[Handler], None]], Gateway]]:
    started: list[Gateway] = []

    def start(behave: Callable[[Handler], None]) -> Gateway:
        server = Gateway(behave)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


Start = Callable[[Callable[[Handler], None]], Gateway]
SETTINGS = load_settings({"environment": "test"}, environment={})


def everything() -> Callable[[str, str], bool]:
    """Every run stands."""
    return lambda _target, _run_id: True


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(LocalFileSystem(), f"{tmp_path}/_asgard", local=True)


def end_a_job(storage: Storage, outcome: Outcome = Outcome.SUCCEEDED) -> None:
    with EventLog(storage).job("ingest", "test") as event:
        event.end(outcome)


def successes(text: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "asgard_job_success_total" and sample.labels["job_name"] == "ingest"
    )


def test_the_totals_are_put_as_one_group_of_the_warehouse(gateway: Start, storage: Storage) -> None:
    server = gateway(take)
    end_a_job(storage)
    push(server.url, WAREHOUSE, lambda: read_totals(EventLog(storage), SETTINGS, everything))
    assert list(server.groups) == ["/metrics/job/asgard/warehouse@base64/czM6Ly9sYWtlL2ljZWJlcmc="]
    assert successes(next(iter(server.groups.values()))) == 1
    assert server.puts == 1


def test_a_count_that_moved_during_the_push_is_pushed_again(gateway: Start, storage: Storage) -> None:
    def another_job_ends(handler: Handler) -> None:
        if handler.server.puts == 0:
            end_a_job(storage)
        take(handler)

    server = gateway(another_job_ends)
    end_a_job(storage)
    push(server.url, WAREHOUSE, lambda: read_totals(EventLog(storage), SETTINGS, everything))
    assert successes(next(iter(server.groups.values()))) == 2


def test_a_gateway_that_refuses_is_named(gateway: Start, storage: Storage) -> None:
    server = gateway(refuse)
    with pytest.raises(ServiceError, match=f"{server.url} did not accept the metrics: .*500"):
        push(server.url, WAREHOUSE, lambda: read_totals(EventLog(storage), SETTINGS, everything))


@pytest.mark.parametrize("behave", [hang, drip])
def test_a_gateway_that_hangs_does_not_hang_the_job(
    behave: Callable[[Handler], None], gateway: Start, storage: Storage
) -> None:
    server = gateway(behave)
    began = time.monotonic()
    with pytest.raises(ServiceUnreachableError, match=r"did not answer within 0\.5 s|timed out"):
        push(server.url, WAREHOUSE, lambda: read_totals(EventLog(storage), SETTINGS, everything), limit=0.5)
    assert time.monotonic() - began < HANGS_FOR, "it waited for the gateway"


def test_nothing_at_the_address(storage: Storage) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ServiceError, match="did not accept the metrics"):
        push(address, WAREHOUSE, lambda: read_totals(EventLog(storage), SETTINGS, everything))


def test_export_says_what_went_wrong_and_raises_nothing(gateway: Start, tmp_path: Path, storage: Storage) -> None:
    (tmp_path / "file").touch()
    settings = load_settings(
        {
            "project_dir": str(tmp_path),
            "metrics_textfile": str(tmp_path / "file" / "asgard.prom"),
            "pushgateway_url": gateway(refuse).url,
        },
        environment={},
    )
    said = list[str]()
    export(settings, storage, everything, said.append)
    assert [line.split(":")[0] for line in said] == ["metrics were not written", "metrics were not pushed"]


def test_export_to_both(gateway: Start, tmp_path: Path, storage: Storage) -> None:
    server, file = gateway(take), tmp_path / "textfile" / "asgard.prom"
    settings = load_settings(
        {"project_dir": str(tmp_path), "metrics_textfile": str(file), "pushgateway_url": server.url}, environment={}
    )
    end_a_job(storage)
    said = list[str]()
    export(settings, storage, everything, said.append)
    assert said == []
    assert successes(file.read_text()) == 1
    assert next(iter(server.groups.values())) == file.read_text()


def test_readers_of_the_textfile_see_whole_files_that_never_go_back(tmp_path: Path, storage: Storage) -> None:
    file = tmp_path / "asgard.prom"
    seen: list[float] = []

    def job() -> None:
        end_a_job(storage)
        write_textfile(file, lambda: read_totals(EventLog(storage), SETTINGS, everything))

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(job) for _ in range(40)]
        while not all(each.done() for each in jobs):
            if file.exists():
                seen.append(successes(file.read_text()))
        for each in jobs:
            each.result()
    assert seen == sorted(seen)
    assert successes(file.read_text()) == 40
    assert [path.name for path in tmp_path.glob("asgard*")] == ["asgard.prom"]


def test_a_textfile_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentSetupError, match="can't be written"):
        write_textfile(tmp_path / "file" / "x.prom", metrics.Totals)


@pytest.mark.skipif(shutil.which("prometheus-pushgateway") is None, reason="no prometheus-pushgateway on PATH")
def test_a_real_pushgateway_takes_it(tmp_path: Path, storage: Storage) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["prometheus-pushgateway", f"--web.listen-address=127.0.0.1:{port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 20
            while True:
                try:
                    urllib3.request("GET", f"{url}/-/ready", timeout=1, retries=False)
                    break
                except urllib3.exceptions.HTTPError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            for number in (1, 2):
                end_a_job(storage)
                push(url, WAREHOUSE, lambda: read_totals(EventLog(storage), SETTINGS, everything))
                text = urllib3.request("GET", f"{url}/metrics", timeout=5).data.decode()
                assert successes(text) == number
            assert f'warehouse="{WAREHOUSE}"' in text
        finally:
            process.terminate()
