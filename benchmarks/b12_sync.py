"""B12 for the online sync: peak memory of its process as the entities grow tenfold.

A separate process syncs each size into an empty Redis: once by DuckDB, and once by Spark, where the JVM is measured
too. Then one row in a hundred changes, and another process syncs the change.
"""

import json
import os
import sys

from asgard.common.settings import load_settings
from asgard.features.joins.engines import Engine
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.serving.redis_access.store import Store
from asgard.serving.sync.plan import Mode
from asgard.serving.sync.sync import sync
from benchmarks.harness import Row, parse, report
from benchmarks.online_view import FEATURES, online_view, the_view
from benchmarks.peaks import in_a_process, java, mib, peak

HEAP, DUCKDB_MEMORY = "1g", "128m"
SIZES = {"small": 1, "large": 10}
KINDS = ("first load by DuckDB", "1 % changed, by DuckDB", "first load by Spark")


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__)
    rows = 50_000 if options.quick else 1_000_000
    peaks: dict[str, dict[str, dict[str, int]]] = {kind: {} for kind in KINDS}
    for size, factor in SIZES.items():
        with online_view() as made:
            made.publish(rows * factor)

            def measured(
                kind: str, mode: Mode, engine: Engine, folder: str = str(made.folder), size: str = size
            ) -> None:
                found = in_a_process("benchmarks.b12_sync", "--sync", folder, str(engine))
                assert found["mode"] == str(mode)  # type: ignore[comparison-overlap]
                peaks[kind][size] = found

            measured(KINDS[0], Mode.REBUILD, Engine.DUCKDB)
            made.publish(rows * factor, day=1, every=100)
            measured(KINDS[1], Mode.CHANGES, Engine.DUCKDB)
            made.store.client.flushall()
            measured(KINDS[2], Mode.REBUILD, Engine.SPARK)
            assert all(each[size]["rows"] == rows * factor for each in peaks.values())
            made.lake.spark.stop()  # the next size has its own catalog
    lines = []
    for kind, found in peaks.items():
        for process in ("python", "java"):
            small, large = (found[size][process] for size in SIZES)
            if small:
                text = f"{mib(small)}, then {mib(large)}: {large / small:.2f} x"
                lines.append(Row(f"{kind}: {process}", text, "<= 1.2 x"))
    report(
        "b12_sync",
        "B12: memory of an online sync as entities grow tenfold",
        f"{rows:,} entities x {len(FEATURES)} doubles, then ten times as many; heap {HEAP}, DuckDB {DUCKDB_MEMORY}",
        lines,
        quick=options.quick,
    )


def one_sync(folder: str, engine: str) -> None:
    """Sync once, and print the mode, the rows and the peaks as JSON; runs in the separate process."""
    given = {"project_dir": folder, "spark_driver_memory": HEAP, "duckdb_memory": DUCKDB_MEMORY}
    lake = Lakehouse(load_settings(given))
    done = sync(lake, Store.of(lake.settings), the_view(), engine=Engine(engine), say=lambda _line: None)
    machine = peak(java()) if engine == Engine.SPARK else 0
    found = {"mode": str(done.mode), "rows": done.rows, "python": peak(os.getpid()), "java": machine}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    if "--sync" in sys.argv:
        one_sync(*sys.argv[2:])
    else:
        main()
