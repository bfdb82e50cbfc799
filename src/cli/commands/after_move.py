"""After a model version changed its stage: update its holds, and warn of what will prevent predictions.

The stage has been changed by then, so a failure here is only a warning.
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from asgard.common.errors import AsgardError

if TYPE_CHECKING:
    from asgard.lakehouse.catalog.lake import Lakehouse
    from asgard.model.registry import Registry
    from asgard.model.versions import ModelVersion


def settle(registry: "Registry", connect: "Callable[[], Lakehouse]", name: str) -> None:
    """Update the holds of a model; the next move retries what fails here."""
    from asgard.model.ledger.holds import release_abandoned, settle_holds

    try:
        model = registry.model(name)
        if not any(each.binding.views for each in model.versions):
            return
        now, lake = datetime.now(UTC), connect()
        problems = settle_holds(lake, model, lambda: registry.model(name), now).problems
        release_abandoned(lake, now)
    except AsgardError as error:
        sys.stderr.write(f"holds of {name} were not updated; the next move does it: {error.message}\n")
        return
    for problem in problems:
        sys.stderr.write(f"not held: the data that {problem}\n")


def warn_of_views(connect: "Callable[[], Lakehouse]", version: "ModelVersion") -> None:
    """Warn of views that batch-predict will refuse to read for a version in use, and say what to do."""
    from asgard.model.lifecycle import Stage
    from asgard.model.provenance.learned_from import changed_views

    if version.stage not in (Stage.STAGING, Stage.PRODUCTION) or not version.binding.views:
        return
    try:
        changed = changed_views(connect(), version)
    except AsgardError as error:
        sys.stderr.write(f"views of {version} were not checked: {error.message}\n")
        return
    for each in changed:
        sys.stderr.write(f"warning: batch-predict will refuse {version}: {each}\n")
