"""The rows of a training set as a model sees them: a matrix of numbers, and what is to be learned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.errors import UsageError
from asgard.model.declaration import Model
from asgard.model.matrix import numbers
from asgard.model.metrics import Task
from asgard.model.signature import Column, Signature

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

_NUMERIC = ("tinyint", "smallint", "int", "bigint", "float", "double", "boolean")
_MOST_CLASSES = 100


@dataclass(frozen=True)
class Examples:
    """Labels with their features.

    Attributes:
        features: one row per label, float64, nulls as NaN.
        target: numbers; of a classifier the place of the class in `signature.classes`.
        times: of the labels, in UTC.
        entity: the labels' key columns, by row.
        signature: the features' columns and types, the task and its classes.
    """

    features: "pd.DataFrame" = field(hash=False)
    target: "np.ndarray[Any, Any]" = field(hash=False)
    times: "pd.Series[Any]" = field(hash=False)
    entity: "pd.DataFrame" = field(hash=False)
    signature: Signature

    def matrix(self, rows: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Features of some rows, as a model scores them."""
        import numpy as np

        return np.ascontiguousarray(self.features.to_numpy()[rows])


def load_examples(path: Path, model: Model, offered: Mapping[str, str], keys: Sequence[str]) -> Examples:
    """Read a training set.

    Args:
        path: its Parquet file or folder.
        model: what it is for.
        offered: the set's feature columns in order, and their types as Spark SQL says them.
        keys: the set's entity columns.

    Raises:
        UsageError: a column is not there or not numeric, labels lack their target, or there are too few classes.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    columns = _chosen(model, offered)
    there = pq.ParquetDataset(path).schema.names
    lacking = [name for name in (model.target, model.time) if name not in there]
    if lacking:
        raise UsageError(
            f"The labels of model {model.name} have no column {', '.join(lacking)}.",
            hint=f"They have {', '.join(name for name in there if name not in offered)}.",
        )
    order = list(dict.fromkeys((model.time, *keys, model.target, *columns)))
    # In one order, whichever the join gave: what is learned and added up is the same each time, to the last bit.
    table = pq.read_table(path, columns=order).sort_by([(name, "ascending") for name in order])
    target, classes = _target(model, table.column(model.target))
    return Examples(
        features=pd.DataFrame({name: numbers(table.column(name), name) for name in columns}, columns=list(columns)),
        target=target,
        times=pd.to_datetime(table.column(model.time).to_pandas(), utc=True),
        entity=table.select(list(keys)).to_pandas(),
        signature=Signature(tuple(Column(name, offered[name]) for name in columns), str(model.task), classes),
    )


def _chosen(model: Model, offered: Mapping[str, str]) -> tuple[str, ...]:
    """The model's features: those that it names, or every one that is a number."""
    if not model.features:
        found = tuple(name for name, kind in offered.items() if _is_number(kind) and name != model.target)
        if not found:
            raise UsageError(f"Model {model.name} has no feature that is a number.", hint="Name views that have some.")
        return found
    lacking = [name for name in model.features if name not in offered]
    if lacking:
        raise UsageError(
            f"Model {model.name} learns from {', '.join(lacking)}, which its views do not have.",
            hint=f"They have {', '.join(offered)}.",
        )
    odd = [f"{name} ({offered[name]})" for name in model.features if not _is_number(offered[name])]
    if odd:
        raise UsageError(
            f"Model {model.name} learns from {', '.join(odd)}: only numbers and booleans can be learned from.",
            hint="Make numbers of them in the gold table, or in an on-demand feature.",
        )
    return model.features


def _is_number(kind: str) -> bool:
    return kind in _NUMERIC or kind.startswith("decimal")


def _target(model: Model, column: "pa.ChunkedArray") -> "tuple[np.ndarray[Any, Any], tuple[str, ...]]":
    import numpy as np

    if column.null_count:
        raise UsageError(
            f"{column.null_count:,} labels of model {model.name} have no {model.target}.",
            hint="Drop these labels: what is not known can't be learned.",
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
            hint="Look at the labels, or declare another task.",
        )
    places = {value: place for place, value in enumerate(classes)}
    return given.map(places).to_numpy(dtype=np.int64), tuple(str(value) for value in classes)
