"""Every error that Asgard raises on purpose: what failed, and a hint that says what to do."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `asgard` and of the spark-submit entrypoints."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    AUDIT_FAILED = 3


class AsgardError(Exception):
    """Root of all errors of Asgard.

    Args:
        message: what failed, the value that was given, and what was expected.
        hint: what the reader can do about it, as one sentence.
        details: further lines, e.g. one for each failed check.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "", details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class UsageError(AsgardError):
    """The caller asked for something impossible: nothing was started."""

    exit_code = ExitCode.USAGE


class SettingsError(UsageError):
    """A setting has a value that is not allowed."""


class DeclarationError(UsageError):
    """A pipeline, table, interval or check is declared in a way that can't work."""


class CheckDefinitionError(DeclarationError):
    """A check's own arguments contradict each other."""


class UnknownTableError(UsageError):
    """A table was named that is neither declared nor published."""


class UnknownReferenceError(UsageError):
    """A branch, tag, commit, snapshot or time was named that does not exist."""


class InputDataError(AsgardError):
    """A file or a source table can't be read as declared."""


class ContractError(AsgardError):
    """A write would change a table's schema in a way that its contract does not allow."""


class AuditFailedError(AsgardError):
    """The audit found failing checks: nothing was published."""

    exit_code = ExitCode.AUDIT_FAILED


class ServiceError(AsgardError):
    """An outside system (Nessie, Redis, MLflow, a JDBC source) failed or refused a request."""


class LostStateError(ServiceError):
    """What the intervals of a table were computed from is missing or damaged below `_asgard/`."""


class ServiceUnreachableError(ServiceError):
    """An outside system did not answer, or its answer was lost."""


class ConflictError(AsgardError):
    """Someone else published a change to the same table first."""


class WarehouseMismatchError(AsgardError):
    """This warehouse belongs to another Nessie repository than the one that answered."""


class RunError(AsgardError):
    """A run could not continue; its branch is kept so that its data can be inspected."""


class ArtifactError(AsgardError):
    """A model's files or facts differ from those registered, or can't be loaded: nothing was predicted."""


class EnvironmentSetupError(AsgardError):
    """This machine lacks something that Asgard needs (Java, a jar, a free port, disk)."""


def installing(extra: str) -> str:
    """The hint of an error about an extra that is not installed."""
    return f"Install the extra: pip install 'PATH[{extra}]', where PATH is the clone or wheel of Asgard."
