"""The generator: the counts that were promised, and the same bytes for the same seed."""

import csv
import gzip
import hashlib
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import UsageError
from examples.retail import generate as generator
from examples.retail.data import BAD_ROWS, bad_batch, export_journey
from examples.retail.generate import generate, main
from examples.retail.planted import DEFECTS, Planted, plant, read_planted
from examples.retail.synthetic import COUNTRIES, FIRST_DAY, ZONES, local_text, utc_text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generated")
    generate(out, customers=3_000, seed=5)
    return out


def rows(folder: Path) -> Iterator[dict[str, str]]:
    for path in sorted(folder.glob("part-*")):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        yield from csv.DictReader(io.StringIO(data.decode("utf-8")))


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_promised_rows_survive_at_the_default_sizes() -> None:
    assert plant("customers", 100_000).surviving == 98_500
    assert plant("transactions", 1_200_000).surviving == 1_180_000
    assert plant("tickets", 45_000).surviving == 44_000


@given(st.sampled_from(sorted(DEFECTS)), st.integers(1_000, 50_000_000))
def test_counts_add_up_at_any_size(table: str, size: int) -> None:
    planted = plant(table, size)
    assert planted.surviving + sum(planted.defects.values()) == size
    assert sum(planted.cleanable.values()) < planted.surviving


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again", customers=3_000, seed=5)
    generate(tmp_path / "other", customers=3_000, seed=6)
    first, again, other = (digests(path) for path in (folder, tmp_path / "again", tmp_path / "other"))
    assert first == again
    assert first.keys() == other.keys()
    assert not set(first.values()) & set(other.values())


def test_fewer_files_replace_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "ROWS_PER_FILE", 5_000)
    generate(tmp_path, customers=1_000, transactions=11_000)
    assert len(list((tmp_path / "transactions").iterdir())) == 3
    generate(tmp_path, customers=1_000, transactions=9_000)
    assert len(list((tmp_path / "transactions").iterdir())) == 2


def test_the_counts_are_left_beside_the_files(folder: Path) -> None:
    planted = read_planted(folder)
    assert planted == {table: plant(table, planted[table].rows) for table in ("customers", "transactions", "tickets")}
    assert json.loads((folder / "planted.json").read_text())["seed"] == 5
    assert isinstance(planted["tickets"], Planted)
    assert sum(1 for _ in rows(folder / "customers")) == planted["customers"].rows == 3_000
    assert sum(1 for _ in rows(folder / "transactions")) == planted["transactions"].rows == 36_000
    tickets = (folder / "tickets" / "part-0000.jsonl").read_text().splitlines()
    assert len(tickets) == planted["tickets"].rows == 1_350


def is_email(text: str) -> bool:
    """One @, no white space, nothing invisible, a dotted domain: without the pattern, which is Java's."""
    local, _, domain = text.partition("@")
    parts = domain.split(".")
    seen = not any(char.isspace() or unicodedata.category(char).startswith("C") for char in text)
    return seen and bool(local) and "@" not in domain and len(parts) > 1 and all(parts)


def test_malformed_emails_are_all_malformed_and_the_others_well_formed(folder: Path) -> None:
    emails = [row["email"].strip().lower() for row in rows(folder / "customers")]
    bad = [email for email in emails if email and not is_email(email)]
    planted = read_planted(folder)["customers"].defects
    assert (len(bad), emails.count("")) == (planted["email_malformed"], planted["email_missing"])
    assert len({re.sub(r"customer\d+", "x", email) for email in bad}) >= 6, "each way of being malformed is there"


def test_customers_repeat_and_differ(folder: Path) -> None:
    bought = Counter(row["customer_id"] for row in rows(folder / "transactions"))
    bought.pop("")
    most = sum(count for _, count in bought.most_common(len(bought) // 10))
    assert 0.2 < most / sum(bought.values()) < 0.6, "the most frequent tenth buys more than its share, not all"
    months = Counter(row["transaction_at"][5:7] for row in rows(folder / "transactions"))
    assert months["12"] > 1.3 * months["06"], "Christmas"


def test_times_carry_the_offset_of_their_place_through_the_year() -> None:
    start = FIRST_DAY.astype(datetime).replace(tzinfo=UTC)
    for country, zone in enumerate(ZONES):
        seconds = np.arange(-40 * 86_400, 366 * 86_400, 1_817, dtype=np.int64)
        texts = local_text(seconds, np.full(len(seconds), country)).to_pylist()
        place = ZoneInfo(zone)
        expected = [(start + timedelta(seconds=int(s))).astimezone(place).isoformat() for s in seconds]
        assert texts == expected, COUNTRIES[country]
    assert utc_text(np.array([-1, 0], dtype=np.int64)).to_pylist() == ["2023-12-31T23:59:59Z", "2024-01-01T00:00:00Z"]


def test_too_few_customers_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="999 customers are too few"):
        generate(tmp_path, customers=999)
    assert main(["--out", str(tmp_path), "--customers", "10"]) == 2
    assert "hint: Ask for 1,000 or more." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--out", str(tmp_path / "made"), "--customers", "1000", "--transactions", "2000", "--tickets", "500"]
    assert main(arguments) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "customers: 1,000 rows, 985 of them survive the cleansing"
    assert [line.split(" rows")[0] for line in said] == ["customers: 1,000", "transactions: 2,000", "tickets: 500"]


def test_the_real_files_are_there(tmp_path: Path) -> None:
    files = export_journey(tmp_path)
    assert set(files) == {"bronze.transactions", "bronze.products", "bronze.demographics", "bronze.erasures"}
    assert all(path.is_file() for path in files.values())
    with files["bronze.products"].open(encoding="utf-8") as products:
        assert sum(1 for _ in csv.DictReader(products)) == 92_331


def test_the_bad_batch_is_small_and_always_the_same(tmp_path: Path) -> None:
    path = bad_batch(tmp_path)
    first = path.read_bytes()
    assert bad_batch(tmp_path).read_bytes() == first
    with path.open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == sum(BAD_ROWS.values()) + 5
    assert sum(line["household_id"] == "" for line in lines) == BAD_ROWS["household_id is missing"]
