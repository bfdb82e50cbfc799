"""What came of a trainer, function or script: the model's bytes, what it tells of its training, what it imported."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asgard.common.errors import RunError
from asgard.model.artifacts.formats import NEEDS, Format
from asgard.model.versions import finite

_LONGEST = 20_000
"""Characters of details: they are kept in a tag of MLflow's, beside all else that a version is bound to."""


@dataclass(frozen=True)
class TrainerOutput:
    """What a trainer gave.

    Attributes:
        content: of the model's file.
        format: of it.
        details: values of the trainer's own, as JSON can say them.
        libraries: versions of Python and of what the trainer's process had imported; empty if that is not known.
        parts: formats of the models that it holds, if there are several.
    """

    content: bytes = field(repr=False)
    format: Format
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)
    libraries: Mapping[str, str] = field(default_factory=dict, hash=False)
    parts: tuple[Format, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Distributions that its predictions need."""
        return tuple(sorted({need for each in (self.parts or (self.format,)) for need in NEEDS[each]}))


def plain_details(given: object, whose: str) -> dict[str, Any]:
    """Details as JSON can say them: numbers of numpy are numbers, and those that are none, or endless, are null.

    Args:
        given: a mapping of values by name.
        whose: for the message.

    Raises:
        RunError: they are something else, or too many.
    """
    hint = "Details are a dict of numbers, texts, booleans, and lists and dicts of those, by name."
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise RunError(f"The details of {whose} are no values by name: {type(given).__name__}.", hint=hint)
    try:
        text = json.dumps(dict(given), default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise RunError(f"The details of {whose} can't be kept: {error}.", hint=hint) from error
    if len(text) > _LONGEST:
        raise RunError(
            f"The details of {whose} take {len(text):,} characters of JSON, and {_LONGEST:,} are kept.",
            hint="Keep what a gate or a reader needs; print the rest, the log is kept too.",
        )
    details: dict[str, Any] = finite(json.loads(text))
    return details


def fitting_together(each: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Of the details of several models, by name, those that can be kept together, and the names of the others.

    They are taken in order; one that is too long for what is left makes way for those after it. Each name stays, with
    nothing where its details are left out, so that a reader sees who told nothing. Nothing at all is kept if nobody
    told anything, or if the names alone are too long.
    """
    with_details = tuple(name for name, details in each.items() if details)
    kept: dict[str, Any] = {name: {} for name in each}
    taken = len(json.dumps(kept))
    if not with_details or taken > _LONGEST:
        return {}, with_details
    for name in with_details:
        more = len(json.dumps(each[name])) - len("{}")
        if taken + more <= _LONGEST:
            kept[name] = dict(each[name])
            taken += more
    return kept, tuple(name for name in with_details if not kept[name])


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no value of JSON")
