"""What statistics of files answer by themselves, which files they leave to be read, and how passes are cut."""

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from asgard.validation import checks as c
from asgard.validation.batch import AuditedTable, Batch
from asgard.validation.checks import Check, Scope
from asgard.validation.compiler import compile_audit
from asgard.validation.results import AnsweredBy, CheckResult
from asgard.validation.schema import Schema
from asgard.validation.statistics import ColumnStatistics, FileStatistics
from asgard.validation.validator import audit

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

AS_OF = datetime(2024, 1, 10, tzinfo=UTC)
WALL = AS_OF.replace(tzinfo=None)
SCHEMA = Schema.of(
    {
        "i": "int",
        "d": "double",
        "m": "decimal(10,2)",
        "s": "string",
        "t": "timestamp",
        "n": "timestamp_ntz",
        "dt": "date",
        "b": "boolean",
        "a.b": "int",
    }
)


def no_frame(files: Sequence[str] | None) -> "DataFrame":
    raise AssertionError(f"read {files}")


def batch(*files: FileStatistics) -> Batch:
    return Batch(SCHEMA, no_frame, "t", statistics=files)


def file(records: int, path: str = "f", /, **columns: ColumnStatistics) -> FileStatistics:
    return FileStatistics(path, records, columns)


def answer(check: Check, *files: FileStatistics) -> CheckResult:
    outcome = audit([AuditedTable("silver.t", [check], dict.fromkeys(Scope, batch(*files)))], as_of=AS_OF)
    return outcome.tables[0].results[0]


def column(
    nulls: int | None = 0, lower: object = None, upper: object = None, nans: int | None = None, exact: bool = True
) -> ColumnStatistics:
    return ColumnStatistics(nulls, nans, lower, upper, exact)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("check", "files", "passed", "failing"),
    [
        (c.not_null("i"), [file(5, i=column())], True, 0),
        (c.not_null("i"), [file(5, i=column()), file(5, "g", i=column(2))], False, 2),
        (c.not_null("i"), [], True, 0),
        (c.null_rate("i", 0.2), [file(10, i=column(2))], True, 2),
        (c.null_rate("i", 0.1), [file(10, i=column(2))], False, 2),
        (c.row_count(3, 9), [file(5), file(5, "g")], False, None),
        (c.row_count(3, 10), [file(5), file(5, "g")], True, None),
        (c.between("i", 0, 9), [file(5, i=column(1, 0, 9))], True, 0),
        (c.between("i", 0, 9), [file(5, i=column(None, 0, 9))], True, 0),
        (c.between("i", 0, 9), [file(5, i=column(5))], True, 0),
        (c.between("i", 0, 9), [file(5, i=column(1, 10, 20))], False, 4),
        (c.between("i", 0.2, 0.8), [file(5, i=column(1, 0, 1))], False, 4),
        (c.between("i", None, 9), [file(5, i=column(0, None, 9))], True, 0),
        (c.between("i", 0), [file(0), file(5, "g", i=column(0, 0, 9))], True, 0),
        (c.between("d", 0, 9), [file(5, d=column(0, 0.0, 9.0, 0))], True, 0),
        (c.between("d", 0, 9), [file(5, d=column(0, -0.0, 9.0, 2))], False, 2),
        (c.between("d", 0, 9, allow_nan=True), [file(5, d=column(0, 0.0, 9.0, 2))], True, 0),
        (c.between("d", 0, 9), [file(5, d=column(2, None, None, 3))], False, 3),
        (c.between("d", 0), [file(5, d=column(0, 1.0, math.inf, 0))], True, 0),
        (c.between("m", 0, 0.1), [file(5, m=column(0, Decimal("0.00"), Decimal("0.10")))], True, 0),
        (c.between("s", "a", "zz"), [file(5, s=column(0, "a" * 16, "z" * 2, exact=False))], True, 0),
        (c.between("t", AS_OF), [file(5, t=column(0, AS_OF, AS_OF))], True, 0),
        (
            c.between("n", AS_OF),
            [file(5, n=column(0, WALL, WALL))],
            True,
            0,
        ),
        (c.between("dt", date(2024, 1, 1)), [file(5, dt=column(0, date(2024, 1, 1), date(2024, 2, 1)))], True, 0),
        (c.accepted_values("s", ["x", "y"]), [file(5, s=column(1, "x", "x"))], True, 0),
        (c.accepted_values("s", ["x", "y"]), [file(5, s=column(1, "z", "zz"))], False, 4),
        (c.accepted_values("i", [1, 2, 3]), [file(5, i=column(1, 1, 3))], True, 0),
        (c.accepted_values("d", [1.0]), [file(5, d=column(1, 1.0, 1.0, 2))], False, 2),
        (c.freshness("t", timedelta(days=1)), [file(5, t=column(0, AS_OF, AS_OF))], True, None),
        (
            c.freshness("dt", timedelta(days=1)),
            [file(5, dt=column(0, date(2024, 1, 1), date(2024, 1, 8)))],
            False,
            None,
        ),
        (c.freshness("t", timedelta(days=1)), [file(5, t=column(5))], False, None),
        (c.freshness("t", timedelta(days=1), allow_empty=True), [], True, None),
        (c.mean_between("i", 0, 1), [file(5, i=column(5))], False, None),
        (c.mean_between("i", 0, 1, allow_empty=True), [], True, None),
        (c.quantile_between("i", 0.5, 0, 9), [file(5, i=column(1, 0, 9))], True, None),
        (c.quantile_between("i", 0.5, 0, 9), [file(5, i=column(1, 10, 12))], False, None),
        (c.unique("i"), [file(5, i=column(5))], True, 0),
        (c.references("i", "silver.o"), [], True, 0),
        (c.matches("s", "x"), [file(5, s=column(5))], True, 0),
        (c.expression("e", "i > 0"), [file(0)], True, 0),
    ],
)
def test_answered_without_reading_a_row(
    check: Check, files: list[FileStatistics], passed: bool, failing: int | None
) -> None:
    result = answer(check, *files)
    assert result.error is None
    assert (result.passed, result.failing_rows, result.answered_by) == (passed, failing, AnsweredBy.STATISTICS)
    assert (result.checked_rows, result.scanned_files) == (sum(each.record_count for each in files), 0)


@pytest.mark.parametrize(
    ("check", "known"),
    [
        (c.not_null("i"), file(5)),
        (c.not_null("i"), file(5, i=column(None, 0, 9))),
        (c.not_null("i"), file(5, i=column(6))),  # more nulls than rows: not to be trusted
        (c.between("i", 0, 9), file(5)),
        (c.between("i", 0, 9), file(5, i=column(0, 0, None))),
        (c.between("i", 0, 9), file(5, i=column(0, -1, 9))),
        (c.between("i", 0, 9), file(5, i=column(0, "0", "9"))),  # bounds of another type
        (c.between("i", 0, 9), file(5, i=column(0, False, True))),
        (c.between("i", 0, 9), file(5, i=column(None, 10, 20))),  # all fail, but how many there are isn't known
        (c.between("d", 0, 9), file(5, d=column(0, 0.0, 9.0))),  # no NaN count
        (c.between("d", 0, 9), file(5, d=column(0, math.nan, math.nan, 0))),
        (c.between("s", "a", "z"), file(5, s=column(0, "a" * 16, "z" * 2, exact=False))),
        (c.between("t", AS_OF), file(5, t=column(0, AS_OF.replace(tzinfo=None), None))),
        (c.between("dt", date(2024, 1, 1)), file(5, dt=column(0, AS_OF, AS_OF))),
        (c.accepted_values("i", [1, 3]), file(5, i=column(0, 1, 3))),
        (c.freshness("t", timedelta(days=1)), file(5, t=column(0, AS_OF, AS_OF, exact=False))),
        (c.mean_between("i", 0, 9), file(5, i=column(0, 1, 3))),
        (c.not_null("a.b"), FileStatistics("f", 5, {"a.b": column()})),  # the field b of a, or the column `a.b`?
    ],
)
def test_left_to_a_scan(check: Check, known: FileStatistics) -> None:
    result = answer(check, known)
    assert result.answered_by is AnsweredBy.ERROR  # there is nothing to read here
    assert result.error is not None
    assert result.error.startswith("AssertionError: read None (")


def test_a_range_is_counted_only_in_the_files_that_break_it() -> None:
    files = [file(100, f"f{index}", i=column(0, 0, 9)) for index in range(9)] + [file(100, "bad", i=column(0, -1, 9))]
    table = AuditedTable("silver.t", [c.between("i", 0), c.not_null("i")], dict.fromkeys(Scope, batch(*files)))

    (found,) = compile_audit(table).batches
    assert [(work.files, len(work.measures)) for work in found.passes] == [(("bad",), 1)]
    assert [found.scanned_files(question) for question in found.questions] == [1, 0]


def test_passes_are_two_at_most_and_share_measures() -> None:
    files = [
        file(100, f"f{index}", i=column(0, index, index), d=column(0, 0.0, float(index), 0)) for index in range(10)
    ]
    table = AuditedTable(
        "silver.t",
        [
            c.between("i", 0.5, None).over("table"),  # breaks none: each file holds one number
            c.between("d", 0, 8.5).over("table"),  # f9
            c.between("d", 0, 7.5).named("tighter"),  # f8, f9
            c.between("d", 0, 2.5).named("too tight"),  # most files: read with the rest
            c.mean_between("i", 0, 9),
            c.mean_between("i", 0, 5).named("again"),
        ],
        dict.fromkeys(Scope, batch(*files)),
    )
    (found,) = compile_audit(table).batches
    assert [(work.files, len(work.measures)) for work in found.passes] == [(None, 2), (("f8", "f9"), 2)]


def test_min_and_max_are_measured_where_they_are_known_exactly() -> None:
    result = answer(c.between("i", 0, 9), file(5, i=column(0, 3, 4)), file(2, "g", i=column(2)))
    assert result.measured == {"failing_share": 0.0, "min": 3, "max": 4}
    cut = answer(c.between("s", "a", "z"), file(5, s=column(0, "b", "c", exact=False)))
    assert cut.measured == {"failing_share": 0.0}


def test_a_scope_without_rows_at_hand_is_a_failed_check() -> None:
    table = AuditedTable("silver.t", [c.row_count(1).warn()], {Scope.ADDED: batch()})
    (result,) = audit([table], as_of=AS_OF).tables[0].results
    assert result.blocks
    assert result.error == "silver.t has no rows of scope interval here. Use .over('...') with one of: added."
