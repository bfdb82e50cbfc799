"""JSON: values keep their text, broken lines are kept, and what is no JSON says where."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from asgard.common.errors import InputDataError
from asgard.ingest import json_text
from asgard.ingest.json_text import Literal, as_table, in_batches, json_lines, json_values, keys_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=4), max_size=5)


def lines(*texts: str) -> list[Any]:
    return list(json_lines(texts, "x.jsonl"))


def values(*texts: str) -> list[Any]:
    return list(json_values(texts, "x.json"))


def expected(value: Any, text: str | None) -> None:
    """`text` says what `value` is."""
    if value is None or isinstance(value, str):
        assert text == value
    else:
        assert text is not None
        assert json.loads(text) == value


@settings(max_examples=examples(150), deadline=None)
@given(objects=OBJECTS, cut=st.integers(1, 9), indent=st.sampled_from([None, 2]))
def test_arrays_and_lines_come_back(objects: list[dict[str, Any]], cut: int, indent: int | None) -> None:
    array = json.dumps(objects, indent=indent)
    rows = "".join(json.dumps(each, ensure_ascii=False) + "\r\n" for each in objects)
    sequence = "\n".join(json.dumps(each, indent=indent) for each in objects)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_text, "BLOCK", 3)
        found = [
            values(*(array[at : at + cut] for at in range(0, len(array), cut))),
            values(*(sequence[at : at + cut] for at in range(0, len(sequence), cut))),
            lines(*(rows[at : at + cut] for at in range(0, len(rows), cut))),
        ]
    for records in found:
        assert [set(record) for record in records] == [set(each) for each in objects]
        for record, each in zip(records, objects, strict=True):
            for key, value in each.items():
                expected(value, record[key])


def test_numbers_keep_their_digits() -> None:
    text = '{"a": 1.10, "b": 12345678901234567890123, "c": 1e400, "d": [0.10, {"e": -0}], "f": NaN}'
    assert lines(text) == [
        {"a": "1.10", "b": "12345678901234567890123", "c": "1e400", "d": '[0.10,{"e":-0}]', "f": "NaN"}
    ]
    assert Decimal(lines('{"a": 0.1000000000000000055511151231257827}')[0]["a"]) != Decimal("0.1")


def test_broken_lines_are_kept() -> None:
    broken = ['{"a": 1', "[1, 2]", "3", '{"a": 1, "a": 2}', '{"a": 1} x', '"text"', "{'a': 1}", "[" * 100_000]
    assert lines("\n".join(['{"a": 1}', *broken, "", "  ", '{"a": 2}'])) == [{"a": "1"}, *broken, {"a": "2"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1}', "the array does not end"),
        ('[{"a": 1} {"b": 2}]', "',' is missing, at character 11"),
        ('[{"a": 1},]', "expecting value, at character 11"),
        ('[{"a": 1}] 7', "text follows the array"),
        ('{"a": 1', "at character 8"),
        ('{"a": 1, "a": 2}', "the same key twice"),
        ("id,name", "expecting value, at character 1"),
    ],
)
def test_what_is_no_json_says_where(text: str, message: str) -> None:
    with pytest.raises(InputDataError, match=message):
        values(text)


def test_a_line_without_an_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "MAX_RECORD", 100)
    with pytest.raises(InputDataError, match=r"x\.jsonl: line 2 does not end within 100 characters"):
        lines('{"a": 1}\n', *['{"aaaaaaaa'] * 30)


def test_the_place_counts_from_the_start_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "BLOCK", 4)
    with pytest.raises(InputDataError, match="at character 22"):
        values(*'[{"a": 1}, {"b": 2}, x]')


@pytest.mark.parametrize("text", ["", "  \n", "[]", " [ ] "])
def test_files_without_records(text: str) -> None:
    assert values(text) == []


def test_halves_of_letters_are_kept_as_they_were_written() -> None:
    broken = ['{"a": "\\ud800"}', '{"\\udfff": 1}', '{"a": ["\\ud800x"]}']
    assert lines("\n".join([*broken, '{"a": "\\ud83d\\ude00 \\u00fc"}'])) == [*broken, {"a": "😀 ü"}]
    assert values('[{"a": "\\ud800"}]') == ['{"a": "\\ud800"}']


def test_what_was_no_string_is_told_from_what_was() -> None:
    (found,) = lines('{"s": "12", "n": 12, "t": true, "o": {"a": 1}, "z": null}')
    assert {key: isinstance(value, Literal) for key, value in found.items() if value is not None} == {
        "s": False, "n": True, "t": True, "o": True
    }  # fmt: skip


def test_tables_have_a_column_for_each_key() -> None:
    records = lines('{"a": 1}\n{"b": null, "c": "x"}\nbroken')
    assert keys_of(records) == ("a", "b", "c")
    assert as_table(records, ("c", "a")).to_pylist() == [
        {"0": None, "1": "1", "_corrupt": None},
        {"0": "x", "1": None, "_corrupt": None},
        {"0": None, "1": None, "_corrupt": "broken"},
    ]


def test_batches_keep_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "_BATCH", 2)
    found: list[Sequence[Any]] = list(in_batches(["a", "b", "c"]))
    assert found == [["a", "b"], ["c"]]
