"""From bytes to text: gzip in every state of repair, encodings with the place of a wrong byte, changed files."""

import gzip
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import InputDataError, UsageError
from asgard.common.settings import load_settings
from asgard.ingest.files import SourceFile, find_files
from asgard.ingest.formats import Format, TextOptions, format_of
from asgard.ingest.streams import decoded, texts, unzipped


def source(path: Path) -> SourceFile:
    (found,) = find_files([str(path)], Format.CSV, load_settings({}, environment={}), lambda _line: None)
    return found.hashed()


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def unzip(pieces: Iterable[bytes], name: str = "x.csv.gz") -> bytes:
    return b"".join(unzipped(pieces, name))


class TestGzip:
    @given(parts=st.lists(st.binary(max_size=50), min_size=1, max_size=3), size=st.integers(1, 60))
    def test_members_and_pieces(self, parts: list[bytes], size: int) -> None:
        assert unzip(cut(b"".join(map(gzip.compress, parts)), size)) == b"".join(parts)

    @given(data=st.binary(max_size=50).filter(lambda data: data[:2] != b"\x1f\x8b"), size=st.integers(1, 60))
    def test_what_is_no_gzip_passes(self, data: bytes, size: int) -> None:
        assert unzip(cut(data, size), "x.csv") == data

    def test_a_gzip_is_known_by_its_content(self) -> None:
        assert unzip([gzip.compress(b"a,b\n")], "x.csv") == b"a,b\n"

    def test_zeros_behind_it_are_padding(self) -> None:
        assert unzip([gzip.compress(b"a"), b"\0" * 100]) == b"a"

    def test_a_bomb_comes_in_pieces(self) -> None:
        sizes = [len(piece) for piece in unzipped([gzip.compress(bytes(50 << 20))], "x.csv.gz")]
        assert sum(sizes) == 50 << 20
        assert max(sizes) <= 1 << 20

    @pytest.mark.parametrize("missing", [1, 4, 8, 9, 20])
    def test_a_truncated_one(self, missing: int) -> None:
        whole = gzip.compress(os.urandom(1000))
        with pytest.raises(InputDataError, match=r"x\.csv\.gz is a truncated gzip"):
            unzip(cut(whole[:-missing], 100))

    def test_a_damaged_one(self) -> None:
        whole = bytearray(gzip.compress(os.urandom(1000)))
        whole[-6] ^= 1
        with pytest.raises(InputDataError, match=r"x\.csv\.gz is a damaged gzip"):
            unzip([bytes(whole)])

    def test_a_wrong_name(self) -> None:
        with pytest.raises(InputDataError, match=r"is named \.gz, but it is not a gzip"):
            unzip([b"a,b\n"])


class TestEncodings:
    @given(
        text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff")),
        encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]),
        size=st.integers(1, 20),
    )
    def test_text_comes_back_without_a_byte_order_mark(self, text: str, encoding: str, size: int) -> None:
        data = text.encode(encoding)
        assert "".join(decoded(cut(data, size), encoding.removesuffix("-sig"), "x.csv")) == text

    @given(before=st.text(st.characters(exclude_categories=["Cs"])), size=st.integers(1, 20))
    def test_a_wrong_byte_has_its_place(self, before: str, size: int) -> None:
        good = before.encode()
        with pytest.raises(InputDataError, match=f"byte 0xff at offset {len(good)} "):
            list(decoded(cut(good + b"\xff,b\n", size), "utf-8", "x.csv"))

    def test_a_letter_that_is_cut_off_at_the_end(self) -> None:
        with pytest.raises(InputDataError, match="byte 0xc3 at offset 3 "):
            list(decoded([b"abc", b"\xc3"], "utf-8", "x.csv"))

    def test_latin_1(self) -> None:
        assert "".join(decoded([b"M\xfcller"], "latin-1", "x.csv")) == "Müller"


class TestChanges:
    def test_the_text_of_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        path.write_bytes("\ufeffü,b\r\n".encode())
        assert "".join(texts(source(path), "utf-8")) == "ü,b\r\n"

    @pytest.mark.parametrize("after", [b"a,c\n", b"a,b\n1,2\n", b"", b"\xff"])
    def test_a_file_that_changed_since_it_was_hashed(self, tmp_path: Path, after: bytes) -> None:
        path = tmp_path / "x.csv"
        path.write_bytes(b"a,b\n")
        found = source(path)
        path.write_bytes(after)
        with pytest.raises(InputDataError, match=r"x\.csv changed while it was being ingested"):
            list(texts(found, "utf-8"))

    def test_one_that_is_put_back_in_time_is_told_by_its_content(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        path.write_bytes(b"a,b\n")
        found, stat = source(path), path.stat()
        path.write_bytes(b"a,c\n")
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        with pytest.raises(InputDataError, match="changed"):
            found.require_unchanged()

    def test_one_that_is_the_same_is_fine(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        path.write_bytes(b"a,b\n")
        found = source(path)
        found.require_unchanged()
        assert found.digest == hashlib.sha256(b"a,b\n").hexdigest()

    def test_one_that_is_gone(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        path.write_bytes(b"a,b\n")
        found = source(path)
        path.unlink()
        for look in (found.require_unchanged, found.hashed, lambda: list(texts(found, "utf-8"))):
            with pytest.raises(InputDataError, match=r"x\.csv can't be read: No such file"):
                look()


class TestFormats:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("a/b.csv", Format.CSV),
            ("B.CSV.GZ", Format.CSV),
            ("b.tsv", Format.TSV),
            ("b.json", Format.JSON),
            ("b.ndjson.gz", Format.JSONL),
            ("b.parquet", Format.PARQUET),
            ("csv", None),
            ("b.txt", None),
            ("b.gz", None),
        ],
    )
    def test_the_name_says_it(self, name: str, kind: Format | None) -> None:
        assert format_of(name) is kind

    @pytest.mark.parametrize("options", [{"delimiter": ";;"}, {"delimiter": "\n"}, {"delimiter": ""}, {"quote": "''"},
                                         {"delimiter": "ü"}, {"delimiter": '"'}, {"encoding": "klingon"}])  # fmt: skip
    def test_options_that_can_not_be(self, options: dict[str, str]) -> None:
        with pytest.raises(UsageError):
            TextOptions(**options)  # type: ignore[arg-type]

    def test_no_quotes_at_all(self) -> None:
        assert TextOptions(quote="").delimiter_of(Format.TSV) == "\t"
