"""Wait until this machine's clock has come past a table's last change.

Iceberg refuses a change whose time lies more than a minute before the last one's (`TableMetadata`), when the
rows are computed and written, and then throws them away. So an attempt looks before it computes: a clock that
is a little behind is waited for, and one that is far behind is an error to be mended on the machine.
"""

import time
from collections.abc import Callable

from asgard.common.aliases import Say
from asgard.common.errors import EnvironmentSetupError

TOLERANCE_MS = 60_000
"""How far back Iceberg lets time go between two changes of a table."""
PATIENCE_MS = 600_000
"""How long a run waits at most."""
_MARGIN_MS = 1_000
_STEP_SECONDS = 5.0


def now_ms() -> int:
    """Milliseconds since 1970 by this machine's clock, which is also the one of Spark's driver."""
    return time.time_ns() // 1_000_000


def wait_until_past(
    changed_ms: int,
    what: str,
    say: Say,
    *,
    now: Callable[[], int] = now_ms,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once Iceberg takes a change of this moment.

    Args:
        changed_ms: when the table was last changed, by the clock of whoever did.
        what: the table.
        say: is told that the run waits, and why.
        now: this machine's clock.
        sleep: waits some seconds.

    Raises:
        EnvironmentSetupError: the clock is so far behind that waiting makes no sense.
    """
    behind = changed_ms - now()
    if behind <= TOLERANCE_MS:
        return
    wait = behind - TOLERANCE_MS + _MARGIN_MS
    lag = f"The clock of this machine is {behind / 1000:,.0f} s behind the last change of {what}"
    if wait > PATIENCE_MS:
        raise EnvironmentSetupError(
            f"{lag}; Iceberg takes no change that is more than {TOLERANCE_MS // 1000} s older than the last one.",
            hint="Set this machine's clock right (or that of whoever wrote the table), then run again with the same "
            "run id. Nothing was computed or lost.",
        )
    say(f"{lag}, which another machine's clock dates: waiting {wait / 1000:,.0f} s before anything is computed")
    while (left := changed_ms - TOLERANCE_MS + _MARGIN_MS - now()) > 0:
        sleep(min(_STEP_SECONDS, left / 1000))
