"""Import a package's public names on first use, so that importing the package stays quick."""

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
        homes: public name -> module that defines it.
        modules: public name of a module -> that module.

    Raises:
        AttributeError: from the returned function, for any other name.
    """

    def attribute(name: str) -> Any:
        if name in modules:
            return import_module(modules[name])
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)
        return getattr(import_module(homes[name]), name)

    return attribute
