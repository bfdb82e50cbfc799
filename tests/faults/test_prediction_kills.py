"""Fault 53: a Python worker is killed while it predicts; the job ends with every row once, or says what happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from tests.support.models import rows
from tests.support.prediction_worker import COUNT

from asgard.common.settings import Settings

PATIENCE_SECONDS = 240


def predict(project: Settings, root: Path, master: str, told: Path, out: Path) -> "tuple[int, str]":
    """Start a prediction, kill the worker that is in the middle of it, and give exit code and stderr."""
    command = [sys.executable, "-m", "tests.support.prediction_worker", str(project.project_dir), master, told, out]
    process = subprocess.Popen(
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (told.exists() and told.read_text().endswith("\n")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no worker began to predict"
        time.sleep(0.05)
    os.kill(int(told.read_text()), signal.SIGKILL)
    errors = process.communicate(timeout=PATIENCE_SECONDS)[1]
    return process.returncode, errors


def test_another_worker_predicts_its_rows(project: Settings, repository_root: Path, tmp_path: Path) -> None:
    code, errors = predict(project, repository_root, "local[2,4]", tmp_path / "told", tmp_path / "out")
    assert code == 0, errors
    found = pq.read_table(tmp_path / "out").sort_by("id")
    assert found["id"].to_pylist() == list(range(COUNT))
    assert np.array_equal(found["prediction"].to_numpy(), rows(COUNT, gaps=False)[:, 0])


def test_without_further_tries_the_job_says_what_happened(
    project: Settings, repository_root: Path, tmp_path: Path
) -> None:
    code, errors = predict(project, repository_root, "local[2]", tmp_path / "told", tmp_path / "out")
    assert code == 1
    assert "Predicting: A Python worker ended before it had processed its rows" in errors
    assert "Traceback" not in errors.splitlines()[-2:]
    assert not (tmp_path / "out" / "_SUCCESS").exists()
