"""Name the place in a user's modules where their import failed."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from asgard.common.errors import UsageError
from asgard.common.places import place_of

_P = ParamSpec("_P")
_R = TypeVar("_R")


def placed(load: Callable[_P, _R]) -> Callable[_P, _R]:
    """Add the user's file and line to a `UsageError` that the decorated function raises."""

    @functools.wraps(load)
    def loaded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return load(*args, **kwargs)
        except UsageError as error:
            cause = error.__cause__
            place = (place_of(cause) if cause is not None else None) or place_of(error)
            if place is not None:
                error.details = (*error.details, f"in {place}")
            raise

    return loaded
