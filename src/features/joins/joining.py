"""One point-in-time join, the same for each engine: views, labels' columns, and the names of the features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard.common.errors import AsgardError, UsageError
from asgard.features.joins.labels import require_distinct
from asgard.features.pinned import PinnedView
from asgard.features.types import to_arrow
from asgard.features.views import OnDemandFeature

if TYPE_CHECKING:
    import pyarrow as pa

FeatureColumns = Sequence[Sequence[tuple[str, str]]]
"""For each view (feature, column of the result)."""


@dataclass(frozen=True)
class OnDemandColumns:
    """On-demand features to compute over a join's rows; it goes to Spark's workers.

    Attributes:
        functions: in the order of their columns.
        column_of: `view:feature` -> the column that holds it.
    """

    functions: tuple[OnDemandFeature, ...]
    column_of: Mapping[str, str]


@dataclass(frozen=True)
class Join:
    """What is joined to the labels.

    Attributes:
        views: pinned, in the order of their columns.
        label_columns: of the labels, to keep.
        names: for each view (feature, column of the set).
        on_demand: functions to compute over the views' features.
    """

    views: tuple[PinnedView, ...]
    label_columns: tuple[str, ...]
    names: tuple[tuple[tuple[str, str], ...], ...]
    on_demand: tuple[OnDemandFeature, ...] = ()

    @classmethod
    def of(
        cls,
        views: Sequence[PinnedView],
        label_columns: Sequence[str],
        on_demand: Sequence[OnDemandFeature] = (),
        *,
        full_names: bool = False,
    ) -> "Join":
        """Create the join and name its features; with `full_names` as `view__feature`.

        Raises:
            UsageError: two columns would have one name.
        """
        names = tuple(
            tuple((name, f"{pinned.name}__{name}" if full_names else name) for name in pinned.view.feature_names)
            for pinned in views
        )
        made = [column for pairs in names for _, column in pairs]
        require_distinct([*label_columns, *made, *(function.name for function in on_demand)])
        return cls(tuple(views), tuple(label_columns), names, tuple(on_demand))

    @property
    def columns(self) -> tuple[str, ...]:
        """The set's columns, without those of on-demand features."""
        return (*self.label_columns, *(column for pairs in self.names for _, column in pairs))

    @property
    def on_demand_columns(self) -> OnDemandColumns:
        """Its on-demand features, without the views' files and settings."""
        column_of = {
            f"{pinned.name}:{feature}": column
            for pinned, pairs in zip(self.views, self.names, strict=True)
            for feature, column in pairs
        }
        return OnDemandColumns(self.on_demand, column_of)


def with_on_demand(batch: "pa.RecordBatch", wanted: OnDemandColumns) -> "pa.RecordBatch":
    """The batch with the on-demand features' columns.

    Raises:
        UsageError: a function returned something that does not fit.
    """
    import pyarrow as pa

    arrays, fields = list(batch.columns), list(batch.schema)
    for function in wanted.functions:
        given = {name: batch.column(wanted.column_of[reference]) for name, reference in function.inputs.items()}
        lacking = [name for name in function.request if name not in batch.schema.names]
        if lacking:
            raise UsageError(
                f"On-demand feature {function.name} needs {', '.join(lacking)}, which the labels lack.",
                hint="Add the column to the labels, or leave its views out.",
            )
        given |= {name: batch.column(name) for name in function.request}
        array = computed(function, given, batch.num_rows)
        arrays.append(array)
        fields.append(pa.field(function.name, array.type))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def computed(function: OnDemandFeature, given: "Mapping[str, pa.Array]", rows: int) -> "pa.Array":
    """The values of an on-demand feature.

    Args:
        function: the feature.
        given: parameter -> its values.
        rows: how many.

    Raises:
        UsageError: the function failed, or returned something that does not fit.
    """
    import pyarrow as pa

    try:
        result = function.function(**{name: column.to_pandas() for name, column in given.items()})
    except AsgardError:
        raise
    except Exception as error:
        raise _failed(function, given, error) from error
    try:
        array = pa.Array.from_pandas(result, type=to_arrow(function.type))
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise UsageError(
            f"On-demand feature {function.name} did not return {function.type}: {str(error).splitlines()[0]}",
            hint="Return one pandas Series of its type.",
        ) from error
    if len(array) != rows:
        raise UsageError(
            f"On-demand feature {function.name} gave {len(array)} values for {rows} rows.",
            hint="Return one value for each row.",
        )
    return array


def _failed(function: OnDemandFeature, given: "Mapping[str, pa.Array]", error: Exception) -> UsageError:
    """The error for a function that failed: its name, the line, the types of its values, and a hint about decimals."""
    import traceback

    import pyarrow as pa

    code = getattr(function.function, "__code__", None)
    own = code.co_filename if code is not None else None
    lines = [each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == own]
    where = f" at line {lines[-1]} of {own}" if lines else ""
    reason = (str(error).splitlines() or [""])[0]
    types = ", ".join(f"{name} {column.type}" for name, column in given.items())
    decimals = [name for name, column in given.items() if pa.types.is_decimal(column.type)]
    hint = f"It receives a pandas Series for each parameter: {types}."
    if decimals:
        hint = (
            f"Decimals arrive as Python's Decimal, which does not mix with floats: {', '.join(decimals)}. Use "
            f"{decimals[0]}.astype(float) in it, or convert them to doubles in the gold table."
        )
    return UsageError(f"On-demand feature {function.name} failed{where}: {type(error).__name__}: {reason}", hint=hint)


def with_on_demand_schema(schema: "pa.Schema", join: Join) -> "pa.Schema":
    """The schema of what `with_on_demand` returns."""
    import pyarrow as pa

    return pa.schema([*schema, *(pa.field(each.name, to_arrow(each.type)) for each in join.on_demand)])
