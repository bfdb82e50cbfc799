"""Peak memory of processes (Linux)."""

import json
import os
import subprocess
import sys
from pathlib import Path


def in_a_process(module: str, *arguments: str) -> dict[str, int]:
    """Run a module in a separate process, and parse its last line of output as JSON."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    sys.stderr.write(f"{' '.join(arguments)}: {found}\n")
    return found


def peak(process: int) -> int:
    """Return the peak memory of a process, in bytes."""
    return int(_status(Path("/proc") / str(process))["VmHWM"].split()[0]) * 1024


def java() -> int:
    """Find the process id of the JVM that this process started."""
    found = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return next(int(entry.name) for entry in found if _is_mine(entry))


def mib(size: int) -> str:
    """Format a size in MiB."""
    return f"{size / 2**20:,.0f} MiB"


def _is_mine(entry: Path) -> bool:
    try:
        status = _status(entry)
    except OSError:  # it has ended
        return False
    return status["Name"] == "java" and int(status["PPid"]) == os.getpid()


def _status(entry: Path) -> dict[str, str]:
    lines = (entry / "status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
