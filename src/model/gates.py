"""Gates: what a version has to pass before it is promoted. Pure functions of its facts; users add their own.

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
    """A model's version is not good enough to go on, or its data are gone: nothing was moved."""


@dataclass(frozen=True)
class PromotionFacts:
    """What is known of a version that is to be promoted.

    Attributes:
        to: where it is to go.
        metrics: of its test.
        signature: of the version; verified bytes of its artifact say so.
        production: the version in Production now, and
        production_metrics, production_signature: what is known of that; empty and None where there is none, or where
            its files can't be read.
        audit: what is wrong with the published data that it learned from.
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
"""The name that gates of before 0.1.0 import."""
Gate = Callable[[PromotionFacts], str | None]
"""A reason to refuse the promotion, in words; None lets it pass. One that fails refuses, too."""


def metrics_in_bounds(facts: PromotionFacts) -> str | None:
    """Its metrics keep the bounds that were declared with it."""
    wrong = []
    for bounds, word, is_kept in (
        (facts.binding.minimum, "least", operator.ge),
        (facts.binding.maximum, "most", operator.le),
    ):
        for metric, bound in bounds.items():
            value = facts.metrics.get(metric)
            if value is None:
                wrong.append(f"{metric} was not measured and has to be at {word} {bound:g}")
            elif not is_kept(value, bound):  # NaN keeps no bound
                wrong.append(f"{metric} is {value:.6g} and has to be at {word} {bound:g}")
    return "; ".join(wrong) or None


def audit_passed(facts: PromotionFacts) -> str | None:
    """The data that it learned from were audited, published, and are still there."""
    return "; ".join(facts.audit) or None


def signature_is_compatible(facts: PromotionFacts) -> str | None:
    """Inputs and outputs mean what they do to the version in Production; else its major version has to be greater."""
    if facts.production is None or facts.version.major > facts.production.major:
        return None
    if facts.production_signature is None:
        return f"the files of {facts.production}, in Production, can't be read to compare with: archive it first"
    from asgard.model.artifacts.signature import breaks

    broken = breaks(facts.production_signature, facts.signature)
    if not broken:
        return None
    return f"callers of {facts.production} would break ({'; '.join(broken)}); register it as a new major version"


BUILT_IN: tuple[Gate, ...] = (metrics_in_bounds, audit_passed, signature_is_compatible)


def require_all(gates: Sequence[Gate], facts: PromotionFacts) -> None:
    """Ask every gate.

    Raises:
        PromotionRefusedError: with the reasons of all that refuse, and what was raised by those that fail.
    """
    reasons = [(_name(gate), reason) for gate in gates if (reason := _asked(gate, facts))]
    if reasons:
        raise PromotionRefusedError(
            f"{facts.name}@{facts.version} is not promoted to {facts.to}: nothing was moved.",
            hint="Train a version that passes, or mend the gate; `asgard model show` has its metrics and data.",
            details=tuple(f"{gate}: {reason}" for gate, reason in reasons),
        )


def _name(gate: Gate) -> str:
    return str(getattr(gate, "__name__", type(gate).__name__)).replace("_", " ")


def _asked(gate: Gate, facts: PromotionFacts) -> str | None:
    try:
        reason = gate(facts)
    except Exception as error:  # of a user's code: anything
        place = traceback.extract_tb(error.__traceback__)[-1]
        failure = error.message if isinstance(error, AsgardError) else str(error)
        return f"it failed with {type(error).__name__}: {failure} ({place.filename}, line {place.lineno})"
    if reason is None or (isinstance(reason, str) and reason):
        return reason
    return f"it gave {reason!r}, and has to give the reason to refuse, or None"


def load_gate(reference: str) -> Gate:
    """Import a gate of a user's.

    Args:
        reference: `package.module:function`.

    Raises:
        UsageError: there is no such function, or its module can't be imported.
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
    except Exception as error:  # of a user's code: anything
        raise UsageError(
            f"The module of gate {reference!r} can't be imported: {type(error).__name__}: {error}.",
            hint="Mend it: importing it has to do nothing but define functions.",
        ) from error
    if not callable(gate):
        raise UsageError(
            f"{reference!r} is no function.", hint="A gate takes PromotionFacts, and gives a reason or None."
        )
    return gate  # type: ignore[no-any-return]
