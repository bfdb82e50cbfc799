"""What lies beside a model: whatever its modules import from Asgard is there too."""

import ast
from importlib.util import find_spec
from pathlib import Path

from asgard.model.artifacts.bundled import MODULES


def test_the_modules_beside_a_model_import_no_other() -> None:
    beside, known = {f"asgard.{name}" for name in MODULES} | {"asgard"}, _modules()
    lacking = {}
    for name in MODULES:
        spec = find_spec(f"asgard.{name}")
        assert spec is not None
        assert spec.origin is not None
        tree = ast.parse(Path(spec.origin).read_text())
        for_types = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node)]
        ignored = {id(inner) for node in for_types for inner in ast.walk(node)}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.ImportFrom)
                and (node.module or "").startswith("asgard")
                and id(node) not in ignored
            ):
                names = {f"{node.module}.{each.name}" for each in node.names} & known
                lacking.update({each: name for each in (names or {node.module or ""}) if each not in beside})
    assert lacking == {}


def _modules() -> set[str]:
    import asgard

    root = Path(asgard.__file__).parent
    return {f"asgard.{'.'.join(path.relative_to(root).with_suffix('').parts)}" for path in root.rglob("*.py")}
