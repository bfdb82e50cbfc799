"""The modules that a pickle needs when it is loaded, read from its bytes without running it."""

import io
import pickletools
import subprocess
import sys
import zipfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from asgard.common.errors import UsageError
from asgard.common.settings import python_environment
from asgard.model.artifacts.environment import distributions_of, is_installed
from asgard.model.artifacts.formats import Format

_FIND = """
import importlib.util, sys
def is_lost(name):
    try:
        return importlib.util.find_spec(name) is None
    except Exception:
        return True
print()
print(*filter(is_lost, sys.argv[1:]))
"""
_TEXT = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"})
_ASIDE = frozenset({"MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"})


def globals_of(content: bytes) -> dict[str, set[str]]:
    """The names that a pickle imports from modules, by module."""
    modules: dict[str, set[str]] = {}
    memo: dict[int, str | None] = {}
    texts: list[str | None] = []
    for code, argument, _ in pickletools.genops(content):
        if code.name in _TEXT:
            texts.append(str(argument))
        elif code.name in ("BINGET", "LONG_BINGET", "GET"):
            texts.append(memo.get(int(argument or 0)))
        elif code.name in _ASIDE:
            memo[len(memo) if code.name == "MEMOIZE" else int(argument or 0)] = texts[-1] if texts else None
        elif code.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            modules.setdefault(module, set()).add(name)
            texts.append(None)
        elif code.name == "STACK_GLOBAL":
            owner, member = [None, None, *texts][-2:]
            if owner is not None and member is not None:
                modules.setdefault(owner, set()).add(member)
            texts.append(None)
        else:
            texts = [None]
    return modules


def pickles_of(content: bytes, format: Format) -> dict[str, bytes]:
    """The pickles in a model's file, by name, without those that can't be read."""
    if format is Format.PICKLE:
        return {"": content}
    if format is Format.PYFUNC:
        with suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: archive.read(name) for name in archive.namelist() if name.endswith(".pkl")}
    return {}


def modules_of(content: bytes, format: Format) -> dict[str, set[str]]:
    """The names that a model's file imports from modules, by module."""
    modules: dict[str, set[str]] = {}
    for each in pickles_of(content, format).values():
        with suppress(ValueError, KeyError, IndexError, EOFError):  # joblib files are pickles with arrays in between
            for module, names in globals_of(each).items():
                modules.setdefault(module, set()).update(names)
    return modules


def needs_of(content: bytes, format: Format) -> frozenset[str]:
    """Distributions whose code a model's file needs."""
    return distributions_of(modules_of(content, format))


def require_portable(content: bytes, format: Format, name: str) -> None:
    """Refuse a model whose file needs code that only the training process can import, such as its pipeline's.

    Args:
        content: bytes of the model's file.
        format: format of the file.
        name: name of the model, for the message.

    Raises:
        UsageError: the file needs such code; the message names the classes and their modules.
    """
    carried = _carried(content, format)
    taken = {name: each for name, each in modules_of(content, format).items() if name.partition(".")[0] not in carried}
    lost = found_nowhere(taken)
    if not lost:
        return
    shown = ", ".join(f"{module}.{each}" for module in lost for each in sorted(taken[module]))
    raise UsageError(
        f"Model {name} can't be kept as {format}: it needs {shown}, which other processes can't import: it is code "
        "of the pipeline or of the script that trained it.",
        hint="Put the class into a package that is installed where the model is trained and where it predicts; or "
        "return an MLflow PythonModel, which is kept as pyfunc with its class.",
    )


def found_nowhere(modules: Collection[str]) -> list[str]:
    """The modules that another process can't import: not Python's, not installed, not on PYTHONPATH."""
    known = [name for name in modules if name.partition(".")[0] in sys.stdlib_module_names or is_installed(name)]
    asked = sorted({*modules} - {*known} - {"__main__"})
    lost = {"__main__"} & {*modules}
    if asked:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _FIND, *asked],
            env=dict(python_environment()),
            capture_output=True,
            text=True,
            check=True,
        )
        lost |= set(done.stdout.splitlines()[-1].split())
    return sorted(lost)


def _carried(content: bytes, format: Format) -> frozenset[str]:
    """Modules that an MLflow model folder contains (its code_paths)."""
    if format is not Format.PYFUNC:
        return frozenset()
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(content)) as archive:
        inside = [Path(name).parts for name in archive.namelist()]
        return frozenset(parts[1].removesuffix(".py") for parts in inside if len(parts) > 1 and parts[0] == "code")
    return frozenset()
