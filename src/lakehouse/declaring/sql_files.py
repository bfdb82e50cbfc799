"""Tables declared as `.sql` files: a header of properties in comments, then one query.

```sql
-- table: gold.sales_by_department
-- input sales: silver.transactions_cleaned
-- input products: silver.products_cleaned
-- interval: monthly(sold_at, lookback=1)
-- keys: department, sold_at
-- owner: data-team
-- rename dept: department
-- property write.distribution-mode: hash
-- check: not_null(department)
-- check: between(sales, 0, None)
-- check: freshness(sold_at, timedelta(days=2))
SELECT ... FROM sales JOIN products USING (product_id)
WHERE sold_at >= :start AND sold_at < :end
```

Each input is a temporary view with the name of its parameter. `:start` and `:end` are the interval's bounds, passed as
timestamp parameters, never pasted into the text. Checks are calls of the functions in `asgard.validation.checks` with
literal arguments (a `timedelta(...)` counts as one); a trailing `.warn()`, `.named('...')` or `.over('table')` works as
in Python.
"""

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from asgard.common.arguments import split_list
from asgard.common.errors import DeclarationError, RunError
from asgard.common.spark_utils import first_line
from asgard.lakehouse.declaring.declaration import Daily, Hourly, Monthly, Properties, Weekly, Yearly
from asgard.lakehouse.declaring.intervals import Cadence, TimeRange

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from asgard.validation.checks import Check

_LINE = re.compile(r"--\s*(?:(input|rename|property)\s+)?([\w.-]+):\s*(.+?)\s*$")
_MAPS = {"input": "inputs", "rename": "renames", "property": "properties"}
_LISTS = ("keys", "partitioned_by", "tags", "consumers")
_TEXTS = (
    "mode",
    "contract",
    "columns",
    "on_empty",
    "restate",
    "start",
    "end",
    "owner",
    "description",
    "update_frequency",
    "retention",
)
_CHECKS = (
    "accepted_values",
    "between",
    "expression",
    "freshness",
    "length",
    "matches",
    "mean_between",
    "not_null",
    "null_rate",
    "quantile_between",
    "references",
    "row_count",
    "unique",
)
_CADENCES = {"hourly": Hourly, "daily": Daily, "weekly": Weekly, "monthly": Monthly, "yearly": Yearly}


@dataclass(frozen=True)
class SqlTable:
    """What one `.sql` file declares."""

    name: str
    function: "Callable[..., DataFrame]"
    properties: Properties
    checks: "tuple[Check, ...]"


def read_sql_file(path: Path) -> SqlTable:
    """Read a table's declaration and query.

    Raises:
        DeclarationError: the file can't be read, names no table or no input, has no query, or has a line that is
            not understood.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(
            f"{path} can't be read: {error}", hint="Check the path; the file must be UTF-8."
        ) from error
    header, query = _split(text)
    name = ""
    properties: dict[str, Any] = {"inputs": {}}
    checks: list[Check] = []
    for number, line in header:
        match = _LINE.fullmatch(line)
        if match is None:
            raise _refuse(path, number, line, "Write `-- property: value`; put plain comments inside the query.")
        kind, key, value = match.groups()
        if kind:
            properties.setdefault(_MAPS[kind], {})[key] = value
        elif key == "table":
            name = value
        elif key == "check":
            checks.append(parse_check(value, f"{path}, line {number}"))
        elif key == "interval":
            properties["interval"] = _cadence(path, number, value)
        elif key in _LISTS:
            properties[key] = tuple(split_list(value))
        elif key in _TEXTS:
            properties[key] = value
        else:
            known = ", ".join(("table", *(f"{kind} NAME" for kind in _MAPS), "interval", "check", *_LISTS, *_TEXTS))
            raise _refuse(path, number, line, f"Known properties: {known}.")
    if not name:
        raise DeclarationError(f"{path} names no table.", hint="Its first line should be `-- table: layer.name`.")
    if not properties["inputs"]:
        raise DeclarationError(f"{path} names no input.", hint="Write `-- input orders: silver.orders_cleaned`.")
    if not query:
        raise DeclarationError(f"{path} has no query.", hint="Write a SELECT after the header.")
    function = _query_function(path, query, tuple(properties["inputs"]), uses_interval="interval" in properties)
    return SqlTable(name, function, cast(Properties, properties), tuple(checks))


def _split(text: str) -> tuple[list[tuple[int, str]], str]:
    lines = text.splitlines()
    header: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("--"):
            above = "\n" * (number - 1)  # so that Spark's line numbers are those of the file
            return header, above + "\n".join(lines[number - 1 :]).rstrip().rstrip(";")
        if line.strip().strip("-").strip():
            header.append((number, line.strip()))
    return header, ""


def _query_function(
    path: Path, query: str, inputs: tuple[str, ...], *, uses_interval: bool
) -> "Callable[..., DataFrame]":
    import inspect

    def compute(**given: Any) -> "DataFrame":
        from pyspark.errors import PySparkException

        interval: TimeRange | None = given.pop("interval", None)
        frames: dict[str, DataFrame] = given
        spark = next(iter(frames.values())).sparkSession
        for parameter, frame in frames.items():
            frame.createOrReplaceTempView(parameter)
        arguments = {"start": interval.start, "end": interval.end} if interval else {}
        try:
            return spark.sql(query, args=arguments)
        except PySparkException as error:
            place = re.search(r"line (\d+),? pos(?:ition)? (\d+)", str(error))
            at = f", line {place[1]}" if place else ""
            raise RunError(
                f"The query of {path}{at} failed: {first_line(error)}",
                hint="Correct that line, or the inputs above it.",
            ) from error

    parameters = (*inputs, "interval") if uses_interval else inputs
    kind = inspect.Parameter.KEYWORD_ONLY
    compute.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in parameters])  # type: ignore[attr-defined]
    compute.__doc__ = None
    compute.asgard_sql = query  # type: ignore[attr-defined]
    return compute


def _cadence(path: Path, number: int, text: str) -> Cadence:
    match = re.fullmatch(r"(\w+)\((\w+)(?:,\s*lookback\s*=\s*(\d+))?\)", text)
    if match is None or match[1] not in _CADENCES:
        raise _refuse(path, number, text, "Write e.g. `daily(sold_at)` or `monthly(sold_at, lookback=1)`.")
    return _CADENCES[match[1]](match[2], lookback=int(match[3] or 0))


def parse_check(text: str, where: str = "check") -> "Check":
    """Read a check as it is written in Python, e.g. `not_null(email).warn()`; no other code is run.

    Args:
        text: a call of a function of `asgard.validation.checks` with literal arguments.
        where: the place of the check, for the message.

    Raises:
        DeclarationError: the text is not such a call, or the check's own arguments are wrong.
    """
    from asgard.validation import checks

    def build(node: ast.expr) -> Any:
        if not isinstance(node, ast.Call):
            raise ValueError
        arguments, named = _arguments(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("warn", "named", "over"):
            return getattr(build(node.func.value), node.func.attr)(*arguments, **named)
        if isinstance(node.func, ast.Name) and node.func.id in _CHECKS:
            return getattr(checks, node.func.id)(*arguments, **named)
        raise ValueError

    try:
        made = build(ast.parse(text, mode="eval").body)
    except DeclarationError as error:
        raise type(error)(f"{where}: {text!r} is not a check: {error.message}", hint=error.hint) from error
    except (SyntaxError, ValueError, TypeError, OverflowError) as error:
        raise DeclarationError(
            f"{where}: {text!r} is not a check.", hint=f"Write e.g. not_null(email), one of {', '.join(_CHECKS)}."
        ) from error
    return cast("Check", made)


def _arguments(call: ast.Call) -> tuple[list[Any], dict[str, Any]]:
    named = {keyword.arg: _literal(keyword.value) for keyword in call.keywords if keyword.arg}
    return [_literal(argument) for argument in call.args], named


def _literal(node: ast.expr) -> Any:
    """The value of a literal, of a bare word (a column name), or of a `timedelta(...)`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "timedelta":
        arguments, named = _arguments(node)
        return timedelta(*arguments, **named)
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def _refuse(path: Path, number: int, line: str, hint: str) -> DeclarationError:
    return DeclarationError(f"{path}, line {number}: {line!r} is not understood.", hint=hint)
