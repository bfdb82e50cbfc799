"""Which predictions count is the same for rows that were written before 0.1, with a scope in words only, and since."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgard.model.batch.scope import Coverage, Scope
from asgard.serving.sync.current_predictions import _counts

WHOLE, REST = "all", "all that were not predicted yet"
COLUMNS = ["run_id", "model_version", "feature_snapshot", "features_as_of", "predicted_at", "scope"]
ADDED = ["coverage", "challenger", "completes"]


class Row(NamedTuple):
    run: str
    version: str
    snapshot: str
    as_of: int
    written: int
    scope: Scope


def scope_of(sort: str, challenger: str | None) -> Scope:
    """As a batch prediction writes it."""
    text = sort if challenger is None else f"{sort}, challenger {challenger} 0.3"
    return Scope(Coverage.ALL if sort in (WHOLE, REST) else Coverage.SOME, challenger, sort == REST, text)


SCOPES = st.builds(
    scope_of,
    st.sampled_from([WHOLE, REST, REST, "entities of all.csv", "where note = 'all, challenger 1 0.3'"]),
    st.sampled_from([None, "2", "3"]),
)
ORIGINS = st.tuples(st.sampled_from("123"), st.sampled_from("AB"))
RUNS = st.lists(
    st.tuples(SCOPES, st.integers(0, 1), st.lists(ORIGINS, min_size=1, max_size=2, unique=True)), min_size=1, max_size=6
)


def expected(rows: Sequence[Row]) -> list[int]:
    """The places of the rows that count, by the rule and the words of the version before 0.1."""

    def is_whole(text: str) -> bool:
        return text in (WHOLE, REST) or text.startswith((f"{WHOLE}, ", f"{REST}, "))

    whole = [row for row in rows if is_whole(row.scope.text)]
    if not whole:
        return list(range(len(rows)))
    newest = max(whole, key=lambda row: (row.written, row.run))
    same = [row for row in rows if row.as_of == newest.as_of and row.written <= newest.written]
    own = {(row.version, row.snapshot) for row in rows if row.run == newest.run}
    text = newest.scope.text
    if text.startswith(REST) and ", challenger " in text and len(own) == 1:
        ((version, _),) = own
        others = [(-row.written, row.version, row.snapshot) for row in same if row.version != version]
        own |= {(min(others)[1], min(others)[2])} if others else set()
    return [
        place
        for place, row in enumerate(rows)
        if row.written > newest.written or (row in same and (row.version, row.snapshot) in own)
    ]


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        yield made


def counted(connection: duckdb.DuckDBPyConnection, rows: Sequence[Row], old: int, *, evolved: bool) -> list[int]:
    """The same by Asgard, where the rows of the first so many runs have a scope in words only."""
    kinds = ["VARCHAR"] * 3 + ["TIMESTAMPTZ"] * 2 + ["VARCHAR"] * 3 + ["BOOLEAN"]
    names = [*COLUMNS, *ADDED] if evolved else COLUMNS
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(names, kinds, strict=False))
    connection.execute(f"CREATE OR REPLACE TABLE predictions (place INT, {columns})")
    for place, row in enumerate(rows):
        typed = (None, None, None)
        if row.written >= old:
            typed = (str(row.scope.coverage), row.scope.challenger, row.scope.completes)  # type: ignore[assignment]
        values: list[Any] = [place, *row[:3], *row[3:5], row.scope.text, *(typed if evolved else ())]
        marks = ["?"] * 4 + ["make_timestamptz(?)"] * 2 + ["?"] * (len(values) - 6)
        connection.execute(f"INSERT INTO predictions VALUES ({', '.join(marks)})", values)
    table: Any = SimpleNamespace(columns=dict.fromkeys(names))
    condition = _counts(connection, table, "predictions", "make_timestamptz")
    found = connection.execute(f"SELECT place FROM predictions WHERE {condition} ORDER BY place").fetchall()
    return [place for (place,) in found]


@settings(max_examples=60, deadline=None)
@given(runs=RUNS, old=st.integers(0, 6))
def test_the_same_rows_count(connection: duckdb.DuckDBPyConnection, runs: Sequence[Any], old: int) -> None:
    rows = [
        Row(f"run-{written}", version, snapshot, as_of, written, scope)
        for written, (scope, as_of, origins) in enumerate(runs)
        for version, snapshot in origins
    ]
    wanted = expected(rows)
    assert counted(connection, rows, len(runs), evolved=False) == wanted
    assert counted(connection, rows, old, evolved=True) == wanted
