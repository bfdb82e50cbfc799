"""Arrow columns as the numbers that a model is trained on and scores: converted in the same way everywhere."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from asgard.common.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_EXACT_DIGITS = 15
"""Integers of up to this many digits, and their power of ten, are exact doubles: one division rounds once."""


def matrix(batch: "pa.RecordBatch | pa.Table", names: Sequence[str]) -> "np.ndarray[Any, Any]":
    """Convert the named columns, in this order, to float64 in C order; nulls become NaN.

    Raises:
        UsageError: a column is missing, or contains no numbers or booleans.
    """
    import numpy as np

    matrix = np.empty((batch.num_rows, len(names)), dtype=np.float64)
    columns = [numbers(named(batch, name), name) for name in names]
    for place, column in enumerate(columns):
        matrix[:, place] = column
    return matrix


def named(batch: "pa.RecordBatch | pa.Table", name: str) -> Any:
    """Find a column by its name.

    Raises:
        UsageError: no column, or several, have this name.
    """
    places = batch.schema.get_all_field_indices(name)
    if len(places) != 1:
        raise UsageError(
            f"The rows have {len(places) or 'no'} columns {name}; their columns are {', '.join(batch.schema.names)}.",
            hint="Pass the columns of the model's signature.",
        )
    return batch.column(places[0])


def numbers(column: "pa.Array | pa.ChunkedArray", name: str) -> "np.ndarray[Any, Any]":
    """Convert one column to float64, rounding each value once; nulls become NaN.

    Raises:
        UsageError: the column contains no numbers or booleans.
    """
    import numpy as np
    import pyarrow as pa

    kind = column.type
    if pa.types.is_decimal(kind):
        return _decimals(column)
    if pa.types.is_boolean(kind) or pa.types.is_null(kind):
        column = column.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise UsageError(
            f"Column {name} is {kind}; a model takes numbers and booleans.",
            hint="Convert it to numbers in the gold table, or keep the model as pyfunc.",
        )
    given = column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy()
    return np.asarray(given, dtype=np.float64)


def _decimals(column: Any) -> "np.ndarray[Any, Any]":
    """Decimals as doubles, each rounded once: Arrow's own cast errs in the last place for a tenth of them or more."""
    import numpy as np
    import pyarrow as pa

    kind = column.type
    if kind.precision > _EXACT_DIGITS or not 0 <= kind.scale <= _EXACT_DIGITS:
        values = (np.nan if value is None else float(value) for value in column.to_pylist())
        return np.fromiter(values, dtype=np.float64, count=len(column))
    whole, wide = pa.decimal128(kind.precision, 0), pa.decimal128(kind.precision, kind.scale)
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = []
    for chunk in (each.cast(wide) for each in chunks):
        unscaled = pa.Array.from_buffers(whole, len(chunk), chunk.buffers(), -1, chunk.offset)
        parts.append(unscaled.cast(pa.int64()).to_numpy(zero_copy_only=False) / 10.0**kind.scale)
    return np.concatenate(parts) if parts else np.empty(0)
