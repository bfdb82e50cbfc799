"""Fault 50: rows that are not what a model was trained on are refused by their types alone; what breaks callers."""

import pytest
from tests.support.models import signature

from asgard.common.errors import DeclarationError, UsageError
from asgard.model.artifacts.signature import Column, Signature, breaks

GIVEN = {"age": "double", "spent": "double", "visits": "bigint", "member": "boolean", "name": "string"}


class TestRequiredColumns:
    def test_the_same_columns_in_any_order_and_more_are_taken(self) -> None:
        signature().require_columns(dict(reversed(GIVEN.items())))

    def test_every_missing_and_every_retyped_column_is_named(self) -> None:
        given = {"spent": "string", "visits": "double", "member": "boolean"}
        with pytest.raises(UsageError) as raised:
            signature().require_columns(given)
        assert "age missing" in raised.value.message
        assert "spent is string instead of double" in raised.value.message
        assert "visits is double instead of bigint" in raised.value.message
        assert "member" not in raised.value.message
        assert "age double" in raised.value.details[0]

    def test_names_are_of_one_case(self) -> None:
        with pytest.raises(UsageError, match="age missing"):
            signature().require_columns({**{k: v for k, v in GIVEN.items() if k != "age"}, "Age": "double"})

    @pytest.mark.parametrize(
        ("trained", "given", "taken"),
        [
            ("bigint", "int", True),
            ("int", "bigint", False),
            ("double", "float", True),
            ("float", "double", False),
            ("double", "int", False),
            ("boolean", "int", False),
            ("decimal(10,2)", "decimal(8,2)", True),
            ("decimal(10,2)", "decimal(10,1)", False),
            ("decimal(10,2)", "decimal(10,3)", False),
            ("LONG", "bigint", True),
            ("string", "string", True),
        ],
    )
    def test_a_narrower_type_of_the_same_sort_is_taken(self, trained: str, given: str, taken: bool) -> None:
        assert Column("x", trained).takes(given) is taken


def test_only_numbers_stand_in_a_matrix() -> None:
    odd = Signature((Column("a", "decimal(10,2)"), Column("b", "string"), Column("c", "date")), "regression")
    with pytest.raises(UsageError, match=r"b \(string\), c \(date\)"):
        odd.require_numbers("onnx")


@pytest.mark.parametrize(
    ("inputs", "task", "classes"),
    [
        ((), "regression", ()),
        ((Column("a", "int"), Column("a", "double")), "regression", ()),
        ((Column("a", "int"),), "ranking", ()),
        ((Column("a", "int"),), "binary", ("a", "b", "c")),
        ((Column("a", "int"),), "multiclass", ("a",)),
        ((Column("a", "int"),), "regression", ("a",)),
    ],
)
def test_what_can_not_be_is_refused(inputs: tuple[Column, ...], task: str, classes: tuple[str, ...]) -> None:
    with pytest.raises(DeclarationError):
        Signature(inputs, task, classes)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_it_comes_back_from_json(task: str) -> None:
    assert Signature.from_json(signature(task).to_json()) == signature(task)


class TestBreaks:
    def test_nothing_does_when_it_is_the_same_in_another_order(self) -> None:
        before = signature()
        assert breaks(before, Signature(before.inputs[::-1], "binary", before.classes)) == []

    def test_each_is_said(self) -> None:
        before = Signature((Column("a", "int"), Column("b", "bigint"), Column("c", "double")), "binary", ("n", "y"))
        after = Signature((Column("a", "bigint"), Column("b", "int"), Column("d", "double")), "binary", ("y", "n"))
        assert breaks(before, after) == [
            "input b was bigint, now it is int",
            "the classes were n, y, now they are y, n",
        ]

    def test_other_inputs_are_other_features(self) -> None:
        before = signature()
        assert breaks(before, Signature((*before.inputs[1:], Column("new", "double")), "binary", before.classes)) == []

    def test_another_task_is_said_once(self) -> None:
        before = signature("multiclass")
        assert breaks(before, signature("regression")) == ["the task was multiclass, now it is regression"]
