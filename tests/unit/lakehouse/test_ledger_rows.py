"""Which deliveries a ledger says are in the table, whatever the clocks of the machines that wrote it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from asgard.lakehouse.runs.ledger_rows import REMOVED, standing_rows, undo_clashes

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


def _entry(run_id: str, kind: str, name: str, minute: int, cursor: str | None = None) -> dict[str, Any]:
    digest = None if kind == "jdbc" else name
    row = {**_row(kind, digest, minute), "source": name, "run_id": run_id, "rows": 1}
    return {**row, "cursor_column": "id" if cursor else None, "cursor_value": cursor}


def test_what_landed_since_hinders_to_undo_an_ingest_or_a_removal() -> None:
    landed, other = _entry("one", "file", "a", 0), _entry("two", "file", "b", 1)
    assert undo_clashes([landed, other], [landed], []) == {}
    removed = _entry("three", REMOVED, "a", 2)
    assert undo_clashes([landed, other, removed], [landed], []) == {"three": "took a out"}
    assert undo_clashes([landed, other, removed], [removed], []) == {}
    again = _entry("four", "file", "a", 3)
    assert undo_clashes([landed, removed, again], [removed], []) == {"four": "landed a again"}
    assert undo_clashes([again], [], [landed]) == {"four": "landed a again"}


def test_a_read_of_a_database_is_undone_before_the_one_that_it_continued() -> None:
    first, second = _entry("one", "jdbc", "db.t", 0, "10"), _entry("two", "jdbc", "db.t", 1, "20")
    elsewhere, whole = _entry("three", "jdbc", "db.u", 2, "30"), _entry("four", "jdbc", "db.t", 3)
    rows = [first, second, elsewhere, whole]
    assert undo_clashes(rows, [first], []) == {"two": "read db.t on from the id that was reached"}
    assert undo_clashes(rows, [second], []) == {}
    assert undo_clashes(rows, [whole], []) == {}
