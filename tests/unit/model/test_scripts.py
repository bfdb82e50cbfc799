"""A training script is a process of its own: bounded, its log kept, and nothing of it left running."""

import json
import os
import platform
import time
from dataclasses import replace
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from tests.support.distributions import install

from asgard.common.errors import RunError, UsageError
from asgard.common.settings import set_for_children, unset_for_children
from asgard.model.artifacts.formats import Format
from asgard.model.declaration import Script, TrainingData
from asgard.model.training import scripts
from asgard.model.training.scripts import BEGINNING, END, LOG, BoundedLog, bounded_log, run_script

DATA = TrainingData(
    pd.DataFrame({"a": [1.0, 2.0, np.nan], "b": [0.5, 0.25, 0.125]}), pd.Series([0, 1, 1]), {"rounds": 3}, seed=11
)
HEAD = """
import argparse, json, os, pathlib, subprocess, sys, time
parser = argparse.ArgumentParser()
for name in ("data", "out", "params", "seed", "segment"):
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
    found = run_script(Script(script(tmp_path, body)), DATA, "left", tmp_path)
    assert found.format is Format.LIGHTGBM
    assert json.loads(found.content) == {
        "columns": ["a", "b", "left"],
        "target": [0, 1, 1],
        "seed": "11",
        "params": {"rounds": 3},
        "nulls": 1,
    }
    assert (tmp_path / LOG).read_text() == "learned from 3\n"


@pytest.mark.parametrize(
    ("segment", "told"),
    [(None, None), ("MEAT & FISH", "MEAT & FISH"), (7, "7"), (True, "true"), (date(2024, 5, 1), "2024-05-01")],
)
def test_one_is_told_its_segment(tmp_path: Path, segment: Any, told: str | None) -> None:
    body = '(out / "model.txt").write_text(json.dumps([given.segment, "--segment" in sys.argv]))'
    found = run_script(Script(script(tmp_path, body)), replace(DATA, segment=segment), "left", tmp_path)
    assert json.loads(found.content) == [told, told is not None]


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


class TestDetails:
    def test_lie_beside_the_model(self, tmp_path: Path) -> None:
        body = """
(out / "model.txt").touch()
(out / "details.json").write_text(json.dumps({"drift": 0.25, "rounds": [1, 2]}))
"""
        assert run_script(Script(script(tmp_path, body)), DATA, "left", tmp_path).details == {
            "drift": 0.25,
            "rounds": [1, 2],
        }

    @pytest.mark.parametrize(
        ("text", "message"), [("{", "is not JSON"), ("[1]", "are not a dict with text keys: list")]
    )
    def test_that_are_none(self, tmp_path: Path, text: str, message: str) -> None:
        body = f"(out / 'model.txt').touch(); (out / 'details.json').write_text({text!r})"
        with pytest.raises(RunError, match=message):
            run_script(Script(script(tmp_path, body)), DATA, "left", tmp_path)


class TestItsProcess:
    def test_notes_what_it_imported(self, tmp_path: Path) -> None:
        install(tmp_path, "tiny-boosting", "4.5", {"tiny_boosting.py": ""})
        path = script(tmp_path, "import tiny_boosting, skops; (out / 'model.txt').touch()")
        found = run_script(Script(path), DATA, "left", tmp_path).libraries
        assert (found["tiny-boosting"], found["skops"]) == ("4.5", version("skops"))
        assert found["python"] == platform.python_version()
        assert not {"pytest", "mlflow", "pyspark"} & set(found)  # of this process

    def test_is_as_if_python_ran_the_script(self, tmp_path: Path) -> None:
        (tmp_path / "beside.py").write_text("WORD = 'found'\n")
        body = """
import multiprocessing, beside

def doubled(value):
    return 2 * value

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = [sys.argv[0], __file__, beside.WORD, pool.apply(doubled, (21,))]
    (out / "model.txt").write_text(json.dumps(found))
    sys.exit()
"""
        path = script(tmp_path, body)
        (tmp_path / "work").mkdir()
        found = run_script(Script(path), DATA, "left", tmp_path / "work")
        assert json.loads(found.content) == [str(path), str(path), "found", 42]
        assert found.libraries


class TestItsLog:
    def test_keeps_its_beginning_and_its_end(self, tmp_path: Path) -> None:
        body = """
print("it begins")
for number in range(400_000):
    print(f"round {number:09}")
print("it ends")
(out / "model.txt").touch()
"""
        run_script(Script(script(tmp_path, body)), DATA, "left", tmp_path)
        text = (tmp_path / LOG).read_text()
        assert BEGINNING + END < len(text) < BEGINNING + END + 200
        assert text.startswith("it begins\nround 000000000\n")
        assert text.endswith("round 000399999\nit ends\n")
        written = len("it begins\nit ends\n") + 400_000 * len("round 000000000\n")
        assert f"[... {written - BEGINNING - END:,} bytes of this log were left out here ...]" in text

    def test_a_short_one_is_whole(self, tmp_path: Path) -> None:
        with bounded_log(tmp_path / "log") as stream:
            os.write(stream, b"one\ntwo\n")
        assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"

    def test_that_just_fits_is_whole(self, tmp_path: Path) -> None:
        log = BoundedLog(tmp_path / "log", beginning=4, end=3)
        for part in (b"ab", b"cde", b"fg"):
            log.write(part)
        log.close()
        assert (tmp_path / "log").read_bytes() == b"abcdefg"

    def test_of_a_process_that_got_away_is_not_waited_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scripts, "_GRACE_SECONDS", 0.1)
        body = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
(out / "model.txt").touch()
"""
        run_script(Script(script(tmp_path, body)), DATA, "left", tmp_path)
        child = psutil.Process(int((tmp_path / LOG).read_text()))
        assert runs(child.pid)  # it still has the log open
        child.kill()


def test_there_is_no_such_script(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no training script"):
        run_script(Script(tmp_path / "nowhere.py"), DATA, "left", tmp_path)


def test_it_is_given_no_secrets(tmp_path: Path) -> None:
    body = "(out / 'model.txt').write_text(json.dumps(sorted(os.environ)))"
    names = ("AWS_SECRET_ACCESS_KEY", "NESSIE_AUTH_TOKEN", "REDIS_URL", "ASGARD_JDBC_PASSWORD")
    for name in names:
        set_for_children(name, "canary")
    try:
        content = run_script(Script(script(tmp_path, body)), DATA, "left", tmp_path).content
    finally:
        for name in names:
            unset_for_children(name)
    assert not set(json.loads(content)) & set(names)
