"""The table of a model's predictions: its rows, the checks of a run, and the rows of earlier runs."""

import sys
from collections.abc import Sequence
from datetime import datetime
from functools import reduce
from typing import TYPE_CHECKING

from asgard.lakehouse.declaring.declaration import Table, WriteMode, declare_table
from asgard.lakehouse.runs.attempt import Attempt
from asgard.model.batch.request import PredictRequest
from asgard.model.batch.scope import CHALLENGER, COMPLETES, COVERAGE, SCOPE, Scope
from asgard.model.metrics import Task
from asgard.validation.checks import Check, between, expression, not_null, row_count, unique

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

SCORE = "prediction"
VERSION = "model_version"
SNAPSHOT = "feature_snapshot"
AS_OF = "features_as_of"
PREDICTED_AT = "predicted_at"
RUN = "run_id"
_SCOPE_TYPES = {SCOPE: "string", COVERAGE: "string", CHALLENGER: "string", COMPLETES: "boolean"}
_ONCE = (VERSION, SNAPSHOT, AS_OF)
"""The columns that, with its keys, identify a prediction of an entity: there is one for each combination."""
PROBABILITIES = f"forall({SCORE}, each -> coalesce(each BETWEEN 0 AND 1, false))"
"""Check for several classes: each probability is from 0 to 1 and not null; Spark sorts NaN above any number."""


def predictions_table(request: PredictRequest, compared: Sequence[Check] = ()) -> Table:
    """Declare the table of predictions, with the checks of this run.

    Args:
        request: the request of the run.
        compared: checks that compare a run over all entities with the last one.
    """
    never_null = (*request.keys, *(() if request.nullable else (SCORE,)), VERSION, PREDICTED_AT)
    checks: list[Check] = [
        *map(not_null, never_null),
        unique(*request.keys, *_ONCE),
        row_count(1).over("added"),
    ]
    if request.task is Task.MULTICLASS:
        checks.append(expression("probabilities", PROBABILITIES))
    else:
        low, high = (0, 1) if request.task is Task.BINARY else (-sys.float_info.max, sys.float_info.max)
        checks.append(between(SCORE, low, high))  # NaN and infinity are outside every range
    return declare_table(
        str(request.table),
        mode=WriteMode.APPEND,
        keys=(*request.keys, *_ONCE),
        checks=[*checks, *compared],
        description=f"What versions of the model {request.version.name} say of each entity.",
        module="asgard.model.batch.table",
        pipeline=f"model {request.version.name}",
    )


def with_origin(scored: "DataFrame", request: PredictRequest) -> "DataFrame":
    """Add to scored rows the version that scored them and the snapshots that it read."""
    from pyspark.sql import functions as F

    version, snapshot = F.lit(str(request.version.version)), F.lit(request.feature_snapshot)
    return scored.withColumn(VERSION, version).withColumn(SNAPSHOT, snapshot)


def table_rows(
    scored: "DataFrame", attempt: Attempt, keys: Sequence[str], moment: datetime, scope: Scope
) -> "DataFrame":
    """The rows to write, from scored rows with their origin."""
    from pyspark.sql import functions as F

    return scored.select(
        *keys,
        SCORE,
        VERSION,
        SNAPSHOT,
        F.lit(moment).alias(AS_OF),
        *(F.lit(value).cast(_SCOPE_TYPES[name]).alias(name) for name, value in scope.columns.items()),
        F.lit(str(attempt.run_id)).alias(RUN),
        F.lit(attempt.as_of).alias(PREDICTED_AT),
    )


def predicted_before(attempt: Attempt, request: PredictRequest, moment: datetime) -> "DataFrame | None":
    """Entities and versions of earlier predictions from these snapshots as of this moment; None if there are none."""
    if not attempt.has(request.table):
        return None
    rows = attempt.read(request.table, guard=True, pinned=True).where(is_of(request, moment))
    described = rows.select(*request.keys, VERSION)
    return None if described.isEmpty() else described


def is_of(request: PredictRequest, moment: datetime) -> "Column":
    """Whether a row was predicted by the request's versions from their snapshots, as of this moment."""
    from pyspark.sql import functions as F

    origins = [
        (F.col(VERSION) == str(each.version.version)) & (F.col(SNAPSHOT) == each.feature_snapshot)
        for each in request.sides.values()
    ]
    return reduce(lambda one, other: one | other, origins) & (F.col(AS_OF) == F.lit(moment))
