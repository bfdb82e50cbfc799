"""Write the parts of the documentation that are generated from the code: `python -m asgard.cli.reference`.

A document marks such a part with two comments; the rest of the document is written by hand:

    <!-- made from the code: settings -->
    <!-- end -->

A test compares the documents with `filled`; run this once to document a new command, option, setting or metric.
"""

import argparse
import inspect
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any

from typer.models import ArgumentInfo

from asgard.cli.app import COMMANDS, Command
from asgard.common.errors import DeclarationError

_PART = re.compile(r"(<!-- made from the code: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """Generate the marked parts of a document again.

    Raises:
        DeclarationError: the document marks an unknown part.
    """

    def fill(match: "re.Match[str]") -> str:
        if match[2] not in PARTS:
            raise DeclarationError(
                f"{match[2]!r} is not a part that is made from the code.", hint=f"Use one of {', '.join(PARTS)}."
            )
        return f"{match[1]}\n{PARTS[match[2]]()}\n{match[3]}"

    return _PART.sub(fill, text)


def main(argv: Sequence[str] | None = None) -> int:
    """Generate the marked parts of Markdown files again, and print the files that changed."""
    parser = argparse.ArgumentParser(prog="python -m asgard.cli.reference", description=main.__doc__)
    parser.add_argument(
        "paths", nargs="*", type=Path, default=[Path("README.md"), Path("docs")], help="default: README.md docs"
    )
    for given in parser.parse_args(argv).paths:
        for path in sorted(given.rglob("*.md")) if given.is_dir() else [given]:
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
    parameters = _parameters(function)
    usage = ["asgard", command.name, *(each.usage for each in parameters if each.usage), "[OPTIONS]"]
    rows = [(each.shown, each.help, each.default) for each in parameters]
    return (
        f"### asgard {command.name}\n\n{inspect.getdoc(function)}\n\n```text\n{' '.join(usage)}\n```\n\n"
        f"{_table(('Option', 'Meaning', 'Default'), rows)}\n"
    )


@dataclass(frozen=True)
class _Parameter:
    """One argument or option of a command, as its function's signature declares it.

    Attributes:
        names: the names of an option, `--long` before `-s`; the name of an argument in the usage line.
        takes: the text that follows an option's name; "" for a flag.
        default: "required", or the default value; "" if the default is None or False.
    """

    names: tuple[str, ...]
    takes: str
    help: str
    default: str
    is_argument: bool
    is_list: bool

    @property
    def shown(self) -> str:
        """Its names and value as Markdown code."""
        return f"`{', '.join(self.names)}{self.takes}`"

    @property
    def usage(self) -> str:
        """Its text in the usage line; "" for an option that is not required."""
        if not self.is_argument:
            return f"{self.names[0]}{self.takes}" if self.default == "required" else ""
        shown = f"{self.names[0]}..." if self.is_list else self.names[0]
        return shown if self.default == "required" else f"[{shown}]"


def _parameters(function: Callable[..., Any]) -> list[_Parameter]:
    """A command's parameters; those in the usage line come first."""
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = [_parameter(each, hints[each.name]) for each in inspect.signature(function).parameters.values()]
    return sorted(parameters, key=lambda each: not each.usage)


def _parameter(parameter: inspect.Parameter, hint: Any) -> _Parameter:
    declared, info = typing.get_args(hint)  # all are Annotated: the function's default is the option's
    kind = _plain_type(declared)
    is_list = typing.get_origin(kind) is list
    is_argument = isinstance(info, ArgumentInfo)
    words = [word for word in (info.default, *(info.param_decls or ())) if isinstance(word, str)]
    option = f"--{parameter.name.replace('_', '-')}"
    names = tuple(words) or (f"{option}/--no-{option[2:]}" if kind is bool else option,)
    metavar = info.metavar or (parameter.name.upper() if is_argument else _metavar(kind))
    return _Parameter(
        names=(metavar,) if is_argument else names,
        takes="" if is_argument or kind is bool else f" {metavar}",
        help=info.help or "",
        default=_default(parameter.default, names[0]),
        is_argument=is_argument,
        is_list=is_list,
    )


def _default(value: Any, name: str) -> str:
    if value is inspect.Parameter.empty:
        return "required"
    if value is None or value is False:
        return ""
    return f"`{name.split('/')[0]}`" if value is True else f"`{value}`"


def _metavar(kind: Any) -> str:
    if typing.get_origin(kind) is list:
        (kind,) = typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(each.value) for each in kind)
    return "NUMBER" if kind is int else "TEXT"


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
    return _table(("Setting", "Meaning", "Environment variables, in their order", "Default"), rows)


_COMPUTED = {
    "nessie_uri": "the Nessie of `asgard up`",
    "redis_url": "the Redis of `asgard up`",
    "mlflow_tracking_uri": "the MLflow of `asgard up`",
    "warehouse": "`<project_dir>/warehouse`",
    "cache_dir": "`~/.cache/asgard`",
    "user": "the system's user",
    "java_home": "searched for",
    "maven_repository": "the public one",
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


def _errors() -> str:
    from asgard.common import errors

    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.AsgardError)]
    rows = [
        (f"`{kind.__name__}`", (inspect.getdoc(kind) or "").split("\n\n")[0], str(int(kind.exit_code)))
        for kind in kinds
        if kind is not errors.AsgardError
    ]
    return _table(("Error", "Meaning", "Exit code"), rows)


def _overview() -> str:
    return _table(("Command", "What it does"), [(f"`asgard {each.name}`", each.help) for each in COMMANDS])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """Escape a text for a table's cell; outside code, Markdown would interpret `<` and `*`."""
    if not text.startswith("`"):
        text = text.replace("<", "&lt;").replace("*", "\\*")
    return text.replace("|", "\\|")


PARTS: Mapping[str, Callable[[], str]] = {
    "commands": _commands,
    "overview": _overview,
    "settings": _settings,
    "metrics": _metrics,
    "jars": _jars,
    "errors": _errors,
}
"""The parts that a document may mark, and the functions that generate them."""

if __name__ == "__main__":
    raise SystemExit(main())
