"""Git, in a repository of a test's own."""

import subprocess
from pathlib import Path


def git(folder: Path, *arguments: str) -> str:
    """What git says."""
    who = ("-c", "user.name=ann", "-c", "user.email=ann@example.com")
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
