"""Shared parts of the benchmarks: interleaved rounds, medians and ratios, and the tables in docs/benchmarks.md."""

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from asgard.common.settings import Settings, load_settings
from asgard.local.services import services

REPORT = Path(__file__).parent.parent / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Row:
    """One line of a benchmark's table."""

    what: str
    measured: str
    aim: str = ""


def parse(description: str | None) -> argparse.Namespace:
    """Parse the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="use a small size, which ends within a minute")
    parser.add_argument("--rounds", type=int, default=0, help="rounds after the warm-up (default 5; quick: 2)")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 5)
    return arguments


def interleave(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Measure the seconds of each side, in turn: one round to warm up, then `rounds` measured rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            if number:
                seconds[name].append(time.perf_counter() - start)
            sys.stderr.write(f"round {number} of {rounds}: {name} {time.perf_counter() - start:.3f} s\n")
    return seconds


def ratio(mine: Sequence[float], other: Sequence[float]) -> float:
    """Return the median of the ratios of each round, so that changes in the machine's speed cancel out."""
    return statistics.median(a / b for a, b in zip(mine, other, strict=True))


def spread(seconds: Sequence[float]) -> str:
    """Format median and range for the table."""
    return f"{statistics.median(seconds):.3g} s ({min(seconds):.3g} to {max(seconds):.3g})"


@contextmanager
def project(*others: str) -> Iterator[Settings]:
    """Open a temporary project folder, with Nessie and the named services running."""
    with tempfile.TemporaryDirectory(prefix="asgard-bench-") as folder:
        settings = load_settings({"project_dir": folder, "spark_driver_memory": "3g"})
        services.up(settings, only=["nessie", *others])
        try:
            yield load_settings({"project_dir": folder, "spark_driver_memory": "3g"})
        finally:
            services.down(settings)


def report(name: str, title: str, sizes: str, rows: Sequence[Row], *, quick: bool) -> None:
    """Print the table; after a full-size run, also write it to docs/benchmarks.md."""
    versions = ", ".join(f"{package} {version(package)}" for package in ("pyspark", "pyiceberg", "urllib3"))
    lines = [
        f"## {title}",
        "",
        f"`python -m benchmarks.{name}`; {sizes}; Python {platform.python_version()}, {versions}.",
        "",
        "| what | measured | aim |",
        "|---|---|---|",
        *(f"| {row.what} | {row.measured} | {row.aim} |" for row in rows),
        "",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    if not quick:
        _replace_section(name, "\n".join(lines))


def _replace_section(name: str, text: str) -> None:
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    current = REPORT.read_text(encoding="utf-8")
    section = f"{begin}\n{text}{end}"
    if begin in current:
        before, _, rest = current.partition(begin)
        current = before + section + rest.partition(end)[2]
    else:
        current = f"{current.rstrip()}\n\n{section}\n"
    REPORT.write_text(current, encoding="utf-8")
