"""Accept what others did to a table: a recorded run that changes no row, only what is known of them."""

from asgard.common.aliases import Say
from asgard.common.errors import UsageError
from asgard.common.names import RunId, TableName
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.snapshots import At
from asgard.lakehouse.runs.attempt import Attempt
from asgard.lakehouse.runs.foreign_heads import foreign_head
from asgard.lakehouse.runs.run import RunRequest, RunResult, execute


def accept(lake: Lakehouse, table: TableName, why: str, say: Say, run_id: RunId | None = None) -> RunResult:
    """Take the rows of a table as they are, whoever wrote them; what was read of it before stays stale.

    Args:
        lake: whose table.
        table: that others wrote to.
        why: kept in the run's record.
        say: called with one line about each step.
        run_id: of this run; None for a new one.

    Raises:
        UsageError: nobody but recorded runs wrote to the table since they last did.
        UnknownTableError: it is not there.
        AsgardError: the run failed; nothing was published.
    """

    def work(attempt: Attempt) -> None:
        snapshots, intervals = attempt.accept(table)
        others = None if snapshots or intervals else foreign_head(lake, At(lake.target, attempt.base), table)
        if others is not None:  # a table without a state: of a version before 0.2, or created again by others
            snapshots = others.snapshots or 1
        if not snapshots and not intervals:
            raise UsageError(
                f"There is nothing to accept of {table}: only recorded runs wrote to it.",
                hint="`asgard plan` names tables that are in doubt.",
            )
        attempt.details["accepted"] = {"table": str(table), "why": why, "snapshots": snapshots, "intervals": intervals}
        say(f"accepting {snapshots} foreign snapshots of {table}; {intervals} intervals were in doubt")

    return execute(lake, RunRequest("accept", run_id, {"table": str(table), "why": why}), work, say)
