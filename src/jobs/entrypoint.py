"""How a job's `main` runs: the same parameters from the command line and from spark-submit."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer

from asgard.common.errors import AsgardError, ExitCode, UsageError
from asgard.common.logging import logger, redact
from asgard.common.spark import explain


class Terminated(BaseException):
    """SIGTERM arrived: the run ends now, its branch is kept."""


def run_job(command: Callable[..., Any], argv: Sequence[str] | None = None) -> int:
    """Run one typer-annotated function as a program of its own.

    Args:
        command: the job's command.
        argv: its arguments; by default those of this process.

    Returns:
        The exit code; errors are printed to stderr with their hint, never as a traceback.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    return run_app(app, argv, prog_name=command.__module__.rpartition(".")[2].removesuffix("_job"))


def run_app(app: typer.Typer, argv: Sequence[str] | None, prog_name: str) -> int:
    """Run a typer application; see `run_job`."""
    # typer may vendor its own click: its exceptions are told apart by their attributes, not by class.
    with _sigterm_raises():
        try:
            result = app(
                args=list(argv if argv is not None else sys.argv[1:]), prog_name=prog_name, standalone_mode=False
            )
        except AsgardError as error:
            print_error(error)
            return error.exit_code
        except (KeyboardInterrupt, typer.Abort):
            _say("stopped: nothing was published that isn't complete")
            return 130
        except Terminated:
            _say("terminated: nothing was published that isn't complete")
            return 143
        except BrokenPipeError:
            sys.stderr.close()  # the reader went away (`asgard ... | head`): nobody to tell
            return ExitCode.DONE
        except Exception as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
                error.show()  # type: ignore[attr-defined]
                return ExitCode.USAGE
            if hasattr(error, "format_message"):
                where = getattr(getattr(error, "ctx", None), "command_path", prog_name)
                print_error(UsageError(error.format_message(), hint=f"{where} --help"))
                return ExitCode.USAGE
            logger("cli").debug("unexpected", exc_info=error)
            print_error(explain(error, "This command"))
            return ExitCode.FAILED
    return int(result) if isinstance(result, int) else ExitCode.DONE


def print_error(error: AsgardError) -> None:
    """An error as a person reads it."""
    _say(f"error: {error.message}")
    for line in error.details:
        _say(f"  {line}")
    if error.hint:
        _say(f"hint: {error.hint}")


def _say(line: str) -> None:
    sys.stderr.write(redact(line) + "\n")


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: the cleanup must not be interrupted
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: whoever owns it decides
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
