"""B12 for predictions: peak memory of the driver as the rows grow tenfold.

A separate process predicts each size, with the same heap. The larger size is far beyond the heap, so a job that
collected rows would show a higher peak, or crash.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from asgard.common.settings import load_settings
from asgard.common.spark_utils import open_session
from asgard.model import score_frame
from asgard.model.artifacts.artifact import Artifact, ModelSpec
from asgard.model.artifacts.dumping import dump
from asgard.model.artifacts.formats import Format
from asgard.model.artifacts.signature import Column, Signature
from benchmarks.b05_prediction import FEATURES, make_rows, train, write
from benchmarks.harness import Row, parse, report
from benchmarks.peaks import in_a_process, java, mib, peak

HEAP = "1g"
SIZES = ("small", "large")


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__)
    rows = 50_000 if options.quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="asgard-b12-") as name:
        folder = Path(name)
        signature = Signature(tuple(Column(feature, "double") for feature in FEATURES), "binary", ("no", "yes"))
        artifact = Artifact.of(ModelSpec("b12", Format.LIGHTGBM, signature), dump(train(), Format.LIGHTGBM))
        artifact.save(folder / "model")
        peaks = {}
        for size, factor in zip(SIZES, (1, 10), strict=True):
            make_rows(folder / size, rows * factor)
            peaks[size] = in_a_process("benchmarks.b12_prediction", "--predict", str(folder), size, artifact.sha256)
    small, large = (peaks[size] for size in SIZES)
    assert large["rows"] == 10 * small["rows"] == 10 * rows
    lines = []
    for process in ("python", "java"):
        text = f"{mib(small[process])}, then {mib(large[process])}: {large[process] / small[process]:.2f} x"
        lines.append(Row(f"driver's peak of {process}", text, "<= 1.2 x"))
    report(
        "b12_prediction",
        "B12: memory of a prediction as rows grow tenfold",
        f"{rows:,} rows x {len(FEATURES)} features, then ten times as many; heap {HEAP}",
        lines,
        quick=options.quick,
    )


def predict(folder: Path, size: str, sha256: str) -> None:
    """Predict one size, and print rows and peaks as JSON; runs in the separate process."""
    artifact = Artifact.read(folder / "model", sha256)
    spark = open_session(load_settings({"project_dir": str(folder), "spark_driver_memory": HEAP}), "b12", {}, {})
    given = spark.read.parquet(str(folder / size))
    write(score_frame(given, artifact, keep=["id"]), folder / f"{size}_out")
    rows = spark.read.parquet(str(folder / f"{size}_out")).count()
    sys.stdout.write(json.dumps({"rows": rows, "python": peak(os.getpid()), "java": peak(java())}) + "\n")


if __name__ == "__main__":
    if "--predict" in sys.argv:
        predict(Path(sys.argv[2]), *sys.argv[3:])
    else:
        main()
