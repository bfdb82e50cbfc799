"""B12: peak memory of a training set's process as its rows grow tenfold.

A separate process makes each size, with the same limits: DuckDB's memory and the JVM's heap. The larger size is far
beyond both, so a join that collected rows, or a limit without effect, would show.
"""

import json
import os
import sys
from pathlib import Path

import duckdb

from asgard.common.settings import Settings, load_settings
from asgard.features import register
from asgard.features.joins.engines import Engine
from asgard.features.joins.labels import Labels
from asgard.features.training_sets.build import SetRequest, build
from asgard.features.views import Feature, feature_view
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import resolve
from asgard.lakehouse.declaring.declaration import declare_table
from asgard.lakehouse.runs.run import RunRequest, execute
from benchmarks.harness import Row, parse, project, report
from benchmarks.peaks import in_a_process, java, mib, peak

FEATURES = tuple(f"f{number}" for number in range(10))
BOUNDS = {
    Engine.DUCKDB: {"duckdb_memory": "256m"},
    # With a separate executor: in local mode the driver's process is also the executor.
    Engine.SPARK: {"duckdb_memory": "128m", "spark_driver_memory": "1g", "spark_master": "local-cluster[1,2,2048]"},
}
SECONDS = 365 * 86_400
SIZES = ("small", "large")


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__)
    rows = 200_000 if options.quick else 2_000_000
    found: dict[Engine, dict[str, dict[str, int]]] = {Engine.DUCKDB: {}, Engine.SPARK: {}}
    with project() as settings:
        for size, factor in zip(SIZES, (1, 10), strict=True):
            _make(settings, size, rows * factor)
        for engine, peaks in found.items():
            for size in SIZES:
                peaks[size] = in_a_process("benchmarks.b12_memory", "--set", f"{settings.project_dir}:{engine}:{size}")
    lines = []
    for engine, peaks in found.items():
        small, large = (peaks[size] for size in SIZES)
        assert large["rows"] == 10 * small["rows"]
        for process in (name for name in ("python", "java") if name in small):
            text = f"{mib(small[process])}, then {mib(large[process])}: {large[process] / small[process]:.2f} x"
            lines.append(Row(f"joined by {engine}, peak of {process}", text, "<= 1.2 x"))
    report(
        "b12_memory",
        "B12: memory of a training set as rows grow tenfold",
        f"{rows // 10:,} labels x {rows:,} rows x {len(FEATURES)} features, then ten times as many; "
        + "; ".join(
            f"{engine}: {', '.join(f'{name} {bound}' for name, bound in bounds.items())}"
            for engine, bounds in BOUNDS.items()
        ),
        lines,
        quick=options.quick,
    )


def _make(settings: Settings, size: str, rows: int) -> None:
    """Make a registered view with this many rows, and a tenth as many labels."""
    customers = rows // 50
    drawn = (
        f"SELECT (random() * {customers})::BIGINT AS customer_id, "
        f"make_timestamptz((1704067200 + (random() * {SECONDS})::BIGINT) * 1000000) AS event_timestamp"
    )
    values = ", ".join(f"random() AS {feature}" for feature in FEATURES)
    connection = duckdb.connect()
    connection.execute(f"COPY ({drawn}, {values} FROM range({rows})) TO '{_file(settings, f'{size}_rows')}'")
    connection.execute(f"COPY ({drawn} FROM range({rows // 10})) TO '{_file(settings, f'{size}_labels')}'")
    connection.close()
    lake = Lakehouse.connect(settings, "b12")
    table = declare_table(f"gold.{size}", mode="replace")
    frame = lake.spark.read.parquet(str(_file(settings, f"{size}_rows")))
    execute(lake, RunRequest("b12"), lambda attempt: attempt.write(table, frame))
    features = [Feature(feature, "double") for feature in FEATURES]
    view = feature_view(size, table=f"gold.{size}", keys=("customer_id",), features=features)
    register.apply(lake, f"b12_{size}", register.plan(lake, [view], resolve(lake, None)))


def _make_set(folder: str, engine: str, size: str) -> None:
    settings = load_settings({"project_dir": folder, **BOUNDS[Engine(engine)]})
    lake = Lakehouse.connect(settings, "b12")
    views = register.registered_views(lake, [size])
    request = SetRequest(views, Labels(str(_file(settings, f"{size}_labels"))), engine=Engine(engine))
    built = build(lake, request, _file(settings, f"{size}_{engine}"), overwrite=True, say=lambda _line: None)
    peaks = {"rows": built.manifest["rows"], "python": peak(os.getpid())}
    if Engine(engine) is Engine.SPARK:
        peaks["java"] = peak(java())
    sys.stdout.write(json.dumps(peaks) + "\n")


def _file(settings: Settings, name: str) -> Path:
    return Path(settings.project_dir) / f"{name}.parquet"


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--set":
        _make_set(*sys.argv[2].split(":"))
    else:
        main()
