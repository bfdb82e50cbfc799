"""Prediction on Spark: by the job's frame and by the public function, the same numbers as in this process."""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.support.models import NAMES, TYPES, artifact, as_torchscript, drops_rows, fitted, forest, rows, signature
from tests.support.segments import different, segmented

from asgard.common.errors import ArtifactError, UsageError
from asgard.common.spark_utils import explain
from asgard.model import predict_udf, score_frame
from asgard.model.artifacts.artifact import Artifact, ModelSpec
from asgard.model.artifacts.dumping import dump
from asgard.model.artifacts.formats import Format
from asgard.model.artifacts.segments import UnknownSegment
from asgard.model.artifacts.signature import Column, Signature
from asgard.model.scoring.predictor import Predictor

COUNT = 1500
DDL = "id bigint, " + ", ".join(f"{name} {kind}" for name, kind in zip(NAMES, TYPES, strict=True))
NO_NULLS = " AND ".join(f"{name} IS NOT NULL" for name in NAMES)
FORMATS = (Format.LIGHTGBM, Format.PICKLE, Format.SKOPS, Format.ONNX, Format.PYFUNC)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Rows with nulls in every column, and NaN."""
    given = rows(COUNT)
    gap = np.isnan(given)
    columns: dict[str, Any] = {"id": pa.array(np.arange(COUNT))}
    columns["age"] = pa.array(given[:, 0])  # NaN, no nulls
    columns["spent"] = pa.array(given[:, 1], mask=gap[:, 1])
    columns["visits"] = pa.array(np.nan_to_num(given[:, 2]).astype(np.int64), mask=gap[:, 2])
    columns["member"] = pa.array(np.nan_to_num(given[:, 3]).astype(bool), mask=gap[:, 3])
    return pa.table(columns)


@pytest.fixture(scope="module")
def frame(spark: SparkSession, table: pa.Table) -> Iterator[DataFrame]:
    """The same in Spark, in four partitions of which at least one is empty."""
    made = spark.createDataFrame(table).repartition(4, F.col("id") % 3).cache()
    assert made.groupBy(F.spark_partition_id()).count().count() < 4
    yield made
    made.unpersist()


@pytest.fixture
def small_batches(spark: SparkSession) -> Iterator[None]:
    key = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = spark.conf.get(key)
    spark.conf.set(key, "37")
    yield
    spark.conf.set(key, str(before))


def collected(scored: DataFrame) -> np.ndarray[Any, Any]:
    found = scored.orderBy("id").toPandas()["prediction"]
    return np.array(found.tolist(), dtype=np.float64)


class TestSameNumbers:
    @pytest.mark.parametrize("format", FORMATS)
    def test_of_every_format(self, frame: DataFrame, table: pa.Table, format: Format) -> None:
        """Also ONNX: its tolerance is against other libraries, not against itself on other batches."""
        model = artifact(format)
        if format is Format.PYFUNC:
            frame, table = frame.where(NO_NULLS), table.drop_null()
        expected = Predictor(model).predict(table)
        assert np.nanstd(expected) > 0
        assert np.array_equal(collected(score_frame(frame, model, keep=["id"])), expected, equal_nan=True)
        called = frame.select("id", predict_udf(model)(*NAMES).alias("prediction"))
        assert np.array_equal(collected(called), expected, equal_nan=True)

    @pytest.mark.usefixtures("small_batches")
    def test_of_torchscript(self, frame: DataFrame) -> None:
        pytest.importorskip("torch", reason="the extra torch is not installed: it is in no lock file")
        model = artifact(Format.TORCHSCRIPT, model=as_torchscript())
        visits, age = F.col("visits") % 10, F.nanvl("age", F.lit(40.0))
        frame = frame.where(NO_NULLS).withColumn("visits", visits).withColumn("age", age)
        expected = Predictor(model).predict(frame.orderBy("id").toArrow())
        assert expected.std() > 0
        assert np.array_equal(collected(score_frame(frame, model, keep=["id"])), expected)
        assert np.array_equal(collected(frame.select("id", predict_udf(model)().alias("prediction"))), expected)

    @pytest.mark.parametrize("task", ["multiclass", "regression"])
    def test_of_every_task(self, frame: DataFrame, table: pa.Table, task: str) -> None:
        model = artifact(Format.LIGHTGBM, task)
        expected = Predictor(model).predict(table)
        scored = score_frame(frame, model, keep=["id"])
        assert dict(scored.dtypes)["prediction"] == ("array<double>" if task == "multiclass" else "double")
        assert np.array_equal(collected(scored), expected)
        assert np.array_equal(collected(frame.select("id", predict_udf(model)().alias("prediction"))), expected)

    def test_of_the_library_itself(self, frame: DataFrame, table: pa.Table) -> None:
        booster = fitted(Format.LIGHTGBM)
        matrix = table.select(list(NAMES)).to_pandas().astype(float).to_numpy()
        scored = score_frame(frame, artifact(model=booster), keep=["id"])
        assert np.array_equal(collected(scored), booster.predict(matrix))

    @pytest.mark.usefixtures("small_batches")
    @pytest.mark.parametrize("format", [Format.LIGHTGBM, Format.SKOPS, Format.ONNX])
    def test_whatever_the_batches(self, frame: DataFrame, table: pa.Table, format: Format) -> None:
        model = artifact(format)
        expected = Predictor(model).predict(table)
        assert np.array_equal(collected(score_frame(frame, model, keep=["id"])), expected)
        assert np.array_equal(collected(frame.select("id", predict_udf(model)().alias("prediction"))), expected)

    def test_of_trees_that_want_every_core(self, frame: DataFrame, table: pa.Table) -> None:
        model = artifact(Format.PICKLE, model=forest())
        assert np.array_equal(
            collected(score_frame(frame.where(NO_NULLS), model, keep=["id"])),
            Predictor(model).predict(table.drop_null()),
        )

    def test_of_decimals_floats_and_short_numbers(self, spark: SparkSession) -> None:
        kinds = {"age": "decimal(10,2)", "spent": "float", "visits": "smallint", "member": "decimal(20,3)"}
        inputs = tuple(Column(name, kind) for name, kind in kinds.items())
        spec = ModelSpec("prices", Format.LIGHTGBM, Signature(inputs, "binary", ("no", "yes")))
        model = Artifact.of(spec, dump(fitted(Format.LIGHTGBM), Format.LIGHTGBM))
        values = [
            (Decimal("50.10"), 1.1, 7, Decimal("1.005")),
            (None, None, None, None),
            (Decimal("0.30"), 99.0, -1, None),
        ]
        given = spark.createDataFrame(
            [(number, *each) for number, each in enumerate(values)],
            "id bigint, " + ", ".join(f"{name} {kind}" for name, kind in kinds.items()),
        )
        matrix = np.array([[np.nan if each is None else float(each) for each in row] for row in values])
        matrix[:, 1] = matrix[:, 1].astype(np.float32)
        found = collected(score_frame(given, model, keep=["id"]))
        assert np.array_equal(found, fitted(Format.LIGHTGBM).predict(matrix))


class TestCalls:
    def test_by_struct_by_name_and_in_sql_expressions(self, frame: DataFrame) -> None:
        predict = predict_udf(artifact())
        turned = F.struct(*(F.col(name) for name in reversed(NAMES)))
        found = frame.select(predict(*NAMES).alias("a"), predict(turned).alias("b"), predict().alias("c"))
        assert found.where("a = b AND b = c").count() == COUNT

    def test_in_a_filter_and_an_aggregate(self, frame: DataFrame, table: pa.Table) -> None:
        predict, expected = predict_udf(artifact()), Predictor(artifact()).predict(table)
        assert frame.where(predict() > 0.5).count() == (expected > 0.5).sum()
        found = frame.groupBy().agg(F.max(predict()).alias("most")).collect()[0]["most"]
        assert found == expected.max()

    def test_of_another_number_of_columns_is_refused(self, frame: DataFrame) -> None:
        with pytest.raises(UsageError, match=r"takes 4 columns \(age, spent, visits, member\), 2 were given"):
            predict_udf(artifact())("age", "spent")

    def test_of_text_is_refused_in_words(self, frame: DataFrame) -> None:
        scored = frame.select(predict_udf(artifact())("age", "spent", F.lit("x"), "member"))
        with pytest.raises(Exception, match="visits is string") as raised:
            scored.collect()
        assert explain(raised.value, "Predicting").message.startswith("Column visits is string")


class TestOfOtherRows:
    """A model that gives more or fewer predictions than it gets rows never says anything of its neighbours."""

    def test_ends_the_job_in_words(self, frame: DataFrame) -> None:
        model = artifact(Format.PICKLE, "regression", drops_rows())
        asked = frame.where("visits IS NOT NULL")
        for scored in (score_frame(asked, model, keep=["id"]), asked.select(predict_udf(model)(*NAMES))):
            with pytest.raises(Exception, match="Traceback") as raised:
                scored.collect()
            said = explain(raised.value, "Predicting").message
            assert re.match(r"The model returned [\d,]+ predictions for [\d,]+ rows", said)
        assert score_frame(frame.where(NO_NULLS), model, keep=["id"]).count() > 0

    def test_of_one_segment(self, shops: DataFrame) -> None:
        model = segmented(
            {**different("regression"), "food": (Format.PICKLE, drops_rows())}, UnknownSegment.NULL, task="regression"
        )
        with pytest.raises(Exception, match="Traceback") as raised:
            score_frame(shops, model, keep=["id"]).collect()
        assert explain(raised.value, "Predicting").message.startswith("The model returned ")


class TestFrames:
    def test_keep_what_is_asked_for(self, frame: DataFrame) -> None:
        scored = score_frame(frame, artifact(), keep=["age", "id"], output="churn")
        assert scored.columns == ["age", "id", "churn"]
        assert scored.schema["age"] == frame.schema["age"]
        again = {row["id"]: row["age"] for row in scored.collect()}
        assert str(again) == str({row["id"]: row["age"] for row in frame.select("id", "age").collect()} | again)

    def test_a_later_filter_does_not_predict_again(self, frame: DataFrame, capfd: Any) -> None:
        score_frame(frame, artifact(), keep=["id"]).where("prediction > 0.5").explain()
        assert capfd.readouterr().out.count("ArrowEvalPython [predict") == 1

    def test_without_rows(self, frame: DataFrame) -> None:
        for model in (artifact(), artifact(task="multiclass"), artifact(Format.SKOPS)):
            assert score_frame(frame.where("false"), model, keep=["id"]).collect() == []
            assert frame.where("false").select(predict_udf(model)()).collect() == []

    def test_names_with_dots_and_backticks(self, spark: SparkSession) -> None:
        names = ("a.b", "c`d", "e f", "g")
        spec = ModelSpec("odd", Format.SKOPS, Signature(tuple(Column(n, "double") for n in names), "regression"))
        model = Artifact.of(spec, dump(fitted(Format.SKOPS, "regression"), Format.SKOPS))
        given = spark.createDataFrame([(1.0, 2.0, 3.0, 1.0)], list(names))
        expected = Predictor(model).score(np.array([[1.0, 2.0, 3.0, 1.0]]))[0]
        assert score_frame(given, model, keep=["a.b"]).collect() == [(1.0, expected)]
        assert given.select(predict_udf(model)()).collect() == [(expected,)]


class TestRefusedBeforeSparkStarts:
    """Fault 50."""

    def test_a_schema_that_differs(self, frame: DataFrame, jobs: Any) -> None:
        other = frame.drop("age").withColumn("spent", F.col("spent").cast("string"))
        with pytest.raises(UsageError, match=r"age missing; spent is string instead of double"):
            score_frame(other, artifact())
        with pytest.raises(UsageError, match=r"shop is int instead of string"):
            score_frame(frame.withColumn("shop", F.lit(1)), segmented(different()))
        with pytest.raises(UsageError, match="shop missing"):
            score_frame(frame, segmented(different()))
        assert jobs() == 0

    def test_columns_to_keep(self, frame: DataFrame) -> None:
        with pytest.raises(UsageError, match="no column name"):
            score_frame(frame, artifact(), keep=["id", "name"])
        with pytest.raises(UsageError, match="has a column id already"):
            score_frame(frame, artifact(), keep=["id"], output="id")

    @pytest.fixture
    def jobs(self, spark: SparkSession) -> Any:
        """Counts the jobs that Spark has started since."""
        tracker = spark.sparkContext.statusTracker()
        before = len(tracker.getJobIdsForGroup(None))
        return lambda: len(tracker.getJobIdsForGroup(None)) - before


@pytest.fixture(scope="module")
def shops(frame: DataFrame) -> DataFrame:
    return frame.withColumn("shop", F.expr("element_at(array('food', 'toys', 'books'), CAST(id % 3 + 1 AS INT))"))


def by_segment(table: pa.Table, models: Mapping[str, tuple[Format, Any]], task: str = "binary") -> list[Any]:
    """What each row's own model says in this process, alone; None where there is none."""
    each = {
        shop: Predictor(artifact(format, task, model)).predict(table).tolist()
        for shop, (format, model) in models.items()
    }
    own = [("food", "toys", "books")[number % 3] for number in range(COUNT)]
    return [each[shop][number] if shop in each else None for number, shop in enumerate(own)]


class TestSegments:
    @pytest.mark.usefixtures("small_batches")
    def test_each_row_by_its_own(self, shops: DataFrame, table: pa.Table) -> None:
        models = different()
        model, expected = segmented(models), by_segment(table, models)
        assert len(set(expected)) > COUNT / 3
        assert collected(score_frame(shops, model, keep=["id", "shop"])).tolist() == expected
        called = shops.select("id", predict_udf(model)().alias("prediction"))
        assert collected(called).tolist() == expected
        struct = F.struct("shop", *reversed(NAMES))
        assert collected(shops.select("id", predict_udf(model)(struct).alias("prediction"))).tolist() == expected

    def test_an_unknown_segment_ends_the_job(self, shops: DataFrame) -> None:
        models = different()
        del models["books"]
        with pytest.raises(Exception, match="books") as raised:
            score_frame(shops, segmented(models)).collect()
        assert explain(raised.value, "Predicting").message == "No model predicts the rows whose shop is 'books'."

    @pytest.mark.parametrize("task", ["binary", "multiclass"])
    def test_or_has_no_prediction(self, shops: DataFrame, table: pa.Table, task: str) -> None:
        models = different(task)
        del models["books"]
        gaps = shops.withColumn("shop", F.when(F.col("id") % 7 != 0, F.col("shop")))
        scored = score_frame(gaps, segmented(models, UnknownSegment.NULL, task=task), keep=["id"], seconds="seconds")
        expected = [value if number % 7 else None for number, value in enumerate(by_segment(table, models, task))]
        assert [row["prediction"] for row in scored.orderBy("id").collect()] == expected

    def test_or_is_predicted_by_the_model_of_all_rows(self, shops: DataFrame, table: pa.Table) -> None:
        models = different()
        whole = models.pop("books")
        scored = score_frame(shops, segmented(models, UnknownSegment.WHOLE, whole), keep=["id"])
        rest = Predictor(artifact(*whole[:1], model=whole[1])).predict(table).tolist()
        expected = [rest[place] if own is None else own for place, own in enumerate(by_segment(table, models))]
        assert collected(scored).tolist() == expected

    def test_of_whole_numbers(self, shops: DataFrame, table: pa.Table) -> None:
        models = different()
        model = segmented({0: models["food"], 1: models["toys"], 2: models["books"]}, kind="bigint")
        numbered = shops.withColumn("shop", (F.col("id") % 3).cast("int"))
        assert collected(score_frame(numbered, model, keep=["id"])).tolist() == by_segment(table, models)

    def test_without_rows(self, shops: DataFrame) -> None:
        assert score_frame(shops.where("false"), segmented(different())).collect() == []


class TestTamperedOnTheWay:
    """Fault 51 on executors: bytes that changed after the driver verified them."""

    @pytest.fixture
    def changed(self, spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
        """Changes one byte of the model's own file where the broadcast lies for the executors."""
        real = spark.sparkContext.broadcast

        def broadcast(value: Any) -> Any:
            shipped = real(value)
            path = Path(shipped._path)
            content = path.read_bytes()
            place = content.index(value.content) + len(value.content) // 2
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            return shipped

        monkeypatch.setattr(spark.sparkContext, "broadcast", broadcast)

    @pytest.mark.usefixtures("changed")
    @pytest.mark.parametrize("format", [Format.LIGHTGBM, Format.PICKLE])
    def test_is_refused_before_it_is_loaded(self, frame: DataFrame, format: Format) -> None:
        model = artifact(format, name=f"tampered_{format}")
        assert signature() == model.spec.signature
        for scored in (score_frame(frame, model), frame.select(predict_udf(model)())):
            with pytest.raises(Exception, match="was changed") as raised:
                scored.collect()
            error = explain(raised.value, "Predicting")
            assert isinstance(error, ArtifactError)
            assert error.message.startswith(f"{model.spec.file} of model tampered_{format} was changed")
