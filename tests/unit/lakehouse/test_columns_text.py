"""Reading `columns=` without Spark; tests/spark/lakehouse/test_columns_text.py compares with Spark's own parser."""

import pytest

from asgard.common.errors import DeclarationError
from asgard.lakehouse.declaring.columns_text import read_columns


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("id bigint", {"id": "bigint"}),
        ("id LONG, name String NOT NULL", {"id": "bigint", "name": "string"}),
        ("id: int, b: dec", {"id": "int", "b": "decimal(10,0)"}),
        ("id bigint, -- whose\n/* the\nsum */ total double -- in dollars", {"id": "bigint", "total": "double"}),
        ("a decimal(5, 2) COMMENT 'with, a comma', b numeric(3)", {"a": "decimal(5,2)", "b": "decimal(3,0)"}),
        ("`odd ``name` double", {"odd `name": "double"}),
        (
            "a array<struct<x: int, y: map<string, decimal(4,1)>>>",
            {"a": "array<struct<x:int,y:map<string,decimal(4,1)>>>"},
        ),
        ("a varchar(3), b char(2)\n", {"a": "varchar(3)", "b": "char(2)"}),
    ],
)
def test_read(text: str, columns: dict[str, str]) -> None:
    assert read_columns(text) == columns


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("id bigit", "column 'id' has the unknown type 'bigit'", "Did you mean bigint?"),
        ("id bigint, at timestap", "unknown type 'timestap'", "Did you mean timestamp?"),
        ("id", "column 'id' has no type", "id bigint, email string"),
        ("", "a column's name is expected", "id bigint"),
        ("id int,", "a column's name is expected", "id bigint"),
        ("id int name string", "'name' follows the type of 'id'", "id bigint"),
        ("id int, id string", "column 'id' occurs twice", "id bigint"),
        ("a decimal(50,2)", "decimal(50,2) is not possible", "38 digits"),
        ("a decimal(2,5)", "decimal(2,5) is not possible", "38 digits"),
        ("a decimal(x)", "takes whole numbers", ""),
        ("a array<int", "'>' is expected, not 'the end'", ""),
        ("a map<int>", "',' is expected, not '>'", ""),
        ("a varchar", "varchar takes 1", ""),
        ("a-b int", "is not understood", "backquotes"),
        ("a int not here", "not here is not understood", ""),
    ],
)
def test_refused(text: str, message: str, hint: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        read_columns(text)
    assert message in refused.value.message
    assert hint in refused.value.hint
