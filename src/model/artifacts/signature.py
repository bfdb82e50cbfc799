"""A model's inputs and outputs: its columns by name, order and type, its task and its classes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asgard.common.data_type import WHOLE_BITS, DataType
from asgard.common.errors import DeclarationError, UsageError

TASKS = ("binary", "multiclass", "regression")


@dataclass(frozen=True)
class Column:
    """One column of a model's input.

    Attributes:
        name: as in the table, in the same case.
        type: Spark SQL type, e.g. `bigint` or `decimal(10,2)`.
    """

    name: str
    type: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "type", str(_type(self.type)))

    @property
    def is_number(self) -> bool:
        """Whether it is a number or a boolean, so that it can be in a matrix."""
        kind = _type(self.type)
        return kind.is_number or kind.base == "boolean"

    def takes(self, kind: str) -> bool:
        """Whether this column can contain every value of a type: the same type, or a narrower one of the same kind."""
        own, given = _type(self.type), _type(kind)
        if own.is_whole and given.is_whole:
            return WHOLE_BITS[given.base] <= WHOLE_BITS[own.base]
        if own.digits and given.digits:
            (digits, places), (other_digits, other_places) = own.digits, given.digits
            return other_places <= places and other_digits - other_places <= digits - places
        return given == own or (given.base, own.base) == ("float", "double")


def _type(text: str) -> DataType:
    return DataType.parse(text.lower().replace(" ", ""))


@dataclass(frozen=True)
class Signature:
    """A model's inputs and outputs.

    Attributes:
        inputs: columns in the order in which the model was trained.
        task: `binary`, `multiclass` or `regression`.
        classes: the classes, in the model's order; of a binary model the second is the positive one.
        segment: the input that selects which of several models predicts a row; not a feature of those models.
        nullable: whether a row may have no prediction, because no model knows its segment.

    Raises:
        DeclarationError: there are no columns, a column occurs twice, the task is unknown, the classes do not fit the
            task, or the segment is not an input.
    """

    inputs: tuple[Column, ...]
    task: str
    classes: tuple[str, ...] = ()
    segment: str | None = None
    nullable: bool = False

    def __post_init__(self) -> None:
        names = [column.name for column in self.inputs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not names or twice:
            raise DeclarationError(
                f"A signature needs one or more columns, each once; repeated: {', '.join(twice) or 'none'}.",
                hint="Name each feature once.",
            )
        if self.task not in TASKS:
            raise DeclarationError(f"{self.task!r} is not a task of a model.", hint=f"Use one of {', '.join(TASKS)}.")
        count = len(self.classes)
        if not {"binary": count == 2, "multiclass": count >= 2, "regression": count == 0}[self.task]:
            raise DeclarationError(
                f"A {self.task} model can't have {count} classes.",
                hint="binary has two, multiclass two or more, regression none.",
            )
        if self.segment is not None and self.segment not in names:
            raise DeclarationError(
                f"The segment {self.segment} is not one of the inputs {', '.join(names)}.", hint="Add it to the inputs."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs' names, in order."""
        return tuple(column.name for column in self.inputs)

    @property
    def without_segment(self) -> "Signature":
        """The signature of each segment's own model."""
        return Signature(tuple(each for each in self.inputs if each.name != self.segment), self.task, self.classes)

    @property
    def output_type(self) -> str:
        """The Spark SQL type of one row's prediction."""
        return "array<double>" if self.task == "multiclass" else "double"

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `from_json`."""
        inputs = [{"name": column.name, "type": column.type} for column in self.inputs]
        segment = {"segment": self.segment, "nullable": self.nullable} if self.segment is not None else {}
        return {"inputs": inputs, "task": str(self.task), "classes": list(self.classes), **segment}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Signature":
        """Read what `to_json` returned."""
        inputs = tuple(Column(each["name"], each["type"]) for each in content["inputs"])
        return cls(
            inputs,
            content["task"],
            tuple(content["classes"]),
            content.get("segment"),
            content.get("nullable", False),
        )

    def require_columns(self, given: Mapping[str, str]) -> None:
        """Refuse rows that lack a column, or have it with another type; further columns are ignored.

        A narrower type of the same kind is accepted (`int` for `bigint`, `float` for `double`, `decimal(8,2)` for
        `decimal(10,2)`): the wider type contains each of its values.

        Args:
            given: Spark SQL type of each column (`dict(frame.dtypes)`).

        Raises:
            UsageError: columns are missing or have another type; the message names each.
        """
        missing = [column.name for column in self.inputs if column.name not in given]
        retyped = [
            f"{column.name} is {given[column.name]} instead of {column.type}"
            for column in self.inputs
            if column.name in given and not column.takes(given[column.name])
        ]
        if missing or retyped:
            problems = ([f"{', '.join(missing)} missing"] if missing else []) + retyped
            raise UsageError(
                f"The rows do not fit the model's signature: {'; '.join(problems)}.",
                hint="Pass the columns of the model's signature, or train it again on these.",
                details=(f"the model takes {', '.join(f'{column.name} {column.type}' for column in self.inputs)}",),
            )

    def require_numbers(self, format_name: str) -> None:
        """Refuse a signature with a column that can't be in a matrix of numbers.

        Raises:
            UsageError: there are such columns; the message names them.
        """
        odd = [f"{column.name} ({column.type})" for column in self.inputs if not column.is_number]
        if odd:
            raise UsageError(
                f"A model of format {format_name} takes numbers and booleans only, but its signature has "
                f"{', '.join(odd)}.",
                hint="Convert them to numbers in the gold table, or keep the model as pyfunc.",
            )


def breaks(before: Signature, after: Signature) -> list[str]:
    """Incompatible changes between the signatures of two versions, in words; empty if they are compatible.

    Inputs are passed by name, from views that have them all: other inputs, or another order, are other features and not
    incompatible.
    """
    then = {column.name: column for column in before.inputs}
    breaks = [
        f"input {column.name} was {then[column.name].type}, now it is {column.type}"
        for column in after.inputs
        if column.name in then and not column.takes(then[column.name].type)
    ]
    if before.task != after.task:
        breaks.append(f"the task was {before.task}, now it is {after.task}")
    elif before.classes != after.classes:
        breaks.append(f"the classes were {', '.join(before.classes)}, now they are {', '.join(after.classes)}")
    if before.segment != after.segment:
        breaks.append(f"the segment was {before.segment or 'none'}, now it is {after.segment or 'none'}")
    if after.nullable and not before.nullable:
        breaks.append("rows of an unknown segment no longer have a prediction")
    return breaks


def dumps(content: Mapping[str, Any]) -> bytes:
    """Deterministic JSON: sorted keys, two spaces, a newline at the end."""
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
