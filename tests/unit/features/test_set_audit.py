"""The audit of a training set finds what a wrong join would do."""

from typing import cast

import duckdb
import pytest

from asgard.common.errors import AuditFailedError
from asgard.features.joins.duck import TIME
from asgard.features.joins.set_audit import Audit, counts
from asgard.features.pinned import PinnedTable, PinnedView
from asgard.features.views import Feature, feature_view

VIEWS = [
    PinnedView(
        feature_view(
            name, table="gold.points", keys="customer", features=[Feature("f", "int")], created_timestamp=created
        ),
        cast("PinnedTable", None),
    )
    for name, created in (("plain", None), ("known", "created_at"))
]
RIGHT = (5, 5, 5, 5)


def audited(*rows: tuple[int, int | None, int | None, int | None], labels: int | None = None) -> Audit:
    """The audit of joined rows: the label's time, then event times, and when the second's row was created."""
    made = ", ".join(str(row).replace("None", "NULL::BIGINT") for row in rows)
    columns = f"{TIME}, __event_0, __event_1, __created_1"
    wanted = counts(VIEWS)
    found = duckdb.sql(f"SELECT {', '.join(wanted.values())} FROM (VALUES {made}) AS joined({columns})").fetchall()[0]
    return Audit.of(VIEWS, len(rows) if labels is None else labels, dict(zip(wanted, found, strict=True)))


def test_what_is_right_passes() -> None:
    found = audited(RIGHT, (5, None, 4, 5), (5, None, None, None))
    found.require_passed()
    assert (found.rows, found.missing) == (3, {"plain": 2, "known": 1})


@pytest.mark.parametrize(("row", "name"), [((5, 6, 5, 5), "plain"), ((5, 5, 6, 6), "known"), ((5, 5, 4, 6), "known")])
def test_a_feature_that_is_newer_than_its_label(row: tuple[int, int, int, int], name: str) -> None:
    with pytest.raises(AuditFailedError, match=f"newer than their labels: 1 rows of {name}"):
        audited(RIGHT, row).require_passed()


@pytest.mark.parametrize("labels", [1, 3])
def test_rows_that_are_lost_or_doubled(labels: int) -> None:
    with pytest.raises(AuditFailedError, match=f"{labels} labels were given, but the set has 2 rows"):
        audited(RIGHT, RIGHT, labels=labels).require_passed()
