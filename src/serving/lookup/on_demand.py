"""On-demand features over what was looked up."""

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
    """On-demand features: name -> values.

    Args:
        functions: over the features.
        views: what was looked up.
        request: for each entity what they need that is in no view; () for nothing.
        rows: how many entities.

    Raises:
        UsageError: a function lacks what it needs, or gave something that does not fit.
    """
    if len(request) not in (0, rows):
        raise UsageError(f"{len(request)} requests were given for {rows} entities.", hint="Give one for each.")
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
                f"On-demand feature {function.name} needs {reference}, which Redis does not have.",
                hint=f"It has {', '.join(view.columns)}.",
            )
        given[parameter] = pa.array(view.columns[feature], to_arrow(view.head.features[feature]))
    for parameter, kind in function.request.items():
        if any(parameter not in each for each in request):
            raise UsageError(f"On-demand feature {function.name} needs {parameter}.", hint="Give it with the request.")
        given[parameter] = pa.array([each[parameter] for each in request], to_arrow(kind))
    return given
