"""Names and ids that cross modules: typed, and checked once on input.

Every name from outside may only contain the characters allowed here, so no name can inject SQL, a path or a
reference into a statement built from it.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NewType

from asgard.common.errors import UsageError

RunId = NewType("RunId", str)
BranchName = NewType("BranchName", str)
CommitHash = NewType("CommitHash", str)
SnapshotId = NewType("SnapshotId", int)

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}")
_RUN_ID = re.compile(r"(\d{8}t\d{6})z?-[a-z0-9-]*[a-z0-9]")
_RUN_ID_TIME = "%Y%m%dt%H%M%S"
_REFERENCE = re.compile(r"[A-Za-z](?:[A-Za-z0-9_./-]{0,252}[A-Za-z0-9_-])?")
_HEX = re.compile(r"[0-9a-fA-F]+")
MAX_RUN_ID = 40


@dataclass(frozen=True, order=True)
class TableName:
    """`layer.name`, both of `[a-z][a-z0-9_]*`."""

    layer: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "TableName":
        """Read `layer.name`.

        Raises:
            UsageError: not two identifiers joined by a dot.
        """
        parts = text.split(".")
        if len(parts) != 2 or not all(_IDENTIFIER.fullmatch(part) for part in parts):
            raise UsageError(
                f"{text!r} is not a table name.",
                hint="Write layer.name in lower case, letters, digits and _, e.g. silver.orders_cleaned.",
            )
        return cls(*parts)

    def __str__(self) -> str:
        return f"{self.layer}.{self.name}"


def check_identifier(text: str, what: str) -> str:
    """Return `text` if it is `[a-z][a-z0-9_]*` of at most 63 characters.

    Raises:
        UsageError: it is not.
    """
    if not _IDENTIFIER.fullmatch(text):
        raise UsageError(
            f"{text!r} is not a usable {what}.",
            hint="Use lower-case letters, digits and _, starting with a letter.",
        )
    return text


def ledger_name(bronze: "TableName") -> "TableName":
    """The name of the ledger of a bronze table: it records which files and database rows the table contains."""
    return TableName("ledger", f"{bronze.layer}_{bronze.name}")


def check_reference(text: str) -> BranchName:
    """Return `text` if Nessie takes it as a branch or tag name.

    Raises:
        UsageError: an illegal character, `..`, or only hex digits (Nessie reads those as a hash).
    """
    if not _REFERENCE.fullmatch(text) or ".." in text or _HEX.fullmatch(text) or text in ("HEAD", "DETACHED"):
        raise UsageError(
            f"{text!r} is not a usable branch or tag name.",
            hint="Start with a letter; use letters, digits and . _ / -; not '..', and not hex digits only.",
        )
    return BranchName(text)


def new_run_id(now: datetime) -> RunId:
    """A run id that starts with its UTC time, e.g. `20240131t235959-5f2a9c`."""
    return RunId(f"{now.astimezone(UTC).strftime(_RUN_ID_TIME)}-{secrets.token_hex(3)}")


def check_run_id(text: str) -> RunId:
    """Return `text` if it is a run id: its UTC time, `-`, then `[a-z0-9-]`, at most 40 characters.

    Raises:
        UsageError: it is not, or its time does not exist.
    """
    match = _RUN_ID.fullmatch(text)
    valid = match is not None and len(text) <= MAX_RUN_ID
    if match and valid:
        try:
            datetime.strptime(match[1], _RUN_ID_TIME)
        except ValueError:
            valid = False
    if not valid:
        raise UsageError(
            f"{text!r} is not a usable run id.",
            hint="Start with the UTC time, then a name: 20240131t235959-nightly ([a-z0-9-], at most 40 characters).",
        )
    return RunId(text)


def run_id_time(run_id: RunId) -> datetime:
    """The UTC time that a run id starts with."""
    return datetime.strptime(run_id[:15], _RUN_ID_TIME).replace(tzinfo=UTC)


def audit_branch(run_id: RunId, attempt: int) -> BranchName:
    """The name of the branch of one attempt: `audit_<run_id>_<attempt>`."""
    return BranchName(f"audit_{run_id}_{attempt}")


def parse_audit_branch(branch: str) -> tuple[RunId, int] | None:
    """The run id and attempt in the name of an audit branch; None for any other branch."""
    match = re.fullmatch(r"audit_(.+)_(\d+)", branch)
    return (RunId(match[1]), int(match[2])) if match else None


LOG_MARGIN = timedelta(hours=1)
"""How long before a run id's own time the log is read, because clocks may differ (design, section 3)."""
