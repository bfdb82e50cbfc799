"""Keys and labels in CSV: any table that Python's csv module writes comes back as its own reader has it."""

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from asgard.common.errors import UsageError
from asgard.features.joins.labels import typed_texts
from asgard.ingest.files import local_file
from asgard.ingest.formats import Format
from asgard.ingest.small_files import SmallFile

FIELDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8) | st.sampled_from(
    ['"', '""', ",", "\n", "\r\n", "\r", "a,b", ' "x" ', "null", "007", "1.5", "2024-01-31", "\u00fc", "\ufeff", " "]
)


@settings(max_examples=examples(60), deadline=None)
@given(
    rows=st.lists(st.tuples(FIELDS, FIELDS, FIELDS), max_size=6),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig"]),
    zipped=st.booleans(),
    kind=st.sampled_from([Format.CSV, Format.TSV]),
)
def test_what_pythons_csv_module_writes(
    tmp_path_factory: pytest.TempPathFactory,
    rows: Sequence[tuple[str, ...]],
    end: str,
    quoting: int,
    encoding: str,
    zipped: bool,
    kind: Format,
) -> None:
    # Python does not quote a carriage return where lines end with a line feed: such a record is refused, in words.
    assume(quoting != csv.QUOTE_MINIMAL or end == "\r\n" or not any("\r" in field for row in rows for field in row))
    text = io.StringIO()
    delimiter = "\t" if kind is Format.TSV else ","
    header = ("key", "other", "last")
    csv.writer(text, quoting=quoting, delimiter=delimiter, lineterminator=end).writerows([header, *rows])
    data = text.getvalue().encode(encoding)
    path = tmp_path_factory.mktemp("small") / f"x.{kind}"
    path.write_bytes(gzip.compress(data) if zipped else data)
    with io.StringIO(text.getvalue(), newline="") as again:
        expected = list(csv.reader(again, delimiter=delimiter))[1:]

    found = SmallFile.open(local_file(str(path)), kind, "x")
    assert found.columns == header
    read = [list(row.values()) for table in found.tables() for row in table.to_pylist()]
    assert [[value or "" for value in row] for row in read] == expected

    with duckdb.connect() as connection:  # and as labels, all of them as texts
        source = typed_texts(connection, SmallFile.open(local_file(str(path)), kind, "x"), header)
        labels = connection.execute(f"SELECT * FROM {source}").fetchall()
    assert [[value or "" for value in row] for row in labels] == expected


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["1", " 2 ", "", '"  "'], "BIGINT"),
        (["0.5", "1e3", "nan"], "DOUBLE"),
        (["0.12345678901234567890", "1"], "DOUBLE"),  # not all of its digits, but a number that models learn from
        (["9223372036854775808", "1.5"], "VARCHAR"),  # an id rather
        (["007", "1"], "VARCHAR"),
        (["true", "False"], "BOOLEAN"),
        (["2024-01-31"], "DATE"),
        (["2024-01-31 10:00", "2024-01-31"], "TIMESTAMP"),
        (["2024-01-31T10:00:00+02:00", "2024-01-31T10:00:00Z"], "TIMESTAMP WITH TIME ZONE"),
        (["x", "1"], "VARCHAR"),
        (["", ""], "VARCHAR"),
    ],
)
def test_types_of_labels(tmp_path: Path, texts: list[str], kind: str) -> None:
    (tmp_path / "x.csv").write_text("a,b\n" + "".join(f"{text},x\n" for text in texts))
    with duckdb.connect() as connection:
        source = typed_texts(connection, SmallFile.open(local_file(str(tmp_path / "x.csv")), Format.CSV, "x.csv"), ())
        found = connection.sql(f"SELECT a FROM {source}")
        assert list(map(str, found.types)) == [kind]
        assert len(found.fetchall()) == len(texts)


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a, a \n1,2\n")
    with pytest.raises(UsageError, match=r"x\.csv names a twice"):
        SmallFile.open(local_file(str(tmp_path / "x.csv")), Format.CSV, "x.csv")


def test_columns_without_a_name_have_one_and_letter_case_does_not_tell_two_apart(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(",id,\n0,7,x\n")
    file = SmallFile.open(local_file(str(tmp_path / "x.csv")), Format.CSV, "x")
    assert file.columns == ("column_1", "id", "column_3")
    with duckdb.connect() as connection:
        rows = connection.execute(f"SELECT * FROM {typed_texts(connection, file, ())}").fetchall()
    assert rows == [(0, 7, "x")]
    (tmp_path / "y.csv").write_text("id,ID\n1,2\n")
    with pytest.raises(UsageError, match="names ID, id twice"):
        SmallFile.open(local_file(str(tmp_path / "y.csv")), Format.CSV, "y")
