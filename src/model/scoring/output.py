"""Turn a model's output into exactly one prediction per given row, in the order of the rows.

One check per batch, for every format: output that can't be matched to the rows, in their order, is refused.
"""

import sys
from typing import TYPE_CHECKING, Any

from asgard.common.errors import ArtifactError
from asgard.model.artifacts.signature import Signature

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, Any]

_ONE_EACH = "A model must return one prediction per row, in the order of the rows; it must not drop, add or sort rows."


def predictions(
    output: Any, given: int, signature: Signature, rows: int | None = None, frame: "pd.DataFrame | None" = None
) -> "Array":
    """Convert a model's output to what its signature requires; of two classes, the second's probability is kept.

    Args:
        output: what the model returned. A Series or DataFrame is put in the order of the rows by its index.
        given: number of rows that the model got.
        signature: the model's signature.
        rows: how many of those, from the first, are needed; the others pad the batch; by default all are needed.
        frame: the rows after the model ran, if it got a DataFrame: it may have sorted them in place.

    Raises:
        ArtifactError: the number of predictions differs from the number of rows, or the predictions are of other rows,
            of another shape, or not numbers.
    """
    import numpy as np

    wanted = given if rows is None else rows
    pandas: Any = sys.modules.get("pandas")  # if pandas was not imported, the output is not of pandas
    if pandas is not None and isinstance(output, pandas.Series | pandas.DataFrame):
        _require_count(len(output), given, wanted)
        output = _in_order(output, given)
        if output.ndim == 2:
            output = _in_order_of_classes(output, signature)
        output = _without_pandas(output)
    elif frame is not None and not frame.index.equals(pandas.RangeIndex(given)):
        raise ArtifactError(
            f"The model changed the {_rows(given, wanted)} that it got: they are now {len(frame):,}, or in another "
            "order, and its predictions do not tell which rows they belong to.",
            hint="Sort and drop in a copy, and return a Series with the index of the rows.",
        )
    scores = _numbers(output, given, wanted)
    if scores.ndim == 0:
        raise ArtifactError(
            f"The model returned a single {type(output).__name__} for {_rows(given, wanted)}.", hint=_ONE_EACH
        )
    _require_count(len(scores), given, wanted)
    if scores.shape == (given, 1) and signature.task != "multiclass":
        scores = scores[:, 0]
    elif scores.shape == (given, 2) and signature.task == "binary":
        scores = scores[:, 1]
    expected = (given, len(signature.classes)) if signature.task == "multiclass" else (given,)
    if scores.dtype.kind not in "fiub" or scores.shape != expected:
        raise ArtifactError(
            f"The model returned {scores.dtype} of shape {scores.shape}; a {signature.task} model must return numbers "
            "of "
            f"shape {expected}.",
            hint="A classifier must return probabilities, in the order of the signature's classes.",
        )
    return np.ascontiguousarray(scores[:wanted], dtype=np.float64)


def _numbers(output: Any, given: int, wanted: int) -> "Array":
    """Convert the output to an array; masked values become NaN."""
    import numpy as np

    if isinstance(output, np.ma.MaskedArray):
        return np.where(np.ma.getmaskarray(output), np.nan, output.data) if output.dtype.kind in "fiub" else output.data
    try:
        return np.asarray(output)
    except (ValueError, TypeError, RuntimeError) as error:  # lists of several lengths; tensors with a gradient
        raise ArtifactError(
            f"The {type(output).__name__} that the model returned for {_rows(given, wanted)} can't become an array: "
            f"{error}.",
            hint=_ONE_EACH,
        ) from error


def _require_count(count: int, given: int, wanted: int) -> None:
    if count != given:
        raise ArtifactError(
            f"The model returned {count:,} prediction{'' if count == 1 else 's'} for {_rows(given, wanted)}.",
            hint=_ONE_EACH,
        )


def _rows(given: int, wanted: int) -> str:
    filled = f" ({wanted:,}, and {given - wanted:,} that pad the batch)" if given > wanted else ""
    return f"{given:,} row{'' if given == 1 else 's'}{filled}"


def _in_order(output: "pd.Series[Any] | pd.DataFrame", given: int) -> "pd.Series[Any] | pd.DataFrame":
    """Sort the output into the order of the rows, whose index in the model's input is 0, 1, 2, ..."""
    import pandas as pd

    wanted = pd.RangeIndex(given)
    if output.index.equals(wanted):
        return output
    if output.index.nlevels == 1 and output.index.is_unique:
        places = output.index.get_indexer(wanted)
        if (places >= 0).all():
            return output.take(places)
    shown = ", ".join(repr(each) for each in output.index[:3])
    raise ArtifactError(
        f"The model returned {len(output):,} predictions for {given:,} rows, but their index ({shown}, ...) is not "
        "that of "
        f"the rows (0 to {given - 1:,}): they can't be matched to the rows.",
        hint=_ONE_EACH,
    )


def _without_pandas(output: "pd.Series[Any] | pd.DataFrame") -> "Array":
    """Convert to an array; a null of pandas' nullable number types becomes NaN."""
    import numpy as np
    import pandas as pd
    from pandas.api.types import is_extension_array_dtype, is_numeric_dtype

    kinds = [each.dtype for _, each in output.items()] if isinstance(output, pd.DataFrame) else [output.dtype]
    if any(map(is_extension_array_dtype, kinds)) and all(map(is_numeric_dtype, kinds)):
        return output.to_numpy(dtype=np.float64, na_value=np.nan)
    return output.to_numpy()


def _in_order_of_classes(output: "pd.DataFrame", signature: Signature) -> "pd.DataFrame":
    """Put the columns in the order of the signature's classes, if they are named after the classes."""
    import pandas as pd

    names = [str(each) for each in output.columns]
    if not set(names) & set(signature.classes) or output.columns.equals(pd.RangeIndex(len(names))):
        return output
    if sorted(names) != sorted(signature.classes):
        raise ArtifactError(
            f"The model returned columns {', '.join(names)}, but its classes are {', '.join(signature.classes)}.",
            hint="Return one column per class, or an array.",
        )
    return output.iloc[:, [names.index(each) for each in signature.classes]]
