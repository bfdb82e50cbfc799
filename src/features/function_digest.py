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
    """The SHA-256 of a function's syntax, its inputs and its type; None if its source is not available.

    Comments, layout and the docstring do not count; nor does code that the function calls. The digest starts with the
    Python version, because syntax trees differ between versions: `3.11:9f86d0...`.
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
    """Whether a function differs from the recorded digest; False if that can't be determined."""
    now = digest_of(feature)
    if recorded is None or now is None or recorded.partition(":")[0] != now.partition(":")[0]:
        return False
    return recorded != now
