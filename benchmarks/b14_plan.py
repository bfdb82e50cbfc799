"""B14: `asgard plan` over three years of days of 50 tables, against a tenth of the tables; from metadata only.

The tables are computed by a real backfill first, one file for each day. Each reads the table before it, and every
second one also the table half as far from the source, with a window of seven days.
"""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from asgard.common.settings import Settings
from asgard.jobs import backfill_job
from asgard.jobs.backfill_job import Params
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.loading import load_pipeline
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.run import RunRequest, execute
from benchmarks.harness import Row, interleave, parse, project, ratio, report, spread

START = datetime(2021, 1, 1, tzinfo=UTC)
PIPELINE = """
from pathlib import Path

from asgard import Daily, Pipeline

pipeline = Pipeline("many", start="2021-01-01", end="{end}")
pipeline.source("bronze.raw", columns="at timestamp, amount bigint", interval=Daily("at"))
for path in sorted(Path(__file__).parent.glob("t*.sql")):
    pipeline.sql(path)
"""
DAY = """-- table: silver.{name}
-- input a: {first}
-- interval: daily(at)
SELECT at, amount FROM a WHERE at >= :start AND at < :end
"""
WEEK = """-- table: silver.{name}
-- input a: {first}
-- input b: {second}
-- interval: daily(at)
SELECT a.at, max(a.amount + b.amount * 0) AS amount
FROM a JOIN b ON b.at <= a.at AND b.at > a.at - INTERVAL 7 DAYS
WHERE a.at >= :start AND a.at < :end AND b.at >= :start - INTERVAL 7 DAYS AND b.at < :end
GROUP BY a.at
"""


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__)
    tables, days = (10, 60) if options.quick else (50, 3 * 365)
    tenth = f"+silver.t{tables // 10 - 1:02}"
    with project() as settings:
        path = declare(settings, tables, days)
        prepare(settings, path, days)
        lake = Lakehouse(settings, "b14")
        declared = load_pipeline(str(path))
        rows = []
        for what, expected in (("nothing is stale", 0), ("one day of the source has changed", 7 * tables)):
            if expected:
                land(Lakehouse.connect(settings, "b14"), path, [START + timedelta(days=days // 2)])
            found = backfill_job.plan(lake, declared, Params())
            assert bool(found.findings) == bool(expected), found.findings[:3]
            seconds = interleave(
                {
                    "all": lambda: backfill_job.plan(lake, declared, Params()),
                    "tenth": lambda: backfill_job.plan(lake, declared, Params((tenth,))),
                    "command": lambda: command(settings, path),
                },
                options.rounds,
            )
            times = ratio(seconds["all"], seconds["tenth"])
            rows += [
                Row(f"plan, {what}: {len(found.findings):,} intervals named", spread(seconds["all"]), "<= 3 s"),
                Row("the same of a tenth of the tables", spread(seconds["tenth"])),
                Row("ratio, ten times the tables", f"{times:.1f} x", "near linear"),
                Row("`asgard plan --json`, a process of its own", spread(seconds["command"])),
            ]
    report(
        "b14_plan",
        "B14: plan from metadata",
        f"{tables} tables x {days:,} days, {options.rounds} rounds",
        rows,
        quick=options.quick,
    )


def declare(settings: Settings, tables: int, days: int) -> Path:
    """Write the pipeline and its queries, and return its path."""
    folder = Path(settings.project_dir)
    names = ["bronze.raw", *(f"silver.t{number:02}" for number in range(tables))]
    for number in range(1, len(names)):
        query = WEEK if number % 2 and number > 1 else DAY
        text = query.format(name=names[number][7:], first=names[number - 1], second=names[number // 2])
        (folder / f"{names[number][7:]}.sql").write_text(text)
    path = folder / "many.py"
    path.write_text(PIPELINE.format(end=f"{START + timedelta(days=days):%Y-%m-%d}"))
    return path


def prepare(settings: Settings, path: Path, days: int) -> None:
    """Land a row for each day, and compute all tables."""
    lake = Lakehouse.connect(settings, "b14")
    land(lake, path, [START + timedelta(days=day) for day in range(days)])
    begun = time.perf_counter()
    backfill_job.run(Params(), lake, load_pipeline(str(path)), lambda _line: None)
    sys.stderr.write(f"computed in {time.perf_counter() - begun:.0f} s\n")


def land(lake: Lakehouse, path: Path, moments: list[datetime]) -> None:
    """Append a row for each moment to the source."""
    source = load_pipeline(str(path))["bronze.raw"]
    frame = lake.spark.createDataFrame([(moment, 1) for moment in moments], "at timestamp, amount bigint")

    def work(attempt: Attempt) -> None:
        attempt.write(source, frame)

    execute(lake, RunRequest("b14"), work, lambda _line: None)


def command(settings: Settings, path: Path) -> None:
    """Run the command line once."""
    asgard = str(Path(sys.executable).parent / "asgard")
    options = ["plan", "-p", str(path), "--json", "--dir", str(settings.project_dir)]
    subprocess.run([asgard, *options], check=True, capture_output=True)


if __name__ == "__main__":
    main()
