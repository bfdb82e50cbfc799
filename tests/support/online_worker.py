"""Syncs in separate processes, which a test kills: `python -m tests.support.online_worker`.

This process imports Asgard once, and forks for each sync, so a test with a kill takes a moment instead of seconds. Each
line of its input is a command; each answer is also one line:

```
["start", arguments, failpoint, address of Redis]   -> the process's id
["join", id]                                        -> its exit code (negative for a signal) and its output
```

The address "" means the project's Redis. Batches have the smallest possible size. A failpoint may have a number:
`between-batches#2:kill` kills the second time.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.processes import environment

FEWEST = 2_048
"""Rows of a batch: DuckDB makes no smaller batches."""


class Syncs:
    """The client that a test uses.

    Args:
        process: this module, running as a program.
        project: folder of the lakehouse.
    """

    def __init__(self, process: "subprocess.Popen[str]", project: Path) -> None:
        self._process, self._project = process, project

    def start(self, view: str, *arguments: str, failpoint: str = "", redis_url: str = "") -> int:
        """Start `asgard online-sync` in a separate process, and return its id."""
        return self._start(["--view", view, *arguments], failpoint, redis_url)

    def drop(self, view: str, failpoint: str) -> int:
        """Run `asgard online-sync --drop` in a separate process, and return its exit code."""
        return self.join(self._start(["--drop", view], failpoint))[0]

    def _start(self, arguments: list[str], failpoint: str, redis_url: str = "") -> int:
        words = ["online-sync", *arguments, "--dir", str(self._project)]
        return int(self._ask(["start", words, failpoint, redis_url]))

    def join(self, process: int) -> tuple[int, str]:
        """Wait until a process ended; returns its exit code and its output."""
        code, said = self._ask(["join", process])
        assert "Traceback" not in said, said
        return int(code), str(said)

    def run(self, view: str, *arguments: str, failpoint: str = "", redis_url: str = "") -> int:
        """Start a sync, and wait for its exit code."""
        return self.join(self.start(view, *arguments, failpoint=failpoint, redis_url=redis_url))[0]

    def _ask(self, command: list[Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def sync_processes(root: Path, project: Path, folder: Path) -> Iterator[Syncs]:
    """Run this module as a program.

    Args:
        root: folder of the repository.
        project: folder of the lakehouse.
        folder: folder for the output of the syncs.
    """
    command = [sys.executable, "-m", "tests.support.online_worker", str(folder)]
    with subprocess.Popen(
        command, cwd=root, env=environment(root), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Syncs(process, project)
        assert process.stdin is not None
        process.stdin.close()


def _serve(folder: Path) -> None:
    import duckdb  # noqa: F401
    import pyiceberg.io.pyarrow  # noqa: F401
    import redis  # noqa: F401

    from asgard.cli.app import main  # noqa: F401

    for line in sys.stdin:
        name, *given = json.loads(line)
        if name == "start":
            process = os.fork()
            if process == 0:
                _run(folder, *given)
            answer: Any = process
        else:
            said = folder / str(given[0])
            answer = (os.waitstatus_to_exitcode(os.waitpid(given[0], 0)[1]), said.read_text())
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _run(folder: Path, arguments: list[str], failpoint: str, redis_url: str) -> None:
    """Run one sync; never returns."""
    from asgard.cli.app import main
    from asgard.common import failpoints
    from asgard.serving.sync import changes, sending, sync

    said = os.open(folder / str(os.getpid()), os.O_CREAT | os.O_WRONLY)
    for stream in (0, 1, 2):
        os.dup2(said, stream)
    met: Counter[str] = Counter()

    def numbered(name: str) -> None:
        met[name] += 1
        failpoints.failpoint(name)
        failpoints.failpoint(f"{name}#{met[name]}")

    if redis_url:
        os.environ["REDIS_URL"] = redis_url
    changes._BATCH_ROWS = FEWEST
    failpoints._armed = failpoint
    sync.failpoint = sending.failpoint = numbered
    code = 1
    try:
        code = main(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
