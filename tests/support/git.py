"""Git, in a test's repository."""

import subprocess
from pathlib import Path


def git(folder: Path, *arguments: str) -> str:
    """Run git, and return its output."""
    who = ("-c", "user.name=ann", "-c", "user.email=ann@example.com")
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
