"""Run a job's `main`, with the same parameters from the command line and from spark-submit."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

from asgard.common.errors import AsgardError, ExitCode, UsageError
from asgard.common.logging import logger, redact
from asgard.common.spark_utils import explain
from asgard.common.stopping import received, stoppable
from asgard.jobs.answer import alone_on_stdout, wants_json
from asgard.jobs.command_class import JobCommand


def run_job(command: Callable[..., Any], argv: Sequence[str] | None = None) -> int:
    """Run one typer-annotated function as a program.

    Args:
        command: the job's command.
        argv: its arguments; by default those of this process.

    Returns:
        The exit code; errors are printed to stderr with their hint, never as a traceback.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(cls=JobCommand)(command)
    return run_app(app, argv, prog_name=command.__module__.rpartition(".")[2].removesuffix("_job"))


def run_app(app: typer.Typer, argv: Sequence[str] | None, prog_name: str) -> int:
    """Run a typer application; see `run_job`."""
    words = list(sys.argv[1:] if argv is None else argv)
    own = argv is None

    def work() -> tuple[int, AsgardError | None]:
        return _outcome(app, words, prog_name)

    if wants_json(words):
        return stoppable(lambda: alone_on_stdout(work, own=own), own)
    return stoppable(lambda: work()[0], own)


def _outcome(app: typer.Typer, words: list[str], prog_name: str) -> tuple[int, AsgardError | None]:
    """The exit code, and the error that was printed."""
    try:
        result = app(args=words, prog_name=prog_name, standalone_mode=False)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has ended (`asgard ... | head`): nobody reads an error
        return ExitCode.DONE, None
    except Exception as error:
        if received() is not None:
            raise  # it was stopped, which counts more than its error
        # typer may vendor its own click, so its exceptions are recognized by their attributes, not by class.
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
            error.show()  # type: ignore[attr-defined]
            return ExitCode.USAGE, None
        worded = _in_words(error, prog_name)
        print_error(worded)
        return worded.exit_code, worded
    return (int(result) if isinstance(result, int) else ExitCode.DONE), None


def _in_words(error: Exception, prog_name: str) -> AsgardError:
    if isinstance(error, AsgardError):
        return error
    if hasattr(error, "format_message"):
        where = getattr(getattr(error, "ctx", None), "command_path", prog_name)
        return UsageError(error.format_message(), hint=f"{where} --help")
    logger("cli").debug("unexpected", exc_info=error)
    return explain(error, "This command")


def print_error(error: AsgardError) -> None:
    """Print an error for people, on stderr."""
    _say(f"error: {error.message}")
    for line in error.details:
        _say(f"  {line}")
    if error.hint:
        _say(f"hint: {error.hint}")


def _say(line: str) -> None:
    sys.stderr.write(redact(line) + "\n")
