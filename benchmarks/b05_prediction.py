"""B5: batch prediction with LightGBM, against one process on every core, and against MLflow's own Spark function.

Five million rows of twenty features, a model of a hundred trees. All sides read the same Parquet files and write
Parquet with the same two columns; the written values must be bit-for-bit equal.
"""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from asgard.common.settings import load_settings
from asgard.common.spark_utils import open_session
from asgard.model import predict_udf, score_frame
from asgard.model.artifacts.artifact import Artifact, ModelSpec
from asgard.model.artifacts.dumping import dump
from asgard.model.artifacts.formats import Format
from asgard.model.artifacts.signature import Column, Signature
from asgard.model.mlflow_access.mlflow_quiet import import_mlflow
from benchmarks.harness import Row, interleave, parse, ratio, report, spread

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FEATURES = tuple(f"f{number:02d}" for number in range(20))
FILES, TREES = 8, 100


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__)
    rows = 200_000 if options.quick else 5_000_000
    with tempfile.TemporaryDirectory(prefix="asgard-b05-") as name:
        folder = Path(name)
        make_rows(folder / "rows", rows)
        booster = train()
        signature = Signature(tuple(Column(feature, "double") for feature in FEATURES), "binary", ("no", "yes"))
        spec = ModelSpec("b05", Format.LIGHTGBM, signature)
        artifact = Artifact.of(spec, dump(booster, Format.LIGHTGBM))
        spark = open_session(load_settings({"project_dir": name, "spark_driver_memory": "3g"}), "b05", {}, {})
        given = spark.read.parquet(str(folder / "rows"))
        predict = predict_udf(artifact, spark)
        sides = {
            "asgard": lambda: write(score_frame(given, artifact, keep=["id"]), folder / "asgard"),
            "one": lambda: in_one_process(booster, folder / "rows", folder / "one"),
            "udf": lambda: write(given.select("id", predict().alias("prediction")), folder / "udf"),
            "mlflow": mlflow_side(spark, given, booster, folder),
        }
        seconds = interleave(sides, options.rounds)
        found = {side: summary(folder / side) for side in sides}
        for side in sides:
            assert np.array_equal(found[side], found["one"]), f"{side} has other predictions"
        assert len(found["one"]) == rows
        spark.stop()
    report(
        "b05_prediction",
        "B5: batch prediction",
        f"{rows:,} rows x {len(FEATURES)} features, LightGBM with {TREES} trees, {os.cpu_count()} cores, "
        f"{options.rounds} rounds",
        [
            Row("Asgard's job (`score_frame`)", spread(seconds["asgard"])),
            Row("Asgard's function (`predict_udf`)", spread(seconds["udf"])),
            Row("LightGBM in one process, every core", spread(seconds["one"])),
            Row("`mlflow.pyfunc.spark_udf`", spread(seconds["mlflow"])),
            Row("its rate against one process", f"{ratio(seconds['one'], seconds['asgard']):.2f} x", ">= 0.7 x"),
            Row("against MLflow's", f"{ratio(seconds['mlflow'], seconds['asgard']):.1f} x faster", ">= 2 x"),
            Row("the function's rate against one process", f"{ratio(seconds['one'], seconds['udf']):.2f} x"),
        ],
        quick=options.quick,
    )


def make_rows(folder: Path, rows: int) -> None:
    """Write files of normal and of rounded numbers, of which one in a hundred is null."""
    folder.mkdir()
    generator = np.random.default_rng(5)
    for number in range(FILES):
        count = rows // FILES
        values = numbers(generator, count)
        values[generator.random(values.shape) < 0.01] = np.nan
        columns: dict[str, Any] = {"id": np.arange(number * count, (number + 1) * count)}
        columns |= {f: pa.array(values[:, place], from_pandas=True) for place, f in enumerate(FEATURES)}
        pq.write_table(pa.table(columns), folder / f"{number}.parquet", row_group_size=2**18, compression="zstd")


def numbers(generator: np.random.Generator, count: int) -> "np.ndarray[Any, Any]":
    """Draw numbers: half of the columns normal, half rounded to quarters."""
    values = generator.normal(size=(count, len(FEATURES)))
    values[:, 10:] = np.round(values[:, 10:] * 100) / 4
    return values


def train() -> Any:
    """Train the model, with 31 leaves in each tree."""
    import lightgbm

    generator = np.random.default_rng(7)
    values = numbers(generator, 50_000)
    learned = values[:, 0] * values[:, 1] + np.sin(values[:, 2]) + values[:, 11] / 30 > generator.normal(size=50_000)
    params = {"objective": "binary", "num_leaves": 31, "verbose": -1, "seed": 1}
    return lightgbm.train(params, lightgbm.Dataset(values, learned.astype(int), feature_name=list(FEATURES)), TREES)


def write(frame: "DataFrame", target: Path) -> None:
    """Write by Spark, with the same compression as the other side."""
    frame.write.mode("overwrite").option("compression", "zstd").parquet(str(target))


def in_one_process(booster: Any, source: Path, target: Path) -> None:
    """Predict with the code that a person who knows LightGBM and Arrow would write."""
    target.mkdir(exist_ok=True)
    schema = pa.schema([("id", pa.int64()), ("prediction", pa.float64())])
    with pq.ParquetWriter(target / "part.parquet", schema, compression="zstd") as writer:
        for batch in ds.dataset(source).to_batches(columns=["id", *FEATURES], batch_size=2**17):
            matrix = np.column_stack([batch.column(f).to_numpy(zero_copy_only=False) for f in FEATURES])
            writer.write_table(pa.table({"id": batch.column("id"), "prediction": booster.predict(matrix)}))


def mlflow_side(spark: "SparkSession", given: "DataFrame", booster: Any, folder: Path) -> Any:
    """Set up MLflow's own function, on a model folder that MLflow saved."""
    from pyspark.sql import functions as F

    mlflow = import_mlflow()
    import pandas as pd
    from mlflow.lightgbm import save_model
    from mlflow.models import infer_signature

    signature = infer_signature(pd.DataFrame({f: [0.5] for f in FEATURES}), np.array([0.5]))
    path = str(folder / "saved")
    save_model(booster, path=path, pip_requirements=["lightgbm"], signature=signature)

    def predict() -> None:
        function = mlflow.pyfunc.spark_udf(spark, path, result_type="double", env_manager="local")
        write(given.select("id", function(F.struct(*FEATURES)).alias("prediction")), folder / "mlflow")

    return predict


def summary(folder: Path) -> "np.ndarray[Any, Any]":
    """Read the predictions, in the order of the ids."""
    files = sorted(folder.glob("*.parquet"))
    table = pa.concat_tables(pq.read_table(file) for file in files).sort_by("id")
    assert np.array_equal(table["id"].to_numpy(), np.arange(len(table)))
    return table["prediction"].to_numpy()  # type: ignore[no-any-return, unused-ignore]


if __name__ == "__main__":
    main()
