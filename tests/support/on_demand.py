"""On-demand functions that a file declares, and the view that they read."""

import types
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.prediction_requests import view

from asgard.features.views import Feature, OnDemandFeature

CODE = """
from asgard.features.views import on_demand

@on_demand(inputs={{"spend": "customers:spend", "visits": "customers:visits"}}{options})
def each_visit(spend, visits{parameters}):{body}
"""
PLAIN = "\n    return spend / (visits + 1)"
OVER_FLOATS = "\n    return spend / (visits + 0.5)"
OVER_FLOATS_FAILURE = r"On-demand feature each_visit failed at line \d+ of .*\.py: TypeError: unsupported operand type"
"""The error of `OVER_FLOATS` if spend is a decimal."""


def declared(folder: Path, body: str = PLAIN, options: str = "", parameters: str = "") -> OnDemandFeature:
    """Write a file that declares the function, and load the function from it."""
    path = folder / f"code{len(list(folder.iterdir()))}.py"
    path.write_text(CODE.format(body=body, options=options, parameters=parameters), encoding="utf-8")
    module: Any = types.ModuleType(path.stem)
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), module.__dict__)  # noqa: S102
    found: OnDemandFeature = module.each_visit
    return found


def of_decimals() -> Any:
    """Return a view in which spend is a decimal."""
    pinned = view()
    features = (Feature("visits", "bigint"), Feature("spend", "decimal(10,2)"))
    return replace(pinned, view=replace(pinned.view, features=features))
