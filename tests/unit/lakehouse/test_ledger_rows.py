"""Which deliveries a ledger says are in the table, whatever the clocks of the machines that wrote it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from asgard.lakehouse.runs.ledger_rows import REMOVED, standing_rows

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def _row(kind: str, digest: str | None, minute: int) -> dict[str, Any]:
    return {
        "kind": kind,
        "source": f"{digest}.csv",
        "digest": digest,
        "ingested_at": NOON + timedelta(minutes=minute),
    }


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), max_size=20), st.randoms())
def test_a_file_stands_if_it_landed_once_more_than_it_was_taken_out(steps: list[tuple[str, int]], drawn: Any) -> None:
    rows, inside = [], set()
    for digest, minute in steps:  # a clock of any machine
        kind = REMOVED if digest in inside else "file"
        inside ^= {digest}
        rows.append(_row(kind, digest, minute))
    drawn.shuffle(rows)
    assert {row["digest"] for row in standing_rows(rows)} == inside


def test_reads_of_databases_stand_and_the_oldest_is_first() -> None:
    rows = [_row("jdbc", None, 3), _row("file", "a", 2), _row("jdbc", None, 1), _row("file", "b", 0)]
    rows.append(_row(REMOVED, "b", 0))
    assert standing_rows(rows) == [rows[2], rows[1], rows[0]]
