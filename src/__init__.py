"""Asgard: a lakehouse in PySpark whose every write is audited on a branch before it is published."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asgard.lakehouse.declaring.declaration import Daily, Hourly, Monthly, Table, Weekly, Yearly
    from asgard.lakehouse.declaring.pipeline import Pipeline

__version__ = "0.1.0"
__all__ = ["Daily", "Hourly", "Monthly", "Pipeline", "Table", "Weekly", "Yearly", "__version__"]

_HOMES = dict.fromkeys(
    ("Daily", "Hourly", "Monthly", "Table", "Weekly", "Yearly"), "asgard.lakehouse.declaring.declaration"
)
_HOMES["Pipeline"] = "asgard.lakehouse.declaring.pipeline"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `asgard --help` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'asgard' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
