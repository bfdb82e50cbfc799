"""Versions of models with their tests, as the report shows them, without MLflow."""

from datetime import timedelta
from typing import Any

import numpy as np
from tests.support.pages import NASTY

from asgard.common.names import CommitHash, SnapshotId, TableName
from asgard.model.lifecycle import Stage, Version
from asgard.model.metrics import Task, baseline, curves, evaluate
from asgard.model.versions import Binding, BoundView, ModelVersion
from asgard.report.model_facts import Evaluated

SHA = "5f" * 32


def binding(**details: Any) -> Binding:
    """Make the binding of a version; `details` replace details of its training."""
    view = BoundView(
        "money", 2, TableName("gold", "money"), SnapshotId(4561278), CommitHash("c0ffee"), "file:///m.json"
    )
    known = {
        "labels": {"source": "gold.labels", "snapshot_id": 998877},
        "params": {"leaves": 15},
        "seed": 7,
        "rows": 20_738,
        "train_rows": 15_000,
        "test_rows": 5_000,
        "test_from": "2024-02-01T00:00:00+00:00",
    }
    return Binding((view,), "c0de", True, {"roc_auc": 0.7}, {}, {**known, **details})


def an_evaluated(name: str, stage: Stage, seed: int) -> Evaluated:
    """Make a version 1.2.3 with a test of 400 labels."""
    drawn = np.random.default_rng(seed)
    target = drawn.integers(0, 2, 400).astype(float)
    score = np.clip(target * 0.3 + drawn.random(400) * 0.7, 0, 1)
    metrics = {str(metric): value for metric, value in evaluate(Task.BINARY, target, score).items()}
    version = ModelVersion(
        name, Version(1, 2, 3), "4", stage, "run123", "2024-04-30T10:00:00+00:00", NASTY, SHA, binding(), metrics
    )
    return Evaluated(
        version,
        metrics,
        {str(metric): value for metric, value in baseline(Task.BINARY, target, target).items()},
        {"visits": 0.02, "spent": 0.01, "noise": -0.001},
        curves(target, score),
        timedelta(days=28),
    )
