"""Gates that a version must pass before it is promoted: pure functions of its facts. Users can add their own.

```python no-run
def drift_is_small(facts: PromotionFacts) -> str | None:
    return None if facts.binding.trainer_details["drift"] < 0.2 else "its features drifted"
```
"""

import importlib
import operator
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgard.common.errors import AsgardError, UsageError
from asgard.model.lifecycle import Stage, Version
from asgard.model.versions import Binding

if TYPE_CHECKING:
    from asgard.model.artifacts.signature import Signature


class PromotionRefusedError(AsgardError):
    """A gate refused a model's version, or the version's data are missing. The version was not moved."""


@dataclass(frozen=True)
class PromotionFacts:
    """The facts that gates get about a version before its promotion.

    Attributes:
        to: the stage that it would move to.
        metrics: the version's metrics on its test.
        signature: the version's signature, read from the verified artifact.
        production: the version in Production now; None if there is none.
        production_metrics, production_signature: metrics and signature of that version; empty and None if there is
            none, or if its files can't be read.
        audit: problems with the published data that the version was trained on.
    """

    name: str
    version: Version
    to: Stage
    binding: Binding = field(hash=False)
    metrics: Mapping[str, float] = field(hash=False)
    signature: "Signature | Any"
    production: Version | None = None
    production_metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    production_signature: "Signature | Any" = None
    audit: tuple[str, ...] = ()


Facts = PromotionFacts
"""The name that gates written before 0.1.0 import."""
Gate = Callable[[PromotionFacts], str | None]
"""Returns the reason to refuse the promotion, or None to allow it. A gate that raises also refuses."""


def metrics_in_bounds(facts: PromotionFacts) -> str | None:
    """Verify that the version's metrics are within the bounds declared with the model."""
    wrong = []
    for bounds, word, is_kept in (
        (facts.binding.minimum, "least", operator.ge),
        (facts.binding.maximum, "most", operator.le),
    ):
        for metric, bound in bounds.items():
            value = facts.metrics.get(metric)
            if value is None:
                wrong.append(f"{metric} was not measured and must be at {word} {bound:g}")
            elif not is_kept(value, bound):  # NaN is outside every bound
                wrong.append(f"{metric} is {value:.6g} and must be at {word} {bound:g}")
    return "; ".join(wrong) or None


def audit_passed(facts: PromotionFacts) -> str | None:
    """Verify that the version's training data were audited and published, and still exist."""
    return "; ".join(facts.audit) or None


def signature_is_compatible(facts: PromotionFacts) -> str | None:
    """Verify that the signature is compatible with the version in Production, or the major version is greater."""
    if facts.production is None or facts.version.major > facts.production.major:
        return None
    if facts.production_signature is None:
        return f"the files of {facts.production}, in Production, can't be read for the comparison: archive it first"
    from asgard.model.artifacts.signature import breaks

    broken = breaks(facts.production_signature, facts.signature)
    if not broken:
        return None
    return f"callers of {facts.production} would break ({'; '.join(broken)}); register it as a new major version"


BUILT_IN: tuple[Gate, ...] = (metrics_in_bounds, audit_passed, signature_is_compatible)


def require_all(gates: Sequence[Gate], facts: PromotionFacts) -> None:
    """Call every gate.

    Raises:
        PromotionRefusedError: at least one gate refused or raised; the details give each gate's reason or exception.
    """
    reasons = [(_name(gate), reason) for gate in gates if (reason := _asked(gate, facts))]
    if reasons:
        raise PromotionRefusedError(
            f"{facts.name}@{facts.version} is not promoted to {facts.to}: nothing was moved.",
            hint="Train a version that passes, or fix the gate; `asgard model show` prints its metrics and data.",
            details=tuple(f"{gate}: {reason}" for gate, reason in reasons),
        )


def _name(gate: Gate) -> str:
    return str(getattr(gate, "__name__", type(gate).__name__)).replace("_", " ")


def _asked(gate: Gate, facts: PromotionFacts) -> str | None:
    try:
        reason = gate(facts)
    except Exception as error:  # user code can raise anything
        place = traceback.extract_tb(error.__traceback__)[-1]
        failure = error.message if isinstance(error, AsgardError) else str(error)
        return f"the gate raised {type(error).__name__}: {failure} ({place.filename}, line {place.lineno})"
    if reason is None or (isinstance(reason, str) and reason):
        return reason
    return f"the gate returned {reason!r}; expected the reason to refuse as text, or None"


def load_gate(reference: str) -> Gate:
    """Import a user's gate.

    Args:
        reference: `package.module:function`.

    Raises:
        UsageError: the function does not exist, or its module can't be imported.
    """
    module_name, _, function = reference.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        gate = getattr(importlib.import_module(module_name), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"There is no gate {reference!r}: {error}.", hint="Name it as package.module:function."
        ) from error
    except Exception as error:  # user code can raise anything
        raise UsageError(
            f"The module of gate {reference!r} can't be imported: {type(error).__name__}: {error}.",
            hint="Fix the module: importing it should only define functions.",
        ) from error
    if not callable(gate):
        raise UsageError(
            f"{reference!r} is not a function.", hint="A gate takes PromotionFacts and returns a reason or None."
        )
    return gate  # type: ignore[no-any-return]
