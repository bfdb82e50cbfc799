"""The planted defects: how many rows have each defect, and how many rows must survive the cleansing.

Every defective row has exactly one defect, so the counts add up: rows - defects = surviving rows. At the
default sizes 98,500 customers, 1,180,000 transactions and 44,000 tickets survive; at other sizes each
count is the same share of the rows, rounded.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

CUSTOMERS = 100_000
TRANSACTIONS_PER_CUSTOMER = 12
TICKETS_PER_CUSTOMER = 0.45

DEFECTS: Mapping[str, Mapping[str, float]] = {
    "customers": {
        "replayed": 0.004,  # the same row delivered twice
        "outdated": 0.002,  # an earlier version of a customer, with a smaller updated_at
        "email_missing": 0.004,
        "email_malformed": 0.005,
    },
    "transactions": {
        "replayed": 8_000 / 1_200_000,
        "outdated": 4_000 / 1_200_000,  # an amount that was corrected later
        "customer_missing": 2_500 / 1_200_000,
        "customer_unknown": 4_000 / 1_200_000,  # no customer of this id was ever delivered
        "customer_rejected": 1_000 / 1_200_000,  # the customer's own row does not survive
        "amount_unusable": 500 / 1_200_000,  # negative, or not a number
    },
    "tickets": {
        "replayed": 400 / 45_000,
        "customer_missing": 200 / 45_000,
        "customer_unknown": 250 / 45_000,
        "customer_rejected": 150 / 45_000,
    },
}
"""Share of the rows of each table that the cleansing must drop, by defect."""

CLEANABLE: Mapping[str, Mapping[str, float]] = {
    "customers": {"email_untidy": 0.06, "segment_missing": 0.03},
    "transactions": {"category_missing": 0.02},
    "tickets": {"category_missing": 0.04},
}
"""Share of the rows that arrive untidy; the cleansing must tidy them, not drop them."""


@dataclass(frozen=True)
class Planted:
    """The counts of one table.

    Attributes:
        rows: rows in the files.
        defects: rows to be dropped, by defect; no row has two defects.
        cleanable: surviving rows to be tidied, by what is untidy.
        surviving: rows after the cleansing.
    """

    rows: int
    defects: Mapping[str, int]
    cleanable: Mapping[str, int]
    surviving: int


def plant(table: str, rows: int) -> Planted:
    """Compute the counts for a number of rows of `customers`, `transactions` or `tickets`."""
    defects = {name: round(share * rows) for name, share in DEFECTS[table].items()}
    cleanable = {name: round(share * rows) for name, share in CLEANABLE[table].items()}
    return Planted(rows, defects, cleanable, rows - sum(defects.values()))


def read_planted(folder: Path) -> dict[str, Planted]:
    """Read the counts, by table, from the generator's `planted.json`."""
    counts = json.loads((folder / "planted.json").read_text(encoding="utf-8"))
    return {table: Planted(**planted) for table, planted in counts["tables"].items()}


def write_planted(folder: Path, seed: int, counts: Mapping[str, Planted]) -> Path:
    """Write the counts as `planted.json`."""
    path = folder / "planted.json"
    tables = {table: asdict(planted) for table, planted in counts.items()}
    path.write_text(json.dumps({"seed": seed, "tables": tables}, indent=2) + "\n", encoding="utf-8")
    return path
