"""Digests of the code that computes a table: of what decides its rows, of its checks, and of its documentation.

A comment, a docstring, a blank line or another layout changes no digest: Python is compared as its syntax tree, SQL as
its tokens. A function's digest covers the functions, classes and constants of the pipeline's own modules that it uses,
directly or through others. Code of installed packages is not followed: an upgrade of a library changes no digest.
"""

import ast
import dis
import enum
import functools
import hashlib
import inspect
import re
import site
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from asgard.lakehouse.declaring.declaration import Table, WriteMode

_LENGTH = 16
_OWN_PACKAGE = "asgard."
_FOLLOWED_IN_ASGARD = ("asgard.features.user_features",)
"""Modules of Asgard whose functions compute a pipeline's rows."""
_PLAIN = (type(None), bool, int, float, complex, str, bytes, date, datetime, time, timedelta, Decimal, re.Pattern)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_SQL_TOKEN = re.compile(
    r"""(?P<gap>\s+|--[^\n]*|/\*.*?\*/)|(?P<quoted>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`]|``)*`)|"""
    r"""(?P<word>\w+)|(?P<sign>.)""",
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True)
class CodeDigests:
    """Of one table, each 16 hexadecimal digits.

    Attributes:
        rows: what decides its rows: the function, what that uses, and the declaration of how rows are written.
        checks: what its rows are audited against.
        documentation: owner, description, tags and the like.
    """

    rows: str
    checks: str
    documentation: str


def code_digests(table: Table) -> CodeDigests:
    """The digests of a table as it is declared now."""
    merged = table.mode is WriteMode.MERGE
    written = {
        "inputs": table.inputs,
        "mode": table.mode,
        "interval": (table.interval.unit, table.interval.column) if table.interval else None,
        "keys": table.keys if merged else (),
        "columns": _sql_text(table.columns or ""),
        "renames": table.renames,
    }
    functions = [
        value for check in table.checks for value in vars(check.rule).values() if isinstance(value, FunctionType)
    ]
    about = (table.owner, table.description, table.tags, table.consumers, table.update_frequency, table.retention)
    return CodeDigests(
        rows=_digest([_value(written), _Walk().of(table.function) if table.function else ()]),
        checks=_digest([_value((table.audited_checks, table.contract)), [_Walk().of(each) for each in functions]]),
        documentation=_digest((*about, table.keys)),
    )


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:_LENGTH]


class _Walk:
    """Collects everything of the pipeline's own modules that some code uses, each once."""

    def __init__(self) -> None:
        self._pieces: dict[str, str] = {}
        self._visited: set[int] = set()

    def of(self, function: Callable[..., Any]) -> list[tuple[str, str]]:
        """What was collected from a function on, in a fixed order; each with the text that stands for it."""
        self._function(function, "")
        return sorted(self._pieces.items())

    def _function(self, function: Any, name: str) -> None:
        if isinstance(function, functools.partial):
            self._pieces[f"{name}(partial)"] = repr(_value((function.args, sorted(function.keywords.items()))))
            self._function(function.func, name)
            return
        function = inspect.unwrap(function.__func__ if isinstance(function, MethodType) else function)
        query = getattr(function, "asgard_sql", None)
        if query is not None:
            self._pieces[name] = _sql_text(query)
            return
        if not isinstance(function, FunctionType):
            call = vars(type(function)).get("__call__")
            self._pieces[f"{name}(object)"] = repr(_value(function))
            if isinstance(call, FunctionType):
                self._function(call, f"{name}()")
            return
        if id(function) in self._visited:
            return
        self._visited.add(id(function))
        place = f"{function.__module__}.{function.__qualname__}" if name else ""
        while place in self._pieces:  # lambdas, or closures that one function made
            place += "'"
        self._pieces[place] = _source(function)
        defaults = (function.__defaults__, sorted((function.__kwdefaults__ or {}).items()))
        if any(defaults):
            self._pieces[f"{place}(defaults)"] = repr(_value(defaults))
        for cell_name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                self._used(cell.cell_contents, f"{place}.{cell_name}")
            except ValueError:  # an empty cell
                continue
        self._names(function.__code__, function.__globals__)

    def _names(self, code: CodeType, known: Mapping[str, Any]) -> None:
        names = set(_global_names(code))
        module = str(known.get("__name__", ""))
        for name in sorted(names):
            if name in known:
                self._used(known[name], f"{module}.{name}", attributes=names)
        for imported in sorted(_imports(code)):
            if imported in sys.modules and _is_own(sys.modules[imported]):
                self._used(sys.modules[imported], imported, attributes=names)

    def _used(self, value: Any, name: str, attributes: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """Something that code uses by a name; of a module, what it uses by these names."""
        if isinstance(value, ModuleType):
            if _is_own(value) and f"{name}(module)" not in self._pieces:
                self._pieces[f"{name}(module)"] = ""
                for attribute in sorted(attributes & set(vars(value))):
                    self._used(vars(value)[attribute], f"{value.__name__}.{attribute}", attributes)
        elif isinstance(value, type):
            self._class(value)
        elif callable(value) and not isinstance(value, enum.Enum):
            target = value.func if isinstance(value, functools.partial) else inspect.unwrap(value)
            if isinstance(value, functools.partial) or _is_own(inspect.getmodule(target)):
                self._function(value, name)
        elif isinstance(value, (*_PLAIN, tuple, list, dict, set, frozenset, enum.Enum)):
            self._pieces[name] = repr(_value(value))
            self._inside(value, name)
        elif type(value).__module__.startswith("pyspark.sql"):  # schemas and columns
            self._pieces[name] = _ADDRESS.sub("", repr(value))
        elif _is_own(sys.modules.get(type(value).__module__)):
            self._class(type(value))
            self._pieces[name] = repr(_value(value if is_dataclass(value) else getattr(value, "__dict__", ())))

    def _inside(self, value: Any, name: str) -> None:
        """What a container holds beside plain values."""
        if isinstance(value, dict):
            value = [each for _, each in sorted(value.items(), key=lambda item: repr(item[0]))]
        if isinstance(value, (tuple, list)):
            for place, each in enumerate(value):
                if not isinstance(each, _PLAIN):
                    self._used(each, f"{name}[{place}]")

    def _class(self, kind: type) -> None:
        place = f"{kind.__module__}.{kind.__qualname__}"
        if place in self._pieces or not _is_own(sys.modules.get(kind.__module__)):
            return
        self._pieces[place] = ""
        for name, member in sorted(vars(kind).items()):
            inner = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if isinstance(inner, FunctionType):
                self._function(inner, f"{place}.{name}")
            elif not name.startswith("__"):
                self._used(member, f"{place}.{name}")
        for base in kind.__bases__:
            self._class(base)


def _source(function: FunctionType) -> str:
    """A function as text of one layout, without docstrings and without the decorator that declares it as a table.

    Not the syntax tree itself: that differs between versions of Python.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return _instructions(function.__code__)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    outer = tree.body[0]
    if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef):
        outer.decorator_list = [each for each in outer.decorator_list if not _declares_table(each)]
        return ast.unparse(outer)
    lambdas = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
    return ast.unparse(lambdas[0] if len(lambdas) == 1 else tree)


def _declares_table(decorator: ast.expr) -> bool:
    return (
        isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute) and decorator.func.attr == "table"
    )


def _instructions(code: CodeType) -> str:
    """Code without a source of its own, by what it does; line numbers are left out."""
    steps = [
        (each.opname, each.argrepr) for each in dis.get_instructions(code) if not isinstance(each.argval, CodeType)
    ]
    inner = [_instructions(each) for each in code.co_consts if isinstance(each, CodeType)]
    return repr((steps, inner))


def _global_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _global_names(inner)


def _imports(code: CodeType) -> Iterator[str]:
    """The modules that code imports when it runs."""
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            yield str(step.argval)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _imports(inner)


@functools.cache
def _installed() -> tuple[Path, ...]:
    """Folders of the standard library and of installed packages."""
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(Path(path).resolve() for path in (*paths, *site.getsitepackages()) if path)


def _is_own(module: ModuleType | None) -> bool:
    """Whether a module is the pipeline's: not Asgard's, not installed, not built in."""
    if module is None or module.__name__ in _FOLLOWED_IN_ASGARD:
        return module is not None
    if f"{module.__name__}.".startswith(_OWN_PACKAGE):
        return False
    file = getattr(module, "__file__", None)
    if file is None:
        return module.__name__ == "__main__" or hasattr(module, "__path__")
    return not any(Path(file).resolve().is_relative_to(folder) for folder in _installed())


def _value(value: Any) -> Any:
    """A value in a form whose text depends on nothing but the value."""
    if isinstance(value, enum.Enum):
        return (type(value).__qualname__, value.name)
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, _PLAIN):
        return (type(value).__qualname__, str(value)) if isinstance(value, (Decimal, re.Pattern)) else value
    if isinstance(value, Mapping):
        return ("map", sorted((repr(_value(key)), _value(each)) for key, each in value.items()))
    if isinstance(value, (set, frozenset)):
        return ("set", sorted(repr(_value(each)) for each in value))
    if isinstance(value, (tuple, list)):
        return tuple(_value(each) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        return (type(value).__qualname__, [(each.name, _value(getattr(value, each.name))) for each in fields(value)])
    if isinstance(value, FunctionType):
        return ("function", value.__qualname__)
    return type(value).__qualname__


def _sql_text(text: str) -> str:
    """SQL with one space between its tokens, without comments; what is quoted stays as it is."""
    tokens = (match for match in _SQL_TOKEN.finditer(text))
    return " ".join(match[0] for match in tokens if match.lastgroup != "gap")
