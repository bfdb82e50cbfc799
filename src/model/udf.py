"""Prediction on Spark: a function for users' queries, and whole frames for the jobs. Both give the same numbers.

A model's verified bytes are broadcast. Each Python worker verifies them again, against a SHA-256 that came with the
task, not with the bytes, loads them once, and scores each Arrow batch with as many threads as the task has cores.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from asgard.common.errors import UsageError
from asgard.model.artifacts.artifact import Artifact
from asgard.model.scoring.predictor import Predictor, cached

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark import Broadcast
    from pyspark.sql import Column, DataFrame, SparkSession

PredictUdf = Callable[..., "Column"]


def predict_udf(model: "Artifact | str", spark: "SparkSession | None" = None) -> PredictUdf:
    """Make a function of columns that predicts, for any query.

    The function takes the features in the signature's order (columns or their names), one struct that has them by
    name, or nothing: then it reads the query's columns of these names.

    Args:
        model: a registered version, such as `churn@1.2.0` or `churn@production`, in the registry that this process's
            settings name; or an artifact.
        spark: the session that it will run on; the active session by default.

    Returns:
        The function; it returns a double (the probability of the second class, or the value), or an array of doubles
        (the probability of each class).

    Raises:
        ArtifactError: the model's files differ from those that were registered.
        UsageError: no session is active, or the version does not exist.
        ServiceUnreachableError: MLflow does not answer.
    """
    from pyspark.sql import SparkSession

    session = spark or SparkSession.getActiveSession()
    if session is None:
        raise UsageError("There is no active Spark session.", hint="Create one first, or pass it as `spark`.")
    artifact = _registered(model) if isinstance(model, str) else model
    function = _function(session, artifact)

    def call(*columns: "Column | str") -> "Column":
        return function(*_arguments(artifact.spec.signature.names, columns))  # type: ignore[no-any-return]

    return call


def _registered(text: str) -> Artifact:
    from asgard.common.settings import load_settings
    from asgard.model.registry import Registry

    registry = Registry.of(load_settings())
    return registry.artifact(registry.find(text))


def _function(session: "SparkSession", artifact: Artifact, *, timed: bool = False) -> Any:
    """The Arrow UDF; if timed, it returns structs of the prediction and, in each batch's first row, its seconds."""
    import pyarrow as pa
    from pyspark.sql.pandas.functions import arrow_udf

    signature = artifact.verified().spec.signature
    predictor_of = _shipped(session, artifact)

    def predict(batches: Iterator[tuple[pa.Array, ...]]) -> Iterator[pa.Array]:
        predictor = predictor_of()
        for arrays in batches:
            columns = arrays if isinstance(arrays, tuple) else (arrays,)
            began = time.perf_counter()
            scores = predictor.predict_arrow(pa.RecordBatch.from_arrays(list(columns), list(signature.names)))
            yield _with_seconds(scores, time.perf_counter() - began) if timed else scores

    kind = f"struct<prediction: {signature.output_type}, seconds: double>" if timed else signature.output_type
    return arrow_udf(predict, kind)  # type: ignore[call-overload, unused-ignore]


def score_frame(
    frame: "DataFrame",
    artifact: Artifact,
    *,
    keep: Sequence[str] = (),
    output: str = "prediction",
    seconds: str | None = None,
) -> "DataFrame":
    """Add predictions to rows.

    Args:
        frame: rows with the signature's columns.
        artifact: the model.
        keep: columns of the frame to keep beside the prediction.
        output: name of the prediction's column: double (the probability of the second class, or the value), or
            array<double> (the probability of each class).
        seconds: name of one more column: in the first row of each Arrow batch, the seconds that scoring it took; else
            null.

    Raises:
        UsageError: the frame lacks columns, has them with other types, or already has the output column.
        ArtifactError: the model's files differ from those that were registered.
    """
    _require(frame, artifact, keep, output)
    # If the function were deterministic, a later filter would predict again.
    function = _function(frame.sparkSession, artifact, timed=seconds is not None).asNondeterministic()
    scored = _selected(frame, keep, function(*map(_column, artifact.spec.signature.names)), output)
    if seconds is None:
        return scored
    both = _column(output)
    return scored.select(*map(_column, keep), both["prediction"].alias(output), both["seconds"].alias(seconds))


def _shipped(spark: "SparkSession", artifact: Artifact) -> Callable[[], Predictor]:
    """A function that returns the predictor in a worker: the bytes are broadcast, the task has their expected hash."""
    broadcast: Broadcast[Artifact] = spark.sparkContext.broadcast(artifact)
    expected, threads = artifact.sha256, int(spark.sparkContext.getConf().get("spark.task.cpus", "1") or "1")
    return lambda: cached(broadcast.value, expected, threads=threads)


def _arguments(names: Sequence[str], columns: "Sequence[Column | str]") -> "list[Column]":
    from pyspark.sql import functions as F

    given = [F.col(_quoted(each)) if isinstance(each, str) else each for each in columns]
    if not given:
        return [_column(name) for name in names]
    if len(given) == 1 and len(names) > 1:
        return [given[0].getField(name) for name in names]
    if len(given) != len(names):
        raise UsageError(
            f"The model takes {len(names)} columns ({', '.join(names)}), {len(given)} were given.",
            hint="Pass all of them in this order, one struct with them, or nothing to read them by name.",
        )
    return given


def _require(frame: "DataFrame", artifact: Artifact, keep: Sequence[str], output: str) -> None:
    artifact.spec.signature.require_columns(dict(frame.dtypes))
    missing = [name for name in keep if name not in frame.columns]
    if missing or output in keep:
        what = f"has no column {', '.join(missing)}" if missing else f"has a column {output} already"
        raise UsageError(f"The frame {what}.", hint=f"It has {', '.join(frame.columns)}.")


def _with_seconds(predictions: "pa.Array", seconds: float) -> "pa.Array":
    import pyarrow as pa

    first = pa.array([seconds] * min(1, len(predictions)), pa.float64())
    times = pa.concat_arrays([first, pa.nulls(len(predictions) - len(first), pa.float64())])
    return pa.StructArray.from_arrays([predictions, times], ["prediction", "seconds"])


def _selected(frame: "DataFrame", keep: Sequence[str], prediction: "Column", output: str) -> "DataFrame":
    return frame.select(*map(_column, keep), prediction.alias(output))


def _column(name: str) -> "Column":
    from pyspark.sql import functions as F

    return F.col(_quoted(name))


def _quoted(name: str) -> str:
    return f"`{name.replace('`', '``')}`"
