"""CSV and TSV: what is written by the rules comes back, and what is not by the rules keeps its text."""

import itertools
import re
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from asgard.common.errors import InputDataError
from asgard.ingest import delimited
from asgard.ingest.delimited import Grammar, Parser

Rows = list[tuple[str | None, ...]]

COMMA = Grammar(",", '"')
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['"', '""', ",", "\n", "\r\n", "\r", "a,b", ' "x" ', "null", "\ufeff", "\x00", "ü", "😀", " "]
)


def parse(text: str | Sequence[str], columns: int = 2, grammar: Grammar = COMMA, nulls: Sequence[str] = ("",)) -> Rows:
    """The records; a malformed one is a tuple of its text alone."""
    parser = Parser([text] if isinstance(text, str) else text, grammar, "x.csv")
    found: Rows = []
    for batch in parser.batches(columns, nulls):
        for row in batch.to_pylist():
            *values, corrupt = row.values()
            found.append(tuple(values) if corrupt is None else (corrupt,))
    return found


def written(rows: Sequence[Sequence[str | None]], delimiter: str, end: str) -> str:
    def field(value: str | None) -> str:
        if value is None:
            return ""
        plain = value and not value.startswith('"') and not re.search(f"[{re.escape(delimiter)}\r\n]", value)
        return value if plain else '"' + value.replace('"', '""') + '"'

    return "".join(delimiter.join(map(field, row)) + end for row in rows)


def pieces(text: str, cuts: Sequence[int]) -> Iterator[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    yield from (text[start:end] for start, end in itertools.pairwise(places))


@settings(max_examples=examples(300), deadline=None)
@given(
    rows=st.lists(st.tuples(*[st.none() | TEXT] * 3), max_size=6),
    delimiter=st.sampled_from([",", "\t", ";", "|", "^", "]"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    last_end=st.booleans(),
    cuts=st.lists(st.integers(0, 1000), max_size=5),
    block=st.sampled_from([1, 7, 1000]),
)
def test_any_text_survives_a_round_trip(
    rows: Rows, delimiter: str, end: str, last_end: bool, cuts: list[int], block: int
) -> None:
    text = written(rows, delimiter, end)
    if not last_end and not (rows and rows[-1][-1] is None):
        text = text.removesuffix(end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "BLOCK", block)
        assert parse(list(pieces(text, cuts)), 3, Grammar(delimiter, '"')) == rows


@settings(max_examples=examples(200), deadline=None)
@example(text="aaaaa\r\r\naa", cuts=[711], block=1)
@example(text='\r"\na\ra', cuts=[], block=1)
@given(
    text=st.text(st.sampled_from('ab",\r\n '), max_size=40),
    cuts=st.lists(st.integers(0, 1000), max_size=5),
    block=st.sampled_from([1, 5]),
)
def test_how_a_text_is_cut_into_pieces_makes_no_difference(text: str, cuts: list[int], block: int) -> None:
    def outcome(given: Sequence[str]) -> object:
        try:
            return parse(given)
        except InputDataError as error:
            return error.message

    whole = outcome([text])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "BLOCK", block)
        assert outcome(list(pieces(text, cuts))) == whole


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("1,2\n", [("1", "2")]),
        ("1,2", [("1", "2")]),
        ("1,2\r\n3,4\r\n5,6\n", [("1", "2"), ("3", "4"), ("5", "6")]),
        ("1,2\r3,4\r\n5,6", [("1", "2"), ("3", "4"), ("5", "6")]),
        ("1,2\r\r\n3,4\r\r\n", [("1", "2"), ("3", "4")]),  # written through two layers that translate LF
        # a CR by itself, where lines end with LF: one record or two?
        ("1,2\n3,4\r5,6\n7,8", [("1", "2"), ("3,4\r5,6",), ("7", "8")]),
        ("1,2\r\n3\r,4\r\n", [("1", "2"), ("3\r,4",)]),
        ('1,2\n"3"\r,4\n\r5,6\n', [("1", "2"), ('"3"\r,4',), ("\r5,6",)]),
        ('1,2\n"3\r",4\n', [("1", "2"), ("3\r", "4")]),
        ("1,2\r3\n,4\r5,6", [("1", "2"), ("3\n,4",), ("5", "6")]),  # and the other way round
        ('"a""b",c', [('a"b', "c")]),
        ('"x\r\ny",z', [("x\r\ny", "z")]),
        ('5" pipe,7"', [('5" pipe', '7"')]),
        ("\n1,2\n\n\n3,4\n\n", [("1", "2"), ("3", "4")]),
        (" a , b ", [(" a ", " b ")]),
        ('"",', [("", None)]),
        ("", []),
        ("\n", []),
        # malformed: the text is kept, and what follows is read
        ("1\n3,4", [("1",), ("3", "4")]),
        ("1,2,3\n3,4", [("1,2,3",), ("3", "4")]),
        ('"a"b,c\n3,4', [('"a"b,c',), ("3", "4")]),
        ('x,"a\nb"c\n3,4', [('x,"a\nb"c',), ("3", "4")]),
        ('1,2\n"a,b"\n3,4', [("1", "2"), ('"a,b"',), ("3", "4")]),
    ],
)
def test_records(text: str, rows: Rows) -> None:
    assert parse(text) == rows


def test_one_column() -> None:
    assert parse('1\n\n""\n2\n', columns=1) == [("1",), ("",), ("2",)]


def test_without_quotes_a_quote_is_a_letter() -> None:
    assert parse('"a,b"\n', grammar=Grammar(",", "")) == [('"a', 'b"')]


def test_null_texts_count_only_without_quotes() -> None:
    assert parse('NA,"NA"\n,""\n', nulls=("NA",)) == [(None, "NA"), ("", "")]


@pytest.mark.parametrize("text", ['1,2\n"a,b\n3,4\n', '"', '1,"x""'])
def test_a_quote_that_never_closes_is_an_error_with_its_place(text: str) -> None:
    with pytest.raises(InputDataError, match=r"x\.csv: record \d opens a quote that never closes"):
        parse(text)


def test_a_record_without_an_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "MAX_RECORD", 100)
    monkeypatch.setattr(delimited, "BLOCK", 50)
    with pytest.raises(InputDataError, match="does not end within 100 characters"):
        parse(["1,2\n", *['"aaaaaaaaa'] * 30, '"\n'])


def test_the_first_record_is_taken_off() -> None:
    parser = Parser(['\n"a\nb",', 'c"d\n1,2\n'], COMMA, "x.csv")
    assert parser.first() == ["a\nb", 'c"d']
    assert [batch.to_pylist() for batch in parser.batches(2)] == [[{"0": "1", "1": "2", "_corrupt": None}]]


def test_a_file_without_records_has_no_first() -> None:
    assert Parser([], COMMA, "x.csv").first() == []
    assert Parser(["\r\n", "\n"], COMMA, "x.csv").first() == []


@pytest.mark.parametrize("text", ['"a"b,c\n', '"a'])
def test_a_malformed_first_record_is_an_error(text: str) -> None:
    with pytest.raises(InputDataError, match=r"x\.csv"):
        Parser([text], COMMA, "x.csv").first()
