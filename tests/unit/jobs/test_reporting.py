"""What people see: tables on a terminal and in a pipe, and the words for wrong usage."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from asgard.cli.app import main
from asgard.jobs import backfill_job
from asgard.jobs.reporting import show_table

RUN = "20240131t235959-5f2a9c"
BRANCH = f"audit_{RUN}_1"
TABLE = "silver.transactions_cleaned_by_household"


@pytest.fixture
def on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The lines of a table on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")

    def lines(*arguments: Any, **named: Any) -> list[str]:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        show_table(*arguments, **named)
        return capsys.readouterr().out.splitlines()

    return lines


class TestOnATerminal:
    def test_names_are_whole_and_other_cells_are_folded(self, on_a_terminal: Callable[..., list[str]]) -> None:
        lines = on_a_terminal(("RUN", "WHY", "TABLE"), [(RUN, "word " * 12, TABLE)])
        assert max(map(len, lines)) <= 80
        assert lines[1].startswith(RUN)
        assert lines[1].rstrip().endswith(TABLE)
        assert " ".join(lines).count("word") == 12

    def test_names_that_need_more_than_the_terminal_has(self, on_a_terminal: Callable[..., list[str]]) -> None:
        lines = on_a_terminal(("NAME", "KIND", "RUN", "TABLE"), [(BRANCH, "ref", RUN, TABLE)])
        assert lines[1].split() == [BRANCH, "ref", RUN, TABLE]

    def test_brackets_are_text(self, on_a_terminal: Callable[..., list[str]]) -> None:
        assert "values=[red]" in on_a_terminal(("CHECK", "BOUNDS"), [("accepted_values(a)", "values=[red]")])[1]

    def test_no_rows(self, on_a_terminal: Callable[..., list[str]]) -> None:
        assert on_a_terminal(("RUN",), [], empty="no run yet") == ["no run yet"]


def test_in_a_pipe_no_rows_are_said_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("RUN", "STATUS"), [], empty="no run yet")
    assert capsys.readouterr() == ("RUN\tSTATUS\n", "no run yet\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tables", "--nope"], "error: No such option: --nope\nhint: asgard tables --help\n"),
        (["nope"], "error: No such command 'nope'.\nhint: asgard --help\n"),
        (["backfill"], "error: Missing option '--pipeline' / '-p'.\nhint: asgard backfill --help\n"),
    ],
)
def test_wrong_usage_is_said_as_any_error(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr() == ("", said)


def test_a_job_of_spark_submit_goes_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert backfill_job.main([]) == 2
    assert capsys.readouterr().err.endswith("hint: backfill --help\n")


def test_no_command_at_all_is_answered_with_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    captured = capsys.readouterr()
    assert "Usage: asgard" in captured.out + captured.err
    assert "error:" not in captured.err
