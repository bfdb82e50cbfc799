"""What registering a pipeline's views will do, for the commands that say it and do it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import typer

from asgard.common.errors import UsageError
from asgard.features import register
from asgard.features.register import ViewChange
from asgard.features.views import Declared, FeatureView
from asgard.jobs.reporting import show_table
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.registrations import Registrations
from asgard.lakehouse.catalog.snapshots import resolve


@dataclass(frozen=True)
class Planned:
    """What is to be done.

    Attributes:
        changes: view by view.
        undeclared: registered views that the pipeline declares no longer, and that stay.
        waiting: views of predictions that are not there yet.
    """

    changes: list[ViewChange]
    undeclared: list[str]
    waiting: tuple[FeatureView, ...]

    @classmethod
    def of(
        cls, lake: Lakehouse, declared: Declared, names: Sequence[str], *, prune: bool, take_over: bool
    ) -> "Planned":
        """The plan for some views; all of the pipeline's for no name.

        Raises:
            UsageError: one that was named waits for predictions; or a view is another pipeline's.
        """
        views, waiting = register.split_waiting(lake, declared.select(names))
        if names and waiting:
            raise UsageError(
                f"{register.what_it_waits_for(waiting[0])}.",
                hint="The other views can be applied without it: name them.",
            )
        registered = Registrations(lake.storage).current(register.KIND).values()
        if not take_over:
            register.require_own(registered, [view.name for view in views], declared.pipeline)
        old = sorted({each.name for each in registered if each.pipeline == declared.pipeline} - set(declared.views))
        gone = old if prune else []
        changes = register.plan(lake, views, resolve(lake, None), prune=gone, pipeline=declared.pipeline)
        return cls(changes, [] if prune else old, waiting)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        views = [change.to_json() for change in self.changes]
        return {"views": views, "undeclared": self.undeclared, "waiting": [view.name for view in self.waiting]}

    def show(self) -> None:
        """For people."""
        show_table(
            ("VIEW", "ACTION", "TABLE", "DIFFERENCES"),
            [
                (row["view"], row["action"], row["table"], "; ".join(row["differences"]))
                for row in (change.to_json() for change in self.changes)
            ],
            empty="nothing to do",
        )
        for view in self.waiting:
            typer.echo(register.what_it_waits_for(view))
        for name in self.undeclared:
            typer.echo(f"{name} is registered, and declared no longer: --prune takes it out")
