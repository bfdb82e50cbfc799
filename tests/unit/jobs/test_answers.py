"""Answers of a command: one JSON object on stdout and nothing else, exits from inside, empty options."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.stopping import PATIENCE_SECONDS, started

from asgard.cli.app import COMMANDS, main

NOISY = """
import atexit, os, subprocess, sys
print("print at module level")
sys.__stdout__.write("past sys.stdout\\n")
os.write(1, b"to the descriptor\\n")
subprocess.run(["echo", "by a process"])
atexit.register(print, "at the end")
from asgard import Pipeline
shop = Pipeline("shop")
"""
NOISE = {"print at module level", "past sys.stdout", "to the descriptor", "by a process", "at the end"}
WITH_JSON = [command.name for command in COMMANDS if "as_json" in command.load().__annotations__]


def asgard(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "asgard.cli", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def error_of(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out)
    assert set(found) >= {"error", "hint", "details", "exit_code"}
    return found


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    (tmp_path / "noisy.py").write_text(NOISY)
    return tmp_path


class TestOneObject:
    def test_whatever_a_pipeline_prints(self, noisy: Path) -> None:
        done = asgard(noisy, "plan", "-p", "noisy.py", "--json")
        assert done.returncode == error_of(done.stdout)["exit_code"] == 2
        assert "No Nessie is set" in error_of(done.stdout)["error"]
        assert set(done.stderr.splitlines()) >= NOISE

    def test_a_signal(self, tmp_path: Path) -> None:
        (tmp_path / "slow.py").write_text("import pathlib, time\npathlib.Path('ready').touch()\ntime.sleep(600)\n")
        command = [sys.executable, "-m", "asgard.cli", "plan", "-p", "slow.py", "--json"]
        with started(command, cwd=tmp_path, stdout=subprocess.PIPE) as process:
            process.wait_for((tmp_path / "ready").exists)
            process.send(signal.SIGTERM)
            out, said = process.process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.process.returncode, said) == (143, "terminated: nothing incomplete was published\n")
        assert error_of(out)["exit_code"] == 143

    def test_without_json_a_pipeline_prints_where_it_likes(self, noisy: Path) -> None:
        assert set(asgard(noisy, "plan", "-p", "noisy.py").stdout.splitlines()) == NOISE

    @pytest.mark.parametrize("command", WITH_JSON)
    def test_wrong_usage_of_every_command(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([*command.split(), "--json", "--no-such-option"]) == 2
        captured = capsys.readouterr()
        found = error_of(captured.out)
        assert "--no-such-option" in found["error"]
        assert found["exit_code"] == 2
        assert f"error: {found['error']}\nhint: {found['hint']}\n" in captured.err

    def test_an_answer_of_a_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["settings", "--json"]) == 0
        assert set(json.loads(capsys.readouterr().out)) == {"settings"}

    def test_help_is_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["plan", "--json", "--help"]) == 0
        assert "Usage" in capsys.readouterr().out

    def test_stdout_is_as_it_was_afterwards(self, capfd: pytest.CaptureFixture[str]) -> None:
        before = sys.stdout
        main(["settings", "--json"])
        assert sys.stdout is before
        capfd.readouterr()
        os.write(1, b"mine\n")
        assert capfd.readouterr().out == "mine\n"

    def test_whoever_reads_it_may_go_away(self, tmp_path: Path) -> None:
        script = f"{sys.executable} -m asgard.cli settings --json | head -1; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("{\n0\n", "")


EXITS = {
    "import sys\nsys.exit(0)": "sys.exit(0)",
    "exit()": "sys.exit()",
    "raise SystemExit('enough')": "sys.exit('enough')",
    "raise KeyboardInterrupt": "raise KeyboardInterrupt",
    "import argparse\nargparse.ArgumentParser().parse_args(['--unknown'])": "sys.exit(2)",
}


@pytest.mark.parametrize(("code", "ending"), EXITS.items(), ids=EXITS.values())
def test_a_module_that_ends_the_process(
    code: str, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"ends_{abs(hash(code))}.py"
    path.write_text(f"from asgard import Pipeline\n{code}\nshop = Pipeline('shop')\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert main(["plan", "-p", str(path)]) == 2
    said = capsys.readouterr().err
    line = code.count("\n") + 2
    assert f"ended the process while it was imported: {ending} ({path}, line {line})." in said
    assert "hint: " in said
    assert "stopped" not in said


class TestEmptyOptions:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["batch-predict", "-p", "x", "--model", "m", "--where", ""],
            ["tables", "--ref", ""],
            ["plan", "--pipeline", " "],
            ["backfill", "-p", "x", "--run-id", ""],
            ["backfill", "-p", "x", "-s", ""],
            ["lineage", "gold.x", "--key", ""],
            ["status", "--dir", ""],
            ["audit", "silver.x", "--check", ""],
            ["ingest", "bronze.x", ""],
            ["lineage", ""],
        ],
        ids=" ".join,
    )
    def test_are_refused(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert "is an empty text." in said
        assert f"hint: Leave it out, or give it a value: asgard {arguments[0]} --help" in said

    def test_defaults_are_not(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for command in COMMANDS:
            main([*command.name.split(), "-p", "no.such.module", "--dir", str(tmp_path), "--set", "nessie_uri=x"])
            assert "empty text" not in capsys.readouterr().err, command.name
        assert main(["train", "-p", "no.such.module", "-m", "churn", "--dir", str(tmp_path)]) == 2
        assert "empty text" not in capsys.readouterr().err

    def test_that_mean_something_are_not(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["ingest", "bronze.x", "none.csv", "--quote", "", "--null-value", "", "--dir", str(tmp_path)]
        assert main(arguments) == 2
        assert "empty text" not in capsys.readouterr().err
