"""Write the parts of the documentation that follow from the code: `python -m asgard.cli.reference`.

A document marks such a part with two comments, and says everything else in its own words:

    <!-- made from the code: settings -->
    <!-- end -->

A test holds the documents against `filled`, so a new command, option, setting or metric is documented by
running this once.
"""

import argparse
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any

from typer.models import ArgumentInfo, ParameterInfo

from asgard.cli.app import COMMANDS, Command
from asgard.common.errors import DeclarationError

_PART = re.compile(r"(<!-- made from the code: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """A document with its marked parts made anew.

    Raises:
        DeclarationError: it marks a part that there is none of.
    """

    def fill(match: "re.Match[str]") -> str:
        if match[2] not in PARTS:
            raise DeclarationError(
                f"{match[2]!r} is no part that is made from the code.", hint=f"There are {', '.join(PARTS)}."
            )
        return f"{match[1]}\n{PARTS[match[2]]()}\n{match[3]}"

    return _PART.sub(fill, text)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the marked parts of all Markdown files of a folder anew."""
    parser = argparse.ArgumentParser(prog="python -m asgard.cli.reference", description=main.__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs"), help="by default docs")
    for path in sorted(parser.parse_args(argv).folder.rglob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = filled(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            sys.stdout.write(f"{path}\n")
    return 0


def _commands() -> str:
    panels: dict[str, list[str]] = {}
    for command in COMMANDS:
        panels.setdefault(command.panel, []).append(_command(command))
    return "\n".join(f"## {panel}\n\n{''.join(texts)}" for panel, texts in panels.items())


def _command(command: Command) -> str:
    function = command.load()
    parameters = list(_parameters(function))
    usage = ["asgard", command.name, *(each.usage for each in parameters if each.usage)]
    if not all(each.usage for each in parameters):
        usage.append("[OPTIONS]")
    rows = [(each.shown, each.help, each.default) for each in parameters]
    return (
        f"### asgard {command.name}\n\n{inspect.getdoc(function)}\n\n```text\n{' '.join(usage)}\n```\n\n"
        f"{_table(('Option', 'Meaning', 'Default'), rows)}\n"
    )


@typing.final
class _Parameter:
    """One argument or option of a command, as its function's signature declares it."""

    def __init__(self, parameter: inspect.Parameter, hint: Any) -> None:
        kind, *extra = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        info = next((each for each in extra if isinstance(each, ParameterInfo)), parameter.default)
        self._name, self._kind, self._info = parameter.name, _plain_type(kind), info
        self._is_list = typing.get_origin(self._kind) is list
        given = parameter.default
        self._value = info.default if isinstance(given, ParameterInfo) else given
        self._is_required = self._value in (inspect.Parameter.empty, ...)

    @property
    def usage(self) -> str:
        """Its place in the usage line, if it has one there: arguments and what is required."""
        if isinstance(self._info, ArgumentInfo):
            shown = self._info.metavar or self._name.upper()
            shown = f"{shown}..." if self._is_list else shown
            return shown if self._is_required else f"[{shown}]"
        return f"{self._names()[0]} {self._metavar()}" if self._is_required else ""

    @property
    def shown(self) -> str:
        """Its names and what it takes, as code."""
        if isinstance(self._info, ArgumentInfo):
            return f"`{self._info.metavar or self._name.upper()}`"
        takes = "" if self._kind is bool else f" {self._metavar()}"
        return f"`{', '.join(self._names())}{takes}`"

    @property
    def help(self) -> str:
        """What it says of itself."""
        return self._info.help or ""

    @property
    def default(self) -> str:
        """Its default, if that says something."""
        if self._is_required:
            return "required"
        if self._value in (None, "", False):
            return ""
        if self._value is True:
            return f"`{self._names()[0].split('/')[0]}`"
        return f"`{self._value}`"

    def _names(self) -> list[str]:
        declared = [name for name in self._info.param_decls or () if name.startswith("-")]
        option = f"--{self._name.replace('_', '-')}"
        if declared:
            return sorted(declared, key=lambda name: not name.startswith("--"))
        return [f"{option}/--no-{option[2:]}" if self._kind is bool else option]

    def _metavar(self) -> str:
        if self._info.metavar:
            return str(self._info.metavar)
        kind = typing.get_args(self._kind)[0] if self._is_list else self._kind
        if isinstance(kind, type) and issubclass(kind, Enum):
            return "|".join(str(each.value) for each in kind)
        return "NUMBER" if kind is int else "TEXT"


def _parameters(function: Callable[..., Any]) -> Iterator[_Parameter]:
    hints = typing.get_type_hints(function, include_extras=True)
    found = [_Parameter(each, hints[each.name]) for each in inspect.signature(function).parameters.values()]
    yield from sorted(found, key=lambda each: not each.usage)


def _plain_type(kind: Any) -> Any:
    """The type without `| None`."""
    if isinstance(kind, UnionType) or typing.get_origin(kind) is typing.Union:
        return next(each for each in typing.get_args(kind) if each is not type(None))
    return kind


def _settings() -> str:
    from asgard.common.settings import DEFINITIONS

    rows = []
    for each in DEFINITIONS:
        variables = [each.variable, *(name for name, _ in each.aliases)]
        default = _COMPUTED.get(each.name, f"`{each.default}`" if each.default is not None else "")
        rows.append((f"`{each.name}`", each.help, ", ".join(f"`{name}`" for name in variables), default))
    return _table(("Setting", "Meaning", "Environment, first one first", "Default"), rows)


_COMPUTED = {
    "nessie_uri": "the Nessie of `asgard up`",
    "redis_url": "the Redis of `asgard up`",
    "mlflow_tracking_uri": "the MLflow of `asgard up`",
    "warehouse": "`<project_dir>/warehouse`",
    "cache_dir": "`~/.cache/asgard`",
    "user": "the system's user",
    "java_home": "looked for",
}


def _metrics() -> str:
    from asgard.monitoring.metrics import DEFINITIONS

    rows = [
        (f"`{each.name}`", str(each.type), each.help, ", ".join(f"`{label}`" for label in each.labels))
        for each in DEFINITIONS
    ]
    return _table(("Metric", "Type", "Meaning", "Labels"), rows)


def _jars() -> str:
    from asgard.common.jars import JARS

    rows = [(f"`{jar.file_name}`", jar.purpose.value, f"{jar.megabytes} MB", f"`{jar.sha256}`") for jar in JARS]
    return _table(("File", "For", "Size", "SHA-256"), rows)


def _overview() -> str:
    return _table(("Command", "What it does"), [(f"`asgard {each.name}`", each.help) for each in COMMANDS])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


PARTS: Mapping[str, Callable[[], str]] = {
    "commands": _commands,
    "overview": _overview,
    "settings": _settings,
    "metrics": _metrics,
    "jars": _jars,
}
"""What a document may mark, and what makes it."""

if __name__ == "__main__":
    raise SystemExit(main())
