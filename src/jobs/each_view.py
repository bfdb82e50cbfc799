"""Do the same for several views, one after the other; a failure does not stop the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from asgard.common.aliases import Say
from asgard.common.errors import AsgardError
from asgard.common.stopping import require_none
from asgard.features.views import FeatureView


class JsonResult(Protocol):
    """What was done for a view."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""


Done = TypeVar("Done", bound=JsonResult)


@dataclass(frozen=True)
class ViewOutcomes(Generic[Done]):
    """The results of several views.

    Attributes:
        done: results of the views that did not fail, in their order.
        failed: names and errors of the views that failed.
    """

    done: Sequence[Done] = ()
    failed: Sequence[tuple[str, AsgardError]] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        failed = [{"view": view, "message": error.message, "hint": error.hint} for view, error in self.failed]
        return {"views": [each.to_json() for each in self.done], "failed": failed}

    def require_all(self) -> None:
        """Raise the first error, if a view failed."""
        if self.failed:
            raise self.failed[0][1]


def of_each(views: Sequence[FeatureView], act: Callable[[FeatureView], Done], say: Say) -> ViewOutcomes[Done]:
    """Call `act` for each view, and report the views that failed."""
    done: list[Done] = []
    failed: list[tuple[str, AsgardError]] = []
    for view in views:
        try:
            done.append(act(view))
        except AsgardError as error:
            require_none()
            say(f"{view.name}: {error.message}")
            failed.append((view.name, error))
    return ViewOutcomes(done, failed)
