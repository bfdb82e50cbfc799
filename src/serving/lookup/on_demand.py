"""On-demand features computed from looked-up features."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from asgard.common.errors import UsageError
from asgard.features.joins.joining import computed
from asgard.features.types import to_arrow
from asgard.features.views import OnDemandFeature
from asgard.serving.lookup.results import ViewRows

if TYPE_CHECKING:
    import pyarrow as pa


def compute(
    functions: Sequence[OnDemandFeature], views: Sequence[ViewRows], request: Sequence[Mapping[str, Any]], rows: int
) -> "dict[str, pa.Array]":
    """Compute on-demand features: name -> values.

    Args:
        functions: the on-demand features to compute.
        views: the looked-up rows.
        request: for each entity, the inputs that are in no view; () if there are none.
        rows: number of entities.

    Raises:
        UsageError: an input of a function is missing, or its result does not fit its declaration.
    """
    if len(request) not in (0, rows):
        raise UsageError(
            f"{len(request)} requests were given for {rows} entities.", hint="Give one request for each entity."
        )
    return {each.name: computed(each, _given(each, views, request or ({},) * rows), rows) for each in functions}


def _given(
    function: OnDemandFeature, views: Sequence[ViewRows], request: Sequence[Mapping[str, Any]]
) -> "dict[str, pa.Array]":
    import pyarrow as pa

    given = {}
    for parameter, reference in function.inputs.items():
        name, _, feature = reference.partition(":")
        view = next((each for each in views if each.head.view == name), None)
        if view is None:
            raise UsageError(f"On-demand feature {function.name} needs {reference}.", hint=f"Look {name} up as well.")
        if feature not in view.columns:
            raise UsageError(
                f"On-demand feature {function.name} needs {reference}, which is not in Redis.",
                hint=f"Redis has these features of the view: {', '.join(view.columns)}.",
            )
        given[parameter] = pa.array(view.columns[feature], to_arrow(view.head.features[feature]))
    for parameter, kind in function.request.items():
        if any(parameter not in each for each in request):
            raise UsageError(f"On-demand feature {function.name} needs {parameter}.", hint="Give it in the request.")
        given[parameter] = pa.array([each[parameter] for each in request], to_arrow(kind))
    return given
