"""The rows of a training set as a model gets them: a matrix of numbers, and the target."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.data_type import DataType
from asgard.common.errors import UsageError
from asgard.features.types import to_arrow
from asgard.model.artifacts.segments import TYPES, UnknownSegment, values_of
from asgard.model.artifacts.signature import Column, Signature
from asgard.model.declaration import Model
from asgard.model.metrics import Task
from asgard.model.scoring.matrix import numbers

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

_MOST_CLASSES = 100


@dataclass(frozen=True)
class Examples:
    """Labels with their features.

    Attributes:
        features: one row per label, float64, nulls as NaN.
        target: numbers; for a classifier the index of the class in `signature.classes`.
        times: times of the labels, in UTC.
        entity: the labels' key columns, by row.
        signature: columns and types of the features and, if there is one, of the segment; the task and its classes.
        segment: the segment of each row.
    """

    features: "pd.DataFrame" = field(hash=False)
    target: "np.ndarray[Any, Any]" = field(hash=False)
    times: "pd.Series[Any]" = field(hash=False)
    entity: "pd.DataFrame" = field(hash=False)
    signature: Signature
    segment: "pa.Array | None" = field(default=None, hash=False)

    def matrix(self, rows: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Features of the chosen rows, as a model scores them."""
        import numpy as np

        return np.ascontiguousarray(self.features.to_numpy()[rows])

    def segments(self, rows: "np.ndarray[Any, Any]") -> "pa.Array | None":
        """Segments of the chosen rows; None if the examples have no segments."""
        import pyarrow as pa

        return None if self.segment is None else self.segment.filter(pa.array(rows))

    def head(self, rows: "np.ndarray[Any, Any]", count: int = 5) -> "pd.DataFrame":
        """The first of the chosen rows, with the columns of the signature."""
        first_rows = self.features[rows].head(count)
        segments = self.segments(rows)
        if segments is None or self.signature.segment is None:
            return first_rows
        return first_rows.assign(**{self.signature.segment: segments.slice(0, count).to_pandas().to_numpy()})


def load_examples(path: Path, model: Model, offered: Mapping[str, str], keys: Mapping[str, str]) -> Examples:
    """Read a training set.

    Args:
        path: the Parquet file or folder of the set.
        model: the model to train.
        offered: the set's feature columns in order, and their Spark SQL types.
        keys: the set's entity columns, and their types in the views.

    Raises:
        UsageError: a column is missing or not numeric, labels have no target, or there are too few classes.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    columns = _chosen(model, offered)
    label_columns = pq.ParquetDataset(path).schema.names
    lacking = [
        name for name in (model.target, model.time, model.segment) if name is not None and name not in label_columns
    ]
    if lacking:
        raise UsageError(
            f"The labels of model {model.name} have no column {', '.join(lacking)}.",
            hint=f"They have {', '.join(name for name in label_columns if name not in offered)}.",
        )
    segment = (model.segment,) if model.segment is not None else ()
    order = list(dict.fromkeys((model.time, *keys, model.target, *columns, *segment)))
    # Sorted, because the join returns rows in any order: the training and its sums are then the same bit for bit.
    table = pq.read_table(path, columns=order).sort_by([(name, "ascending") for name in order])
    target, classes = _target(model, table.column(model.target))
    inputs = tuple(Column(name, offered[name]) for name in columns)
    values = None
    if model.segment is not None:
        given = table.column(model.segment)
        kind = _segment_type(model, given, {**keys, **offered})
        inputs += (Column(model.segment, kind),)
        values = values_of(given.cast(to_arrow(kind)), model.segment, kind)
    return Examples(
        features=pd.DataFrame({name: numbers(table.column(name), name) for name in columns}, columns=list(columns)),
        target=target,
        times=pd.to_datetime(table.column(model.time).to_pandas(), utc=True),
        entity=table.select(list(keys)).to_pandas(),
        signature=Signature(
            inputs,
            str(model.task),
            classes,
            segment=model.segment,
            nullable=model.segment is not None and model.unknown_segment is UnknownSegment.NULL,
        ),
        segment=values,
    )


def _chosen(model: Model, offered: Mapping[str, str]) -> tuple[str, ...]:
    """The model's features: those that it names, or all numeric ones."""
    if not model.features:
        others = (model.target, model.segment)
        numbers = tuple(name for name, kind in offered.items() if _is_number(kind) and name not in others)
        if not numbers:
            raise UsageError(
                f"Model {model.name} has no numeric feature.", hint="Name views that have numeric features."
            )
        return numbers
    lacking = [name for name in model.features if name not in offered]
    if lacking:
        raise UsageError(
            f"Model {model.name} learns from {', '.join(lacking)}, missing in its views.",
            hint=f"They have {', '.join(offered)}.",
        )
    odd = [f"{name} ({offered[name]})" for name in model.features if not _is_number(offered[name])]
    if odd:
        raise UsageError(
            f"Model {model.name} learns from {', '.join(odd)}: features must be numbers or booleans.",
            hint="Convert them to numbers in the gold table, or in an on-demand feature.",
        )
    return model.features


def _segment_type(model: Model, column: "pa.ChunkedArray", known: Mapping[str, str]) -> str:
    """The segment column's Spark SQL type: as in its view, or, for a column of the labels, as in the labels."""
    import pyarrow as pa

    name = str(model.segment)
    of, given = pa.types, column.type
    kind = known.get(name)
    if kind is None:
        sorts = ((of.is_integer, "bigint"), (of.is_boolean, "boolean"), (of.is_date, "date"))
        texts = of.is_string(given) or of.is_large_string(given)
        kind = "string" if texts else next((each for is_of, each in sorts if is_of(given)), str(given))
    if kind not in TYPES:
        raise UsageError(
            f"The segment {name} of model {model.name} is {kind}.",
            hint=f"Use a column of type {', '.join(TYPES)}.",
        )
    return kind


def _is_number(kind: str) -> bool:
    return DataType.parse(kind).is_number or kind == "boolean"


def _target(model: Model, column: "pa.ChunkedArray") -> "tuple[np.ndarray[Any, Any], tuple[str, ...]]":
    import numpy as np

    if column.null_count:
        raise UsageError(
            f"{column.null_count:,} labels of model {model.name} have no {model.target}.",
            hint="Drop these labels: a model can't learn from an unknown target.",
        )
    if model.task is Task.REGRESSION:
        values = numbers(column, model.target)
        if not np.isfinite(values).all():
            raise UsageError(f"{model.target} of model {model.name} has NaN or infinity.", hint="Drop these labels.")
        return values, ()
    given = column.to_pandas()
    classes = sorted(given.unique())
    fewest, most = (2, 2) if model.task is Task.BINARY else (2, _MOST_CLASSES)
    if not fewest <= len(classes) <= most:
        shown = ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
        raise UsageError(
            f"{model.target} of model {model.name} has {len(classes):,} different values ({shown}), "
            f"but a {model.task} model learns {fewest if fewest == most else f'{fewest} to {most}'}.",
            hint="Check the labels, or declare another task.",
        )
    places = {value: place for place, value in enumerate(classes)}
    return given.map(places).to_numpy(dtype=np.int64), tuple(str(value) for value in classes)
