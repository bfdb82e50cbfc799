"""The order of the suite's files, and the summary of their times at the end: a pytest plugin.

With several processes (`-n`), a process takes the next file when it has finished one. The slowest files come first, so
that no process still runs a long file while the others are idle. Which files a process runs depends on chance, so no
file may affect the next one: after each file, the modules that its tests wrote are removed from `sys.modules`.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

SECONDS = Path(__file__).parent.parent / "seconds.json"
"""Seconds of each file, written by `./run test --record`."""
_UNKNOWN = 10.0
_SHOWN = 20
_WORTH_SAYING = 60.0
"""Shortest test run, in seconds, that gets a summary."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("asgard")
    group.addoption("--record", action="store_true", help="write the seconds that each file took to tests/seconds.json")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the slowest files first; the order inside a file is kept."""
    known: Mapping[str, float] = json.loads(SECONDS.read_text()) if SECONDS.exists() else {}
    items.sort(key=lambda item: (-known.get(_file(item.nodeid), _UNKNOWN), _file(item.nodeid)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write the minutes of each folder, and the slowest tests with their fixtures."""
    files: dict[str, float] = defaultdict(float)
    tests: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for each in reports:
            if isinstance(each, pytest.TestReport):
                files[_file(each.nodeid)] += each.duration
                tests[each.nodeid] += each.duration
    folders: dict[str, float] = defaultdict(float)
    for file, seconds in files.items():
        folders["/".join(Path(file).parts[:2])] += seconds
    if sum(folders.values()) < _WORTH_SAYING and not config.getoption("--record"):
        return
    terminalreporter.write_sep("=", "minutes of each folder, summed over processes")
    for folder, seconds in sorted(folders.items(), key=lambda each: -each[1]):
        terminalreporter.write_line(f"{seconds / 60:6.1f} {folder}")
    terminalreporter.write_sep("=", f"seconds of the slowest {_SHOWN} tests, fixtures included")
    for test, seconds in sorted(tests.items(), key=lambda each: -each[1])[:_SHOWN]:
        terminalreporter.write_line(f"{seconds:6.1f} {test}")
    if config.getoption("--record"):
        known: Mapping[str, float] = json.loads(SECONDS.read_text()) if SECONDS.exists() else {}
        now = {file: round(seconds, 1) for file, seconds in files.items() if seconds >= 1}
        there = {file: seconds for file, seconds in (known | now).items() if (SECONDS.parent.parent / file).exists()}
        SECONDS.write_text(json.dumps(dict(sorted(there.items())), indent=1) + "\n")


@pytest.fixture(scope="module", autouse=True)
def own_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After each file, remove modules in temporary folders from `sys.modules`, and these folders from `sys.path`."""
    yield
    folder = tmp_path_factory.getbasetemp()
    for name in [
        name for name, module in sys.modules.items() if any(_within(each, folder) for each in _places(module))
    ]:
        del sys.modules[name]
    sys.path[:] = [each for each in sys.path if not _within(each, folder)]


def _places(module: ModuleType | None) -> list[str]:
    """Return the file of a module and the folders of a package (one without __init__.py has no file)."""
    named = (getattr(module, "__file__", None), *getattr(module, "__path__", ()))
    return [each for each in named if isinstance(each, str)]


def _within(place: str, folder: Path) -> bool:
    return Path(place).is_relative_to(folder)


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]
