"""Public names of a package that are imported when they are first used, so that importing the package stays quick."""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any


def lazy(
    package: str, homes: Mapping[str, str], modules: Mapping[str, str] = MappingProxyType({})
) -> Callable[[str], Any]:
    """The `__getattr__` of a package (PEP 562).

    Args:
        package: its name.
        homes: public name -> module that has it.
        modules: public name -> module that it is.

    Raises:
        AttributeError: by what is returned, for any other name.
    """

    def attribute(name: str) -> Any:
        if name in modules:
            return import_module(modules[name])
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)
        return getattr(import_module(homes[name]), name)

    return attribute
