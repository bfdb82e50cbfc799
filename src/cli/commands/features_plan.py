"""The plan of registering a pipeline's views, for the commands that show it or apply it."""

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
    """The planned changes.

    Attributes:
        changes: one change for each view.
        undeclared: registered views that the pipeline no longer declares, and that are kept.
        waiting: views of predictions that are not published yet.
    """

    changes: list[ViewChange]
    undeclared: list[str]
    waiting: tuple[FeatureView, ...]

    @classmethod
    def of(
        cls, lake: Lakehouse, declared: Declared, names: Sequence[str], *, prune: bool, take_over: bool
    ) -> "Planned":
        """The plan for the named views, or for all views of the pipeline if no name is given.

        Raises:
            UsageError: a named view waits for predictions, or a view belongs to another pipeline.
        """
        views, waiting = register.split_waiting(lake, declared.select(names))
        if names and waiting:
            raise UsageError(
                f"{register.what_it_waits_for(waiting[0])}.",
                hint="The other views can be applied without this one: name them.",
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
        """Print the plan for people."""
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
            typer.echo(f"{name} is registered, but no longer declared: --prune removes it")
