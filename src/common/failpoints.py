"""Named places at which a test can kill this process, or pause it until the test has done something.

`ASGARD_FAILPOINT=before-publish:kill` kills the process there, as `kill -9` does.
`ASGARD_FAILPOINT=before-publish:wait:/tmp/go` writes `/tmp/go.reached` there, then waits until `/tmp/go` exists.
`ASGARD_FAILPOINT=between-batches:kill-once:/tmp/killed` kills the first process that arrives there and creates
`/tmp/killed`. When the variable is not set, a failpoint costs one comparison.
"""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from asgard.common.settings import python_environment

_armed = python_environment().get("ASGARD_FAILPOINT", "")


def failpoint(name: str) -> None:
    """Kill this process or wait here if a test armed this name."""
    if not _armed:
        return
    armed, action, *rest = _armed.split(":", 2)
    if armed != name:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "kill-once":
        with suppress(FileExistsError):
            Path(rest[0]).touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
    if action == "wait":
        go = Path(rest[0])
        go.with_name(go.name + ".reached").touch()
        while not go.exists():
            time.sleep(0.05)
