"""Wait until this machine's clock has passed the time of a table's last change.

Iceberg refuses a change that is dated more than a minute before the previous one (`TableMetadata`), but only after the
rows are computed and written, and then discards them. So an attempt compares the clock before it computes: it waits
for a clock that is slightly behind, and fails if the clock is far behind.
"""

import time
from collections.abc import Callable

from asgard.common.aliases import Say
from asgard.common.errors import EnvironmentSetupError

TOLERANCE_MS = 60_000
"""By how much a change of a table may be dated before the previous one: Iceberg's limit."""
PATIENCE_MS = 600_000
"""How long a run waits at most."""
_MARGIN_MS = 1_000
_STEP_SECONDS = 5.0


def now_ms() -> int:
    """Milliseconds since 1970 by this machine's clock, which is also the clock of Spark's driver."""
    return time.time_ns() // 1_000_000


def wait_until_past(
    changed_ms: int,
    what: str,
    say: Say,
    *,
    now: Callable[[], int] = now_ms,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once Iceberg accepts a change that is dated now.

    Args:
        changed_ms: time of the table's last change, by the clock of the machine that made it.
        what: the table.
        say: called with a line if the run waits, and why.
        now: this machine's clock.
        sleep: waits some seconds.

    Raises:
        EnvironmentSetupError: the clock is so far behind that the wait would exceed `PATIENCE_MS`.
    """
    behind = changed_ms - now()
    if behind <= TOLERANCE_MS:
        return
    wait = behind - TOLERANCE_MS + _MARGIN_MS
    lag = f"The clock of this machine is {behind / 1000:,.0f} s behind the last change of {what}"
    if wait > PATIENCE_MS:
        raise EnvironmentSetupError(
            f"{lag}; Iceberg refuses a change that is more than {TOLERANCE_MS // 1000} s older than the previous one.",
            hint="Correct the clock of this machine (or of the machine that wrote the table), then run again with the "
            "same run id. Nothing was computed or lost.",
        )
    say(f"{lag}, which another machine's clock dated: waiting {wait / 1000:,.0f} s before anything is computed")
    while (left := changed_ms - TOLERANCE_MS + _MARGIN_MS - now()) > 0:
        sleep(min(_STEP_SECONDS, left / 1000))
