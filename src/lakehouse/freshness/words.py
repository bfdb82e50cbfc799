"""What is missing, stale or in doubt, in words: one line for each table and condition."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from asgard.lakehouse.declaring.declaration import Restate
from asgard.lakehouse.declaring.intervals import RangeSet
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.freshness.staleness import HARMLESS, STALE_BY_CODE, Condition, Finding

_SHOWN = 3


def left_lines(findings: Iterable[Finding], cause: Callable[[Finding], str], pipeline: Pipeline) -> Iterator[str]:
    """One line for each table and condition: which intervals, why, and the option that helps.

    Args:
        findings: of some tables.
        cause: says who or what caused a finding; asked for the first of each line.
        pipeline: that declares the tables.
    """
    for (table, condition), group in groupby(findings, key=lambda each: (each.table, each.condition)):
        found = list(group)
        who = cause(found[0])
        option = option_of(condition)
        where = f"{stretches(found)} " if found[0].interval else ""
        helps = f"; {option} computes it again" if option else ""
        if condition is Condition.INPUT:
            helps = "; it follows when they are computed"
        if pipeline[table].restate is Restate.NEVER and condition not in (Condition.MISSING, Condition.PARTIAL):
            helps = "; only --start and --end compute it again (restate='never')"
        yield f"{table}: {where}{condition}{f' ({who})' if who else ''}{helps}"


def condition_counts(findings: Iterable[Finding]) -> dict[str, int]:
    """How many intervals are in each condition, without those whose rows would be the same."""
    return dict(Counter(str(each.condition) for each in findings if each.condition not in HARMLESS))


def option_of(condition: Condition) -> str:
    """The option of `asgard backfill` that computes intervals in a condition; "" for none is needed, or helps."""
    if condition in (Condition.DATA, Condition.DOUBT):
        return "--stale"
    return "--changed" if condition in STALE_BY_CODE else ""


def stretches(findings: Sequence[Finding]) -> str:
    """The intervals of some findings of one table, as few stretches of time; "" for a table without intervals."""
    shown = [str(part).replace("/", " to ") for part in merged_intervals(findings)]
    more = f" and {len(shown) - _SHOWN} more stretches" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more


def merged_intervals(findings: Iterable[Finding]) -> RangeSet:
    """The intervals of some findings of one table, joined where they touch."""
    return RangeSet(each.interval for each in findings if each.interval is not None)
