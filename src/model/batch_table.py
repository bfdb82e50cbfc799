"""The table of a model's predictions: its rows, the checks of a run, and what earlier runs wrote."""

import math
import sys
from collections.abc import Sequence
from datetime import datetime
from functools import reduce
from typing import TYPE_CHECKING

from asgard.lakehouse.attempt import Attempt
from asgard.lakehouse.declaration import Table, WriteMode, declare_table
from asgard.model.batch_request import WHOLE, PredictRequest
from asgard.model.metrics import Task
from asgard.validation.checks import Check, between, mean_between, not_null, row_count, unique

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SCORE = "prediction"
REST = "all that were not predicted yet"
"""Scope of a run that found some of all entities predicted."""
VERSION = "model_version"
_ONCE = (VERSION, "feature_snapshot", "features_as_of")
"""What an entity is predicted once for."""


def predictions_table(request: PredictRequest, last: tuple[int, float | None] | None) -> Table:
    """The predictions' table, with the checks of this run.

    Args:
        request: what is predicted.
        last: rows and mean of the last run that predicted every entity; None if there is none.
    """
    may_lack = any(each.artifact.spec.signature.nullable for each in request.sides.values())
    never_null = (*request.keys, *(() if may_lack else (SCORE,)), VERSION, "predicted_at")
    checks: list[Check] = [
        *map(not_null, never_null),
        unique(*request.keys, *_ONCE),
        row_count(1).over("added"),
    ]
    if request.task is not Task.MULTICLASS:
        low, high = (0, 1) if request.task is Task.BINARY else (-sys.float_info.max, sys.float_info.max)
        checks.append(between(SCORE, low, high))  # NaN and infinity are in no range
    if last is not None:
        rows, mean = last
        checks.append(row_count(int(rows * request.min_volume)).over("added").named("volume against the last run"))
        if mean is not None and math.isfinite(mean):
            shift = abs(mean) * request.max_mean_shift
            named = mean_between(SCORE, mean - shift, mean + shift).over("added")
            checks.append(named.named("mean against the last run"))
    return declare_table(
        str(request.table),
        mode=WriteMode.APPEND,
        keys=(*request.keys, *_ONCE),
        checks=checks,
        description=f"What versions of the model {request.version.name} say of each entity.",
        module="asgard.model.batch_table",
    )


def with_origin(scored: "DataFrame", request: PredictRequest) -> "DataFrame":
    """Scored rows, with the version that scored them and the snapshots that it read."""
    from pyspark.sql import functions as F

    version, snapshot = F.lit(str(request.version.version)), F.lit(request.feature_snapshot)
    return scored.withColumn(VERSION, version).withColumn("feature_snapshot", snapshot)


def table_rows(scored: "DataFrame", attempt: Attempt, keys: Sequence[str], moment: datetime, scope: str) -> "DataFrame":
    """What is written of scored rows that have their origin."""
    from pyspark.sql import functions as F

    return scored.select(
        *keys,
        SCORE,
        VERSION,
        "feature_snapshot",
        F.lit(moment).alias("features_as_of"),
        F.lit(scope).alias("scope"),
        F.lit(str(attempt.run_id)).alias("run_id"),
        F.lit(attempt.as_of).alias("predicted_at"),
    )


def predicted_before(attempt: Attempt, request: PredictRequest, moment: datetime) -> "DataFrame | None":
    """Entities and versions of what was predicted before, from these snapshots and as of this moment; None for none."""
    from pyspark.sql import functions as F

    if not attempt.has(request.table):
        return None
    origins = [
        (F.col(VERSION) == str(each.version.version)) & (F.col("feature_snapshot") == each.feature_snapshot)
        for each in request.sides.values()
    ]
    same = reduce(lambda one, other: one | other, origins) & (F.col("features_as_of") == F.lit(moment))
    found = attempt.read(request.table, guard=True).where(same).select(*request.keys, VERSION)
    return None if found.isEmpty() else found


def last_whole(attempt: Attempt, request: PredictRequest) -> tuple[int, float | None] | None:
    """Rows and mean of the last run that predicted every entity, whoever challenged in it."""
    from pyspark.sql import functions as F

    if not attempt.has(request.table):
        return None
    mean = F.avg(SCORE) if request.task is not Task.MULTICLASS else F.lit(None)
    whole = (F.col("scope") == WHOLE) | F.col("scope").startswith(f"{WHOLE}, ")
    runs = attempt.read(request.table, guard=True).where(whole).groupBy("run_id")
    newest = runs.agg(F.max("predicted_at").alias("at"), F.count("*").alias("rows"), mean.alias("mean"))
    found = newest.orderBy(F.col("at").desc()).limit(1).collect()
    return (int(found[0]["rows"]), found[0]["mean"]) if found else None
