"""Heads that no recorded run made, in words: one line for each table, and what helps."""

from collections.abc import Iterator, Sequence

from asgard.lakehouse.runs.foreign_heads import ForeignHead, HeadChange

_SHOWN = 3


def foreign_lines(heads: Sequence[ForeignHead]) -> Iterator[str]:
    """One line for each table that others changed, then one line that says what helps; none without such a table."""
    for head in heads:
        yield f"not made by any run: {head.table}, {in_words(head)}"
    if heads:
        again = any(each.is_stored and each.table.layer != "bronze" for each in heads)
        compute = "; `asgard backfill --stale` computes what is in doubt again" if again else ""
        yield f"`asgard accept TABLE --why ...` takes a table as others left it{compute}"


def in_words(head: ForeignHead) -> str:
    """What others did to a table since its last recorded run, e.g. `2 snapshots since run ... (+3 -2 files, ...)`."""
    since = f"since run {head.since}" if head.since else "since its last recorded run"
    return f"{_what(head, since)} ({_counts(head)}){_where(head)}"


def _what(head: ForeignHead, since: str) -> str:
    match head.change:
        case HeadChange.MOVED_BACK:
            return f"moved back by {_number(head.snapshots or 0, 'snapshot')} {since}"
        case HeadChange.REPLACED | HeadChange.RECREATED:
            return f"{head.change} {since}"
        case HeadChange.REWRITTEN:
            return f"{_snapshots(head)} {since}, rewritten, same number of rows"
        case HeadChange.CHANGED:
            return f"{_snapshots(head)} {since}"


def _snapshots(head: ForeignHead) -> str:
    return "an unknown number of snapshots" if head.snapshots is None else _number(head.snapshots, "snapshot")


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _counts(head: ForeignHead) -> str:
    if head.problem:
        return f"what changed is unknown: {head.problem}"
    if not head.added and not head.removed:
        return "no file differs"
    facts = head.to_json()
    files = f"+{facts['files_added']:,} -{facts['files_removed']:,} files"
    deletes = f", +{_number(head.delete_files, 'delete file')}" if head.delete_files else ""
    return f"{files}{deletes}, +{head.rows_added:,} -{head.rows_removed:,} rows"


def _where(head: ForeignHead) -> str:
    places = head.intervals if head.intervals is not None else head.partitions
    if not places:
        return ""
    noun = "in" if head.intervals is not None else "in partitions"
    more = f" and {len(places) - _SHOWN:,} more" if len(places) > _SHOWN else ""
    return f", {noun} {', '.join(places[:_SHOWN])}{more}"
