"""One model per segment: which file predicts which value, the metrics of each, and the handling of other values.

All of them form one artifact. Its own file is `segments.json`; the models are beside it, each in its own format, and
one manifest covers them all.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from asgard.common.errors import ArtifactError, UsageError
from asgard.model.artifacts.formats import FILES, Format
from asgard.model.artifacts.signature import dumps

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from asgard.model.artifacts.artifact import Artifact

    Array = np.ndarray[Any, Any]

Value = str | int | bool | date
TYPES = ("string", "int", "bigint", "boolean", "date")
"""Spark SQL types that a segment's column may have."""
MOST = 1_000
"""Most segments that a model may have: a column with more values is probably not a segment."""
_NAME = 60
"""Most characters of a segment's value in the names of its metrics."""


class UnknownSegment(StrEnum):
    """How to handle a row whose segment has no model of its own, or that has no segment."""

    REFUSE = "refuse"
    """The job fails."""
    NULL = "null"
    """The row gets no prediction."""
    WHOLE = "whole"
    """A model trained on all rows predicts it."""


@dataclass(frozen=True)
class ModelFile:
    """The file of one model.

    Attributes:
        path: path in the artifact.
        format: format of the file.
        sha256: digest of the file, so that `segments.json` differs if a model differs.
    """

    path: str
    format: Format
    sha256: str


@dataclass(frozen=True)
class Segment:
    """One segment.

    Attributes:
        value: value of the segment's column; None for the model of all rows, which predicts segments without a model.
        train_rows: number of training labels.
        model: model trained on only these labels; None if there is none.
        why: why there is no model, in words; "" if there is one.
        test_rows: number of test labels with a prediction.
        metrics: metrics on those test labels.
        baseline: metrics, on the same labels, of always predicting the mean of the model's training labels.
    """

    value: Value | None
    train_rows: int
    model: ModelFile | None = None
    why: str = ""
    test_rows: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    baseline: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def text(self) -> str:
        """The value, for people."""
        return "any other" if self.value is None else str(self.value)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `from_json`, without metrics that are NaN."""
        return {
            **self.__dict__,
            "value": self.value.isoformat() if isinstance(self.value, date) else self.value,
            "model": asdict(self.model) if self.model else None,
            "metrics": _numbers(self.metrics),
            "baseline": _numbers(self.baseline),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], kind: str) -> "Segment":
        """Read what `to_json` returned, for a column of a type."""
        value, model = raw["value"], raw["model"]
        if kind == "date" and value is not None:
            value = date.fromisoformat(value)
        kept = ModelFile(model["path"], Format(model["format"]), model["sha256"]) if model else None
        return cls(**{**raw, "value": value, "model": kept})


@dataclass(frozen=True)
class Segments:
    """All segments of a model.

    Attributes:
        column: the column that contains a row's segment.
        type: type of the column.
        unknown: how rows without a model are handled.
        segments: in the order of their values, including those without a model of their own.
        whole: the model of all rows, if there is one.
    """

    column: str
    type: str
    unknown: UnknownSegment
    segments: tuple[Segment, ...]
    whole: Segment | None = None

    def chosen(self, value: Value | None) -> ModelFile | None:
        """The model that predicts the rows with this value."""
        return self._own.get(value) or (self.whole.model if self.whole else None)

    def predicts(self, values: "pa.Array") -> "Array":
        """Flags of the rows that have a model, by the values of their segment."""
        import numpy as np

        is_predicted = np.zeros(len(values), dtype=bool)
        for value, rows in grouped(values):
            is_predicted[rows] = self.chosen(value) is not None
        return is_predicted

    @property
    def everyone(self) -> tuple[Segment, ...]:
        """The segments, and the model of all rows if there is one."""
        return (*self.segments, *((self.whole,) if self.whole else ()))

    @cached_property
    def _own(self) -> Mapping[Value | None, ModelFile]:
        return {each.value: each.model for each in self.segments if each.model is not None}

    @property
    def content(self) -> bytes:
        """The content of the artifact's own file."""
        return dumps(
            {
                "column": self.column,
                "type": self.type,
                "unknown": str(self.unknown),
                "segments": [each.to_json() for each in self.segments],
                "whole": self.whole.to_json() if self.whole else None,
            }
        )

    @classmethod
    def read(cls, content: bytes) -> "Segments":
        """Read what `content` returned.

        Raises:
            ArtifactError: the content can't be read.
        """
        try:
            raw = json.loads(content)
            return cls(
                raw["column"],
                raw["type"],
                UnknownSegment(raw["unknown"]),
                tuple(Segment.from_json(each, raw["type"]) for each in raw["segments"]),
                Segment.from_json(raw["whole"], raw["type"]) if raw["whole"] else None,
            )
        except (KeyError, ValueError, TypeError) as error:
            raise ArtifactError(
                f"{FILES[Format.SEGMENTS]} can't be read: {error!r}.", hint="It was made by another Asgard."
            ) from error

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """A table for people: the column names, and one row per segment."""
        metrics = list(dict.fromkeys(name for each in self.everyone for name in each.metrics))
        heading = (self.column.upper(), "MODEL", "TRAINING ROWS", "TEST ROWS", *(name.upper() for name in metrics))
        return heading, [
            (
                each.text,
                each.model.format if each.model else f"{self.unknown}: {each.why}",
                each.train_rows,
                each.test_rows,
                *(f"{each.metrics[name]:.4g}" if name in each.metrics else "" for name in metrics),
            )
            for each in self.everyone
        ]

    def metrics(self) -> dict[str, float]:
        """Metrics and baseline of each segment, by names that MLflow accepts: `segment/GROCERY/rmse`."""
        metrics: dict[str, float] = {}
        for each, name in zip(self.everyone, _names([each.text for each in self.everyone]), strict=True):
            metrics |= {f"segment/{name}/{metric}": value for metric, value in each.metrics.items()}
            metrics |= {f"segment/{name}/baseline_{metric}": value for metric, value in each.baseline.items()}
        return metrics


def segments_of(artifact: "Artifact | None") -> Segments | None:
    """Read the segments of an artifact; None if it has one model for all rows.

    Raises:
        ArtifactError: the segments can't be read.
    """
    if artifact is None or artifact.spec.format is not Format.SEGMENTS:
        return None
    return Segments.read(artifact.content)


def values_of(column: "pa.Array | pa.ChunkedArray", name: str, kind: str) -> "pa.Array":
    """Convert a segment's column to the values that identify segments.

    Args:
        column: strings, whole numbers, booleans or dates.
        name: name of the column.
        kind: its type in the signature.

    Raises:
        UsageError: the column has another kind of type than the signature.
    """
    import pyarrow as pa

    given = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(given.type):
        given = given.cast(given.type.value_type)
    of = pa.types
    target, is_of_sort = {
        "string": (pa.string(), lambda t: of.is_string(t) or of.is_large_string(t) or of.is_string_view(t)),
        "boolean": (pa.bool_(), of.is_boolean),
        "date": (pa.date32(), lambda t: of.is_date(t) or of.is_timestamp(t)),
    }.get(kind, (pa.int64(), of.is_integer))
    if of.is_null(given.type) or is_of_sort(given.type):
        cast = given.cast(target)
        if not of.is_timestamp(given.type) or cast.cast(given.type).equals(given):  # pandas has no date type
            return cast
    raise UsageError(
        f"Column {name} is {given.type}, but the segments of the model are of type {kind}.",
        hint="Convert the column to the type in the model's signature.",
    )


def grouped(values: "pa.Array") -> "list[tuple[Value | None, Array]]":
    """Each value and the positions of its rows, both in order; null comes last."""
    import numpy as np

    if not len(values):
        return []
    coded = values.dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    present, starts = np.unique(codes[order], return_index=True)
    known = coded.dictionary.to_pylist()
    groups = zip(present.tolist(), np.split(order, starts[1:]), strict=True)
    return sorted(((known[code] if code >= 0 else None, rows) for code, rows in groups), key=_nulls_last)


def _nulls_last(group: "tuple[Value | None, Array]") -> Any:
    return group[0] is None, group[0]


def file_of(place: int | None, format: Format) -> str:
    """The path in the artifact of a segment's model, by the segment's number; None is the model of all rows."""
    return f"segments/{'whole' if place is None else place}/{FILES[format]}"


def _names(texts: Sequence[str]) -> list[str]:
    """Distinct names for distinct texts, made of ASCII letters, digits, spaces, dots, dashes and underscores."""
    names: dict[str, None] = {}
    for text in texts:
        plain = re.sub(r"[^A-Za-z0-9 ._-]", "_", text)[:_NAME].strip(" .") or "_"
        name, count = plain, 1
        while name in names:
            count += 1
            name = f"{plain}_{count}"
        names[name] = None
    return list(names)


def _numbers(values: Mapping[str, float]) -> dict[str, float]:
    return {str(name): value for name, value in values.items() if math.isfinite(value)}
