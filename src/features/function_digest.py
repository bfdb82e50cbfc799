"""The digest of an on-demand feature's code: it changes when what is computed may have changed."""

import ast
import hashlib
import inspect
import json
import sys
import textwrap

from asgard.features.views import OnDemandFeature

_PYTHON = ".".join(map(str, sys.version_info[:2]))


def digest_of(feature: OnDemandFeature) -> str | None:
    """The SHA-256 of a function's syntax, its inputs and its type; None where its source is not to be had.

    Comments, layout and the docstring do not count. What the function calls of its module is not looked at. The syntax
    tree is one of a version of Python, which stands in front: `3.11:9f86d0...`.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(feature.function)))
    except (OSError, TypeError, SyntaxError):
        return None
    own = next((node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)), None)
    if own is None:
        return None
    own.decorator_list = []
    if ast.get_docstring(own) is not None:
        own.body = own.body[1:]
    text = json.dumps([ast.dump(own), dict(feature.inputs), dict(feature.request), feature.type], sort_keys=True)
    return f"{_PYTHON}:{hashlib.sha256(text.encode()).hexdigest()}"


def differs(recorded: str | None, feature: OnDemandFeature) -> bool:
    """Whether a function is another one than was recorded; not where that can't be told."""
    now = digest_of(feature)
    if recorded is None or now is None or recorded.partition(":")[0] != now.partition(":")[0]:
        return False
    return recorded != now
