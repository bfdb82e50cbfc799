"""Write the churn pipeline's input files, with planted defects whose numbers are known.

    python -m examples.retail.generate --out churn-data --customers 100000 --seed 7

It writes `customers/*.csv`, `transactions/*.csv.gz`, `tickets/*.jsonl` and `planted.json`. The same arguments give
byte-identical files.
"""

import argparse
import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from asgard.common.errors import UsageError
from examples.retail import planted
from examples.retail.planted import Planted
from examples.retail.synthetic import customer_rows, draw_population, ticket_rows, transaction_rows

ROWS_PER_FILE = 250_000
SMALLEST = 1_000
"""Fewest customers: with fewer, the number of some defects would round to zero."""


def generate(
    out: Path,
    *,
    customers: int = planted.CUSTOMERS,
    transactions: int | None = None,
    tickets: int | None = None,
    seed: int = 7,
) -> dict[str, Planted]:
    """Write the files of all three tables into `out`, which is created.

    Args:
        out: folder to write into; files of an earlier call are replaced.
        customers: rows of customers, at least 1,000.
        transactions: rows of transactions; None: 12 per customer.
        tickets: rows of tickets; None: 0.45 per customer.
        seed: seed of all random draws.

    Returns:
        The planted defects, by table; they are also written to `out/planted.json`.

    Raises:
        UsageError: fewer than 1,000 customers, or fewer rows than customers' share of defects needs.
    """
    if customers < SMALLEST:
        raise UsageError(f"{customers} customers are too few.", hint=f"Ask for {SMALLEST:,} or more.")
    rows = {
        "customers": customers,
        "transactions": customers * planted.TRANSACTIONS_PER_CUSTOMER if transactions is None else transactions,
        "tickets": round(customers * planted.TICKETS_PER_CUSTOMER) if tickets is None else tickets,
    }
    counts = {table: planted.plant(table, count) for table, count in rows.items()}
    streams = [np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(4)]
    population = draw_population(streams[0], counts["customers"])
    _write_csv(_folder(out / "customers") / "part-0000.csv", customer_rows(streams[1], counts["customers"], population))
    bought = transaction_rows(streams[2], counts["transactions"], population)
    folder = _folder(out / "transactions")
    for number, start in enumerate(range(0, bought.num_rows, ROWS_PER_FILE)):
        _write_csv(folder / f"part-{number:04d}.csv.gz", bought.slice(start, ROWS_PER_FILE))
    _write_json_lines(
        _folder(out / "tickets") / "part-0000.jsonl", ticket_rows(streams[3], counts["tickets"], population)
    )
    planted.write_planted(out, seed, counts)
    return counts


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.retail.generate", description=generate.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--customers", type=int, default=planted.CUSTOMERS)
    parser.add_argument("--transactions", type=int, help="default: 12 per customer")
    parser.add_argument("--tickets", type=int, help="default: 0.45 per customer")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args(argv)
    try:
        counts = generate(
            given.out,
            customers=given.customers,
            transactions=given.transactions,
            tickets=given.tickets,
            seed=given.seed,
        )
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    for table, count in counts.items():
        sys.stdout.write(f"{table}: {count.rows:,} rows, {count.surviving:,} of them survive the cleansing\n")
    return 0


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for old in path.glob("part-*"):
        old.unlink()
    return path


def _write_csv(path: Path, rows: pa.Table) -> None:
    with path.open("wb") as file:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as packed:
                csv.write_csv(rows, packed)
        else:
            csv.write_csv(rows, file)


def _write_json_lines(path: Path, rows: pa.Table) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows.to_pylist():
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    sys.exit(main())
