"""Files that are not what they are taken for: known by their first bytes, and never read as text of any encoding."""

import bz2
import gzip
import io
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import InputDataError
from asgard.common.settings import load_settings
from asgard.ingest.files import SourceFile, find_files
from asgard.ingest.formats import Format, TextOptions
from asgard.ingest.parquet import read_footers
from asgard.ingest.signatures import as_text, what_it_is, wide_encoding
from asgard.ingest.text import TextFile, survey

CSV = "id,note\n1,Müller\n2,x\n"
TABLE = pa.table({"id": [1, 2], "note": ["a", "b"]})


def source(path: Path) -> SourceFile:
    (found,) = find_files([str(path)], Format.CSV, load_settings({}, environment={}), lambda _line: None)
    return found.hashed()


def first(path: Path, encoding: str = "utf-8") -> tuple[str, ...]:
    return TextFile(source(path), Format.CSV, TextOptions(encoding=encoding)).first_record()


def zipped(names: list[str]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name in names:
            archive.writestr(name, CSV)
    return memory.getvalue()


def by_arrow(write: Callable[[pa.Table, io.BytesIO], object]) -> bytes:
    memory = io.BytesIO()
    write(TABLE, memory)
    return memory.getvalue()


def tar() -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        entry = tarfile.TarInfo("x.csv")
        entry.size = len(CSV.encode())
        archive.addfile(entry, io.BytesIO(CSV.encode()))
    return memory.getvalue()


def sqlite(folder: Path) -> bytes:
    (folder / "x.db").unlink(missing_ok=True)
    with sqlite3.connect(folder / "x.db") as database:
        database.execute("CREATE TABLE t (id int)")
    database.close()
    return (folder / "x.db").read_bytes()


FILES: dict[str, Callable[[Path], bytes]] = {
    "a zip archive": lambda _: zipped(["x.csv"]),
    "an Excel workbook or another Office file": lambda _: zipped(["[Content_Types].xml", "xl/workbook.xml"]),
    "a Parquet file": lambda _: by_arrow(pq.write_table),
    "an ORC file": lambda _: by_arrow(pyarrow.orc.write_table),
    "an Arrow (Feather) file": lambda _: by_arrow(pyarrow.feather.write_feather),
    "an Avro file": lambda _: b"Obj\x01\x04\x14avro.codec\x08null",
    "a SQLite database": sqlite,
    "a gzip inside a gzip": lambda _: gzip.compress(gzip.compress(CSV.encode())),
    "a bzip2 file": lambda _: bz2.compress(CSV.encode()),
    "an xz file": lambda _: lzma.compress(CSV.encode()),
    "a zstd file": lambda _: pa.compress(CSV.encode(), "zstd", asbytes=True),
    "an lz4 file": lambda _: pa.compress(CSV.encode(), "lz4", asbytes=True),
    "a 7z archive": lambda _: b"7z\xbc\xaf\x27\x1c\x00\x04",
    "a tar archive": lambda _: tar(),
    "a PDF document": lambda _: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "an HTML page": lambda _: b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>",
    "an XML document": lambda _: b"\xef\xbb\xbf<?xml version='1.0'?><rows/>",
    "a Python pickle": lambda _: pickle.dumps({"id": [1]}),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_is_no_text_is_known_whatever_its_name_and_encoding(tmp_path: Path, what: str) -> None:
    for name, data in (("x.csv", FILES[what](tmp_path)), ("x.csv.gz", gzip.compress(FILES[what](tmp_path)))):
        (tmp_path / name).write_bytes(data)
        for encoding in ("utf-8", "latin-1", "cp1252", "utf-16"):
            with pytest.raises(InputDataError) as caught:
                first(tmp_path / name, encoding)
            assert caught.value.message == f"{tmp_path}/{name} is not text: its first bytes are those of {what}."
            assert caught.value.hint
            assert "--encoding" not in caught.value.hint


WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


@pytest.mark.parametrize("mark", [True, False])
@pytest.mark.parametrize("written", WIDE)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252", "shift_jis", "utf-16", "utf-32", *WIDE])
def test_wide_text_is_read_as_it_was_written_or_refused(
    tmp_path: Path, written: str, encoding: str, mark: bool
) -> None:
    """No encoding gives garbage, and what the hint says gives the text."""
    path = tmp_path / "x.csv"
    path.write_bytes((("\ufeff" if mark else "") + CSV).encode(written))
    is_right = encoding == written or (encoding == written[:6] and mark)
    if not is_right:
        with pytest.raises(InputDataError, match=f"is not {encoding}: .* {written}\\.\n") as caught:
            first(path, encoding)
        encoding = (caught.value.hint or "").removeprefix("Say --encoding ").removesuffix(".")
    assert first(path, encoding) == ("id", "note")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_ascii_is_not_taken_for_wide_text(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x.csv").write_bytes(b"id,note\n1,abcdefg\n\n\n")
    with pytest.raises(InputDataError, match=f"is not {encoding}: its first bytes are ASCII"):
        first(tmp_path / "x.csv", encoding)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "gbk"])
def test_the_mark_of_utf_8_is_believed(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x.csv").write_bytes(CSV.encode("utf-8-sig"))
    with pytest.raises(InputDataError, match="its byte-order mark says utf-8") as caught:
        first(tmp_path / "x.csv", encoding)
    assert caught.value.hint == "Say --encoding utf-8."
    assert first(tmp_path / "x.csv", "utf-8") == first(tmp_path / "x.csv", "utf-8-sig") == ("id", "note")


def test_wide_text_without_a_mark_needs_its_order_of_bytes(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("\u4e2d\u6587".encode("utf-16-le"))
    with pytest.raises(InputDataError, match="is not utf-16: it does not start with a byte-order mark"):
        first(tmp_path / "x.csv", "utf-16")
    assert first(tmp_path / "x.csv", "utf-16-le") == ("\u4e2d\u6587",)


def test_text_without_a_mark_and_without_latin_letters_first(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("имя,цена\nжди,1\nшип,2\n".encode("utf-16-le"))
    with pytest.raises(InputDataError, match="is not utf-8: its first bytes say utf-16-le"):
        first(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ("id,note\n1,M\xfcller\n".encode("latin-1"), "Say its encoding, e.g. --encoding cp1252"),
        ("id,note\n1,M\xfcller\n".encode() + b"2,\xff\n", "the file is damaged, or several files were joined"),
        (b"id,\x00\x01\x02\xff\xfe\x9c\n", "It does not look like text"),
    ],
)
def test_what_is_hinted_at_a_wrong_byte(tmp_path: Path, data: bytes, hint: str) -> None:
    (tmp_path / "x.csv").write_bytes(data)
    with pytest.raises(InputDataError, match="is not utf-8: byte 0x") as caught:
        list(TextFile(source(tmp_path / "x.csv"), Format.CSV, TextOptions(), ("id", "note")).tables())
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("text", ['{"id": 1}\n{"id": 2}\n', '[{"id": 1}]', '\n [\n {"id": 1}\n]', '{ "a,b": 1}'])
def test_json_is_no_csv(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InputDataError, match=r"x\.csv is JSON, not csv\."):
        first(tmp_path / "x.csv")


@pytest.mark.parametrize(
    "text", ["id,note\n", "[id],x\n", "{id},x\n", "PK,x\n", "ORC\n1\n", "ORC,x\n", "BZh9,x\n", "<a>,b\n", ""]
)
def test_text_is_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    assert first(tmp_path / "x.csv") == tuple(text.partition("\n")[0].split(",") if text else ())


@given(data=st.text(st.characters(exclude_categories=["C"]), min_size=1), size=st.integers(1, 9))
def test_what_passes_is_not_changed(data: str, size: int) -> None:
    encoded = data.encode()
    pieces: Iterator[bytes] = (encoded[at : at + size] for at in range(0, len(encoded), size))
    if what_it_is(encoded) is None and wide_encoding(encoded) is None and not data.startswith("\ufeff"):
        assert b"".join(as_text(pieces, "utf-8", "x")) == encoded


class TestJsonLines:
    @pytest.mark.parametrize(
        "text", ['[{"id": 1}, {"id": 2}]', '[\n{"id": 1},\n{"id": 2}\n]\n', '\n  [{"id": 1},\n', "[]", "[\r\n{}\r\n]"]
    )
    def test_an_array_is_said_to_be_one(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "x.jsonl").write_text(text, newline="")
        with pytest.raises(InputDataError, match=r"x\.jsonl is one JSON array, not one object per line\.") as caught:
            survey(TextFile(source(tmp_path / "x.jsonl"), Format.JSONL, TextOptions()))
        assert caught.value.hint == "Say --format json, or name it .json."

    @pytest.mark.parametrize("text", ["id,note\n1,x\n", '{\n "id": 1\n}\n', "[1, 2]\n[3]\n"])
    def test_a_file_without_any_object_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "x.jsonl").write_text(text)
        with pytest.raises(InputDataError, match=r"none of its [23] lines is a JSON object"):
            survey(TextFile(source(tmp_path / "x.jsonl"), Format.JSONL, TextOptions()))

    def test_an_array_among_objects_is_one_record_that_can_not_be_taken_apart(self, tmp_path: Path) -> None:
        (tmp_path / "x.jsonl").write_text('[1, 2]\n{"id": 1}\n[{"id": 2}]\n')
        found = TextFile(source(tmp_path / "x.jsonl"), Format.JSONL, TextOptions())
        assert [type(record) for record in found.records()] == [str, dict, str]

    def test_a_carriage_return_inside_a_line_is_white_space(self, tmp_path: Path) -> None:
        (tmp_path / "x.jsonl").write_bytes(b'{"a":\r1}\r\n{"a": 2}\n')
        found = TextFile(source(tmp_path / "x.jsonl"), Format.JSONL, TextOptions())
        assert list(found.records()) == [{"a": "1"}, {"a": "2"}]
        (tmp_path / "x.jsonl").write_bytes(b'{"a": 1}\r{"a": 2}\r')
        found = TextFile(source(tmp_path / "x.jsonl"), Format.JSONL, TextOptions())
        assert list(found.records()) == [{"a": "1"}, {"a": "2"}]


@pytest.mark.parametrize(
    "head", [b"PAR1,PAR2\n1,2\n", b"FEA1,FEA2\n1,2\n", b"name".ljust(254, b"x") + b",mustard\n", b"ORCA,id\n"]
)
def test_text_that_begins_like_another_file_is_text(head: bytes) -> None:
    assert what_it_is(head) is None


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (CSV.encode(), "It looks like text: say its format, e.g. --format csv."),
        (zipped(["x.parquet"]), "Its first bytes are those of a zip archive. Unpack it first"),
        (b"PAR1 and then nothing", "Was it cut off"),
        (b"", "Was it cut off"),
    ],
)
def test_what_is_no_parquet_is_named(tmp_path: Path, data: bytes, hint: str) -> None:
    (tmp_path / "x.parquet").write_bytes(data)
    with pytest.raises(InputDataError, match=r"x\.parquet is not a readable Parquet file") as caught:
        read_footers([source(tmp_path / "x.parquet")])
    assert (caught.value.hint or "").startswith(hint)
