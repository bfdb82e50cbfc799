"""The documents: what they show runs, what they link to is there, and what follows from the code is up to date."""

import ast
import importlib.util
import re
import shlex
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType

import pytest
import typer
from tests.support.documents import section

from asgard.cli.app import build
from asgard.cli.reference import filled
from asgard.common.settings import DEFINITIONS, load_settings
from asgard.ingest.formats import Format
from asgard.ingest.ledger import LedgerEntry
from asgard.ingest.own_columns import OWN
from asgard.lakehouse.declaring.declaration import Contract, EmptyInput, Table, WriteMode
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.declaring.sql_files import read_sql_file
from asgard.validation import checks
from asgard.validation.checks import Scope, Severity
from asgard.validation.rules import CheckKind

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")],
)
_BLOCK = re.compile(r"^```(\w*)([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_REPOSITORY_PATH = re.compile(r"`((?:src|tests|docs|examples|spark-apps|requirements|benchmarks)/[\w./-]*)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what else its first line says, and its text."""

    language: str
    remark: str
    text: str


def blocks(path: Path, language: str) -> list[Block]:
    found = [Block(match[1], match[2].strip(), match[3]) for match in _BLOCK.finditer(path.read_text(encoding="utf-8"))]
    return [block for block in found if block.language == language]


def having(language: str) -> list[Path]:
    return [path for path in DOCUMENTS if blocks(path, language)]


def prose(path: Path) -> str:
    return _BLOCK.sub("", path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def document(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_parts_made_from_the_code_are_up_to_date(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert filled(text) == text, "run: python -m asgard.cli.reference"


class TestBlocks:
    @pytest.mark.parametrize("language", ["python", "sql", "toml", "console"])
    def test_no_block_is_missed(self, language: str) -> None:
        opened = [line for path in DOCUMENTS for line in path.read_text(encoding="utf-8").splitlines()]
        begun = [line for line in opened if line.lstrip().startswith(f"```{language}")]
        assert len([block for path in DOCUMENTS for block in blocks(path, language)]) == len(begun) > 0

    @pytest.mark.parametrize("path", having("python"), ids=name_of)
    def test_python_runs(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        module = ModuleType("documented")
        monkeypatch.setitem(sys.modules, "documented", module)
        for block in blocks(path, "python"):
            code = compile(block.text, name_of(path), "exec")
            if block.remark != "no-run":
                assert not block.remark
                exec(code, vars(module))  # noqa: S102 - our own documents
        for pipeline in [value for value in vars(module).values() if isinstance(value, Pipeline)]:
            assert pipeline.in_order()

    @pytest.mark.parametrize("path", having("sql"), ids=name_of)
    def test_sql_files_are_declared(self, path: Path, tmp_path: Path) -> None:
        for block in blocks(path, "sql"):
            if block.text.startswith("-- table:"):
                (tmp_path / "table.sql").write_text(block.text, encoding="utf-8")
                assert read_sql_file(tmp_path / "table.sql").name

    @pytest.mark.parametrize("path", having("toml"), ids=name_of)
    def test_settings_files_are_read(self, path: Path, tmp_path: Path) -> None:
        for block in blocks(path, "toml"):
            (tmp_path / "asgard.toml").write_text(block.text, encoding="utf-8")
            settings = load_settings(environment={}, config_file=tmp_path / "asgard.toml")
            assert {settings.sources[name] for name in tomllib.loads(block.text)} == {f"file {tmp_path}/asgard.toml"}

    @pytest.mark.parametrize("path", having("console"), ids=name_of)
    def test_command_lines_are_taken(self, path: Path) -> None:
        for block in blocks(path, "console"):
            for line in block.text.splitlines():
                assert line.startswith("$ "), f"{line!r}: a console block holds what is typed, not what is printed"
                check_command_line(shlex.split(line[2:]))


def check_command_line(words: list[str]) -> None:
    match words:
        case ["asgard", name, *arguments] | ["./run", "asgard", name, *arguments]:
            parse(name, arguments)
        case ["./run", name, *_]:
            assert re.search(rf"^  {name}\b", (ROOT / "run").read_text(), re.MULTILINE), f"./run has no {name}"
        case ["python" | ".venv/bin/python", "-m", module, *_]:
            assert importlib.util.find_spec(module), f"there is no module {module}"
        case ["python", "-c", code]:
            ast.parse(code)
        case ["spark-submit", *arguments]:
            place = next(index for index, word in enumerate(arguments) if word.startswith("spark-apps/"))
            assert (ROOT / arguments[place]).is_file()
            parse(Path(arguments[place]).stem.removesuffix("_job").replace("_", "-"), arguments[place + 1 :])
        case ["export", *assignments]:
            assert {one.partition("=")[0] for one in assignments} <= variables()
        case _:
            pytest.fail(f"the test of documents does not know what {words} is")


def parse(name: str, arguments: list[str]) -> None:
    """Parse a command's arguments as the command line does; nothing is run."""
    group = typer.main.get_command(build([name]))
    commands = getattr(group, "commands", {})
    assert name in commands, f"there is no command {name}"
    commands[name].make_context(name, arguments)


def variables() -> set[str]:
    """Every environment variable that is documented for users."""
    own = {definition.variable for definition in DEFINITIONS} | {"ASGARD_CONFIG"}
    return own | {alias for definition in DEFINITIONS for alias, _ in definition.aliases}


class TestLinks:
    @pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
    def test_links_lead_somewhere(self, path: Path) -> None:
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
            if re.match(r"https?://", target):
                continue
            file, _, anchor = target.partition("#")
            found = (path.parent / file).resolve() if file else path
            assert found.is_relative_to(ROOT), f"{target} leads out of the repository"
            assert found.exists(), f"{target}: there is no such file"
            if anchor:
                assert anchor in set(anchors(found)), f"{target}: there is no such heading"

    @pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
    def test_named_files_are_there(self, path: Path) -> None:
        for named in _REPOSITORY_PATH.findall(prose(path)):
            assert (ROOT / named).exists(), f"there is no {named}"

    def test_drawings_are_whole(self) -> None:
        for path in (ROOT / "docs").glob("*.svg"):
            drawing = ElementTree.parse(path).getroot()  # noqa: S314 - our own file
            assert drawing.find("{http://www.w3.org/2000/svg}title") is not None
            assert not re.search(r"href=|url\((?!#)|<script", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> Iterator[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    seen: dict[str, int] = {}
    for heading in re.findall(r"^#{1,6} (.+)$", prose(path), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        yield f"{slug}-{count}" if count else slug


class TestMap:
    """CONTRIBUTING's map and the tree are the same."""

    ROOMS = re.findall(r"^\| `src/([\w/]+)/` \|", section(ROOT / "CONTRIBUTING.md", "Find your way"), re.MULTILINE)

    def test_every_room_is_in_it_once(self) -> None:
        packages = {path.parent.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("__init__.py")}
        assert sorted(self.ROOMS) == sorted(map(str, packages - {Path()}))

    def test_the_rooms_stand_in_the_order_of_the_imports(self) -> None:
        configured = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        order = configured["tool"]["importlinter"]["contracts"][0]["layers"]
        layers = [[room.strip().removeprefix("asgard.") for room in layer.split("|")] for layer in order]
        found = [room for room in self.ROOMS if "/" not in room]
        for layer in layers:
            assert set(found[: len(layer)]) == set(layer)
            del found[: len(layer)]
        assert found == []
        assert all(room.partition("/")[0] in self.ROOMS[:place] for place, room in enumerate(self.ROOMS) if "/" in room)

    def test_its_steps_name_what_is_there(self) -> None:
        steps = re.findall(
            r"^(?:\d\.|-) (.*(?:\n  +.*)*)", section(ROOT / "CONTRIBUTING.md", "Where things go"), re.MULTILINE
        )
        named = 0
        for step in steps:
            files = [ROOT / path for path in _REPOSITORY_PATH.findall(step) if (ROOT / path).is_file()]
            text = "\n".join(path.read_text(encoding="utf-8") for path in files)
            for word in re.findall(r"`([A-Za-z_]\w*)`", step) if files else ():
                named += 1
                assert re.search(rf"\b{word}\b", text), f"{word}: {step}"
        assert named > 40


class TestNothingIsForgotten:
    @pytest.mark.parametrize("kind", CheckKind)
    def test_checks(self, kind: CheckKind) -> None:
        assert callable(getattr(checks, kind))
        assert f"| `{kind}(" in document("declaring-checks.md")

    @pytest.mark.parametrize("word", [*Severity, *Scope])
    def test_severities_and_scopes(self, word: str) -> None:
        assert re.search(rf"^\| `?{word}\b", document("declaring-checks.md"), re.MULTILINE)

    @pytest.mark.parametrize("name", [field.name for field in fields(Table)])
    def test_properties_of_tables(self, name: str) -> None:
        assert f"`{name}`" in document("declaring-tables.md")

    @pytest.mark.parametrize("word", [*WriteMode, *Contract, *EmptyInput])
    def test_modes_and_policies(self, word: str) -> None:
        assert f"`{word}`" in document("declaring-tables.md")

    @pytest.mark.parametrize("name", [*OWN, *Format, *(field.name for field in fields(LedgerEntry))])
    def test_what_ingest_reads_and_writes(self, name: str) -> None:
        assert f"`{name}`" in document("ingesting.md")

    @pytest.mark.parametrize("name", sorted(variables()))
    def test_variables_of_the_example_file(self, name: str) -> None:
        text = (ROOT / ".env.example").read_text(encoding="utf-8")
        well_known = not name.startswith("ASGARD_")
        shadowed = any(name == each.variable and each.aliases for each in DEFINITIONS)
        assert well_known or shadowed or f"\n#{name}=" in text
        assert not well_known or f"\n#{name}=" in text

    def test_the_example_file_names_no_other_variable(self) -> None:
        lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
        named = {match[1] for line in lines if (match := re.match(r"#(\w+)=", line))}
        assert named <= variables()
        assert all(line.startswith("#") or not line for line in lines)

    def test_decisions(self) -> None:
        folder = ROOT / "docs" / "decisions"
        titles = {
            path.name: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for path in folder.glob("0*.md")
        }
        lines = [f"{title.partition('. ')[0]}. [{title.partition('. ')[2]}]({name})" for name, title in titles.items()]
        listed = re.findall(r"^\d.*$", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
        assert listed == sorted(lines, key=lambda line: int(line.partition(".")[0]))

    def test_kinds_of_errors(self) -> None:
        text = document("troubleshooting.md")
        for path in (ROOT / "src").rglob("*.py"):
            for kind in re.findall(r"^class ([A-Z]\w+Error)\(", path.read_text(encoding="utf-8"), re.MULTILINE):
                assert f"`{kind}`" in text or kind == "AsgardError", f"{kind} of {name_of(path)} is not explained"


MESSAGES = [
    message
    for message in re.findall(r"`([^`\n]*\.\.\.[^`\n]*)`", prose(ROOT / "docs" / "troubleshooting.md"))
    if " " in message and not message.startswith("asgard ")
]


@pytest.fixture(scope="module")
def texts_of_the_code() -> str:
    """Every text in the source; what an f-string fills in is `…`."""
    found = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


@pytest.mark.parametrize("message", MESSAGES)
def test_explained_messages_are_those_of_the_code(message: str, texts_of_the_code: str) -> None:
    """A message may be put together of several texts, so each of its pieces is looked for."""
    pieces = [piece.strip(" :,.") for piece in message.split("...")]
    assert [piece for piece in pieces if piece not in texts_of_the_code] == []
