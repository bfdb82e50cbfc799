"""A training script is a process of its own: bounded, its log kept, and nothing of it left running."""

import json
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from asgard.common.errors import RunError, UsageError
from asgard.common.settings import set_for_children, unset_for_children
from asgard.model.declaration import Script, TrainingData
from asgard.model.formats import Format
from asgard.model.scripts import LOG, run_script

DATA = TrainingData(
    pd.DataFrame({"a": [1.0, 2.0, np.nan], "b": [0.5, 0.25, 0.125]}), pd.Series([0, 1, 1]), {"rounds": 3}, seed=11
)
HEAD = """
import argparse, json, os, pathlib, subprocess, sys, time
parser = argparse.ArgumentParser()
for name in ("data", "out", "params", "seed"):
    parser.add_argument("--" + name)
given = parser.parse_args()
out = pathlib.Path(given.out)
"""


def script(folder: Path, body: str) -> Path:
    path = folder / "train.py"
    path.write_text(HEAD + body, encoding="utf-8")
    return path


def runs(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_it_is_given_the_rows_the_parameters_and_the_seed(tmp_path: Path) -> None:
    body = """
import pandas
rows = pandas.read_parquet(given.data)
found = {"columns": list(rows), "target": rows["left"].tolist(), "seed": given.seed,
         "params": json.loads(pathlib.Path(given.params).read_text()), "nulls": int(rows["a"].isna().sum())}
print("learned from", len(rows))
(out / "model.txt").write_text(json.dumps(found))
"""
    content, kept_as = run_script(Script(script(tmp_path, body)), DATA, "left", tmp_path)
    assert kept_as is Format.LIGHTGBM
    assert json.loads(content) == {
        "columns": ["a", "b", "left"],
        "target": [0, 1, 1],
        "seed": "11",
        "params": {"rounds": 3},
        "nulls": 1,
    }
    assert (tmp_path / LOG).read_text() == "learned from 3\n"


def test_one_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="ended with exit code 3") as caught:
        run_script(Script(script(tmp_path, "print('no rows', flush=True); sys.exit(3)")), DATA, "left", tmp_path)
    assert caught.value.details == ("no rows",)


def test_one_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    body = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
    path = script(tmp_path, body)
    with pytest.raises(RunError, match="did not end within 0:00:05"):
        run_script(Script(path, timeout=timedelta(seconds=5)), DATA, "left", tmp_path)
    child = int((tmp_path / LOG).read_text())
    until = time.monotonic() + 60
    while runs(child):
        assert time.monotonic() < until, "what it started still runs"
        time.sleep(0.05)


def test_one_that_takes_too_much_memory_fails_alone(tmp_path: Path) -> None:
    body = "kept = bytearray(900 * 2**20); (out / 'model.txt').write_text('never')"
    with pytest.raises(RunError, match=r"ended .*exit code 1") as caught:
        run_script(Script(script(tmp_path, body), memory_mb=400), DATA, "left", tmp_path)
    assert "MemoryError" in caught.value.details[-1]
    assert "400 MB" in caught.value.hint


@pytest.mark.parametrize(
    ("body", "message"),
    [("pass", "left no model"), ("(out / 'model.txt').touch(); (out / 'model.pkl').touch()", "model.pkl, model.txt")],
)
def test_it_leaves_exactly_one_model(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(RunError, match=message):
        run_script(Script(script(tmp_path, body)), DATA, "left", tmp_path)


def test_there_is_no_such_script(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no training script"):
        run_script(Script(tmp_path / "nowhere.py"), DATA, "left", tmp_path)


def test_it_is_given_no_secrets(tmp_path: Path) -> None:
    body = "(out / 'model.txt').write_text(json.dumps(sorted(os.environ)))"
    names = ("AWS_SECRET_ACCESS_KEY", "NESSIE_AUTH_TOKEN", "REDIS_URL", "ASGARD_JDBC_PASSWORD")
    for name in names:
        set_for_children(name, "canary")
    try:
        content, _ = run_script(Script(script(tmp_path, body)), DATA, "left", tmp_path)
    finally:
        for name in names:
            unset_for_children(name)
    assert not set(json.loads(content)) & set(names)
