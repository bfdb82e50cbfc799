"""Tables declared as `.sql` files: the header, the query's function, and what is refused."""

import inspect
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from asgard.common.errors import DeclarationError
from asgard.lakehouse.declaring.declaration import Monthly, WriteMode
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.declaring.sql_files import read_sql_file
from asgard.validation import checks

HEADER = """\
-- table: gold.sales_by_department
-- input sales: silver.transactions_cleaned
-- input products: silver.products_cleaned
--
-- interval: monthly(sold_at, lookback=1)
-- keys: department, sold_at
-- partitioned_by: month(sold_at), bucket(4, department)
-- owner: data-team
-- description: What each department sold: a summary.
-- tags: a, b
-- start: 2024-01-01
-- end: 2025-01-01
-- on_empty: fail
-- contract: frozen
-- rename dept: department
-- rename at: sold_at
-- property write.distribution-mode: hash
-- check: not_null(department)
-- check: between(sales, 0, None).warn().named('sales are positive')
-- check: unique(department, sold_at).over('table')
-- check: accepted_values(department, ['a', 'b'])
-- check: expression('net is less', 'net <= gross')
-- check: freshness(sold_at, timedelta(days=2, hours=1), allow_empty=True).over('table')

"""
QUERY = "SELECT * -- everything\nFROM sales\n-- WHERE 1 = 0\nWHERE sold_at >= :start AND sold_at < :end"


def written(folder: Path, text: str) -> Path:
    path = folder / "table.sql"
    path.write_text(text, encoding="utf-8")
    return path


def minimal(more: str = "", query: str = "SELECT * FROM sales") -> str:
    return f"-- table: gold.sales\n-- input sales: silver.sales\n{more}\n{query}\n"


def test_the_whole_header(tmp_path: Path) -> None:
    pipeline = Pipeline("shop", owner="nobody")
    pipeline.sql(written(tmp_path, HEADER + QUERY + ";\n"), checks=[checks.row_count(1)])
    table = pipeline["gold.sales_by_department"]
    assert {name: str(source) for name, source in table.inputs.items()} == {
        "sales": "silver.transactions_cleaned",
        "products": "silver.products_cleaned",
    }
    assert table.interval == Monthly("sold_at", lookback=1)
    assert (table.mode, table.takes_interval) == (WriteMode.OVERWRITE_INTERVAL, True)
    assert table.keys == ("department", "sold_at")
    assert table.partitioned_by == ("month(sold_at)", "bucket(4, department)")
    assert (table.owner, table.description) == ("data-team", "What each department sold: a summary.")
    assert table.tags == ("a", "b")
    assert (table.start, table.end) == (datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
    assert table.renames == {"dept": "department", "at": "sold_at"}
    assert table.properties == {"write.distribution-mode": "hash"}
    assert (str(table.on_empty), str(table.contract)) == ("fail", "frozen")
    assert table.checks == (
        checks.not_null("department"),
        checks.between("sales", 0, None).warn().named("sales are positive"),
        checks.unique("department", "sold_at").over("table"),
        checks.accepted_values("department", ["a", "b"]),
        checks.expression("net is less", "net <= gross"),
        checks.freshness("sold_at", timedelta(days=2, hours=1), allow_empty=True).over("table"),
        checks.row_count(1),
    )
    assert table.module.endswith("table.sql")


class Frame:
    """Stands in for a DataFrame: it notes what a query's function asks of it."""

    def __init__(self) -> None:
        self.views: list[str] = []
        self.asked: tuple[str, dict[str, Any]] | None = None

    @property
    def sparkSession(self) -> "Frame":
        return self

    def createOrReplaceTempView(self, name: str) -> None:
        self.views.append(name)

    def sql(self, query: str, args: dict[str, Any]) -> str:
        self.asked = (query, args)
        return "rows"


def test_the_querys_function_names_its_inputs_and_binds_the_interval(tmp_path: Path) -> None:
    declared = read_sql_file(written(tmp_path, HEADER + QUERY + ";\n"))
    assert list(inspect.signature(declared.function).parameters) == ["sales", "products", "interval"]
    frame: Any = Frame()
    window: Any = type("Window", (), {"start": 1, "end": 2})()
    assert declared.function(sales=frame, products=frame, interval=window) == "rows"
    assert frame.views == ["sales", "products"]
    above = frame.asked[0].removesuffix(QUERY)  # so Spark's line numbers are the file's
    assert set(above) == {"\n"}
    assert (HEADER + QUERY).splitlines()[len(above)] == QUERY.splitlines()[0]
    assert frame.asked == (above + QUERY, {"start": 1, "end": 2})


def test_without_interval_there_is_nothing_to_bind(tmp_path: Path) -> None:
    declared = read_sql_file(written(tmp_path, minimal()))
    assert list(inspect.signature(declared.function).parameters) == ["sales"]
    frame: Any = Frame()
    declared.function(sales=frame)
    assert frame.asked == ("\n\n\nSELECT * FROM sales", {})  # its line in the file


def test_windows_line_ends_and_blank_lines_are_fine(tmp_path: Path) -> None:
    text = minimal("\n-- keys: a\n").replace("\n", "\r\n")
    path = tmp_path / "table.sql"
    path.write_bytes(text.encode())
    assert read_sql_file(path).properties["keys"] == ("a",)


REFUSED = {
    "no table": ("-- input sales: silver.sales\nSELECT 1", "names no table"),
    "no input": ("-- table: gold.sales\nSELECT 1", "names no input"),
    "no query": ("-- table: gold.sales\n-- input sales: silver.sales\n", "has no query"),
    "plain comment": (minimal("-- Sales by department"), "line 3: '-- Sales by department' is not understood"),
    "unknown property": (minimal("-- colour: red"), "line 3: '-- colour: red' is not understood"),
    "input without name": (minimal("-- input: silver.orders"), "line 3: .* is not understood"),
    "unknown cadence": (minimal("-- interval: fortnightly(at)"), r"line 3: 'fortnightly\(at\)' is not understood"),
    "cadence without column": (minimal("-- interval: daily"), "line 3: 'daily' is not understood"),
    "rename without name": (minimal("-- rename: a"), "line 3: .* is not understood"),
    "endless time": (minimal("-- check: freshness(a, timedelta(days=10 ** 9))"), "line 3: .* is not a check"),
    "time that is too long": (
        minimal("-- check: freshness(a, timedelta(days=9999999999))"),
        "line 3: .* is not a check",
    ),
    "time of code": (minimal("-- check: freshness(a, timedelta(days=len('a')))"), "line 3: .* is not a check"),
    "check of another name": (minimal("-- check: not_nil(a)"), r"line 3: 'not_nil\(a\)' is not a check"),
    "check that is no call": (minimal("-- check: not_null"), "line 3: 'not_null' is not a check"),
    "check that does not parse": (minimal("-- check: not_null(a"), "line 3: .* is not a check"),
    "check with too many arguments": (minimal("-- check: not_null(a, b)"), "line 3: .* is not a check"),
    "check with code in it": (
        minimal("-- check: between(a, __import__('os').getpid(), None)"),
        "line 3: .* is not a check",
    ),
    "check with another method": (minimal("-- check: not_null(a).__class__()"), "line 3: .* is not a check"),
    "code instead of a check": (minimal("-- check: __import__('os').getcwd()"), "line 3: .* is not a check"),
    "a private name of the module": (minimal("-- check: replace(a)"), "line 3: .* is not a check"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_file_and_line(tmp_path: Path, case: str) -> None:
    text, message = REFUSED[case]
    path = written(tmp_path, text)
    with pytest.raises(DeclarationError, match=message) as refused:
        read_sql_file(path)
    assert str(path) in refused.value.message
    assert refused.value.hint


def test_a_checks_own_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError):
        read_sql_file(written(tmp_path, minimal("-- check: between(a, 2, 1)")))


def test_a_declaration_that_can_not_work_names_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, minimal("-- mode: merge"))
    with pytest.raises(DeclarationError, match="mode merge needs keys") as refused:
        Pipeline("shop").sql(path)
    assert str(path) in refused.value.message


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="can't be read"):
        read_sql_file(tmp_path / "missing.sql")
    latin = tmp_path / "latin.sql"
    latin.write_bytes("-- table: gold.größe".encode("latin-1"))
    with pytest.raises(DeclarationError, match="can't be read"):
        read_sql_file(latin)
