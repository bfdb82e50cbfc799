"""The Python version and the imported distributions that a model was trained with, to install them again."""

import json
import platform
import re
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions
from types import ModuleType


def imported_versions() -> dict[str, str]:
    """Versions of Python and of every distribution of which this process has imported a module."""
    owners, candidates = _owners(tuple(sys.path)), defaultdict[str, set[str]](set)
    for top, files in _loaded_files().items():
        for name in owners.get(top, ()):
            candidates[name] |= files
    return installed_versions(name for name, files in candidates.items() if _is_loaded(name, files))


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of the named distributions as installed here, without those that are not installed."""
    versions = {canonical(name): each.version for name in names if (each := _installed(name)) and each.version}
    return {"python": platform.python_version()} | dict(sorted(versions.items()))


def distributions_of(modules: Iterable[str]) -> frozenset[str]:
    """Installed distributions that contain these modules."""
    owners, distributions = _owners(tuple(sys.path)), set[str]()
    for module in modules:
        names = owners.get(module.partition(".")[0], ())
        exact = [name for name in names if _brings(name, module)] if len(names) > 1 else []
        distributions |= {canonical(name) for name in exact or names}
    return frozenset(distributions)


def is_installed(module: str) -> bool:
    """Whether an installed distribution lists this module among its files; unknown for editable installs."""
    return any(_brings(name, module) for name in _owners(tuple(sys.path)).get(module.partition(".")[0], ()))


def differences(then: Mapping[str, str]) -> list[str]:
    """Distributions, and Python, whose installed version differs from then or that are missing now, in words."""
    now = installed_versions(then)
    return [
        f"{name} {version} -> {now.get(name, 'not installed')}"
        for name, version in then.items()
        if now.get(name) != version
    ]


def not_from_an_index(names: Iterable[str]) -> frozenset[str]:
    """The distributions that were installed from a folder, a file or a repository, not from an index."""
    return frozenset(
        name for name in names if (distribution := _installed(name)) and _direct_url(distribution) is not None
    )


def canonical(name: str) -> str:
    """A distribution's normalized name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _loaded_files() -> dict[str, set[str]]:
    """The files of this process's modules, by their top-level name."""
    owners: dict[str, set[str]] = {}
    for name, module in tuple(sys.modules.items()):
        if issubclass(type(module), ModuleType):  # some objects only claim to be modules: cffi's
            # Not with getattr, which would import a lazy module.
            path = object.__getattribute__(module, "__dict__").get("__file__")
            owners.setdefault(name.partition(".")[0], set()).update([path] if isinstance(path, str) else [])
    return owners


@cache
def _owners(_search_path: tuple[str, ...]) -> Mapping[str, Collection[str]]:
    """Names of distributions by the packages and modules that they contain."""
    return {top: frozenset(names) for top, names in packages_distributions().items()}


def _is_loaded(name: str, files: Collection[str]) -> bool:
    """Whether one of these files belongs to the distribution: several may contain parts of one package."""
    distribution = _installed(name)
    if distribution is None:
        return False
    record = distribution.read_text("RECORD")
    if record is None or (_direct_url(distribution) or {}).get("dir_info", {}).get("editable"):
        return True
    root = f"{distribution.locate_file('')}".rstrip("/") + "/"
    own = {line.partition(",")[0] for line in record.splitlines()}
    return any(path.removeprefix(root) in own for path in files)


def _brings(name: str, module: str) -> bool:
    """Whether a distribution contains a module: several may contain parts of one package, such as `google`."""
    distribution = _installed(name)
    record = distribution.read_text("RECORD") if distribution is not None else None
    path = module.replace(".", "/")
    return record is not None and any(line.startswith((f"{path}/", f"{path}.")) for line in record.splitlines())


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except (PackageNotFoundError, ValueError):
        return None


def _direct_url(distribution: Distribution) -> dict[str, Mapping[str, object]] | None:
    """Where a distribution was installed from, if not from an index (PEP 610)."""
    content = distribution.read_text("direct_url.json")
    direct: dict[str, Mapping[str, object]] | None = json.loads(content) if content else None
    return direct
