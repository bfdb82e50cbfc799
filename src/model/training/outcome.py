"""The output of a trainer, function or script: the model's bytes, its details, and the libraries that it imported."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asgard.common.errors import RunError
from asgard.model.artifacts.formats import NEEDS, Format
from asgard.model.versions import finite

_LONGEST = 20_000
"""Most characters of details: they are kept in one MLflow tag, together with the rest of a version's binding."""


@dataclass(frozen=True)
class TrainerOutput:
    """What a trainer returned.

    Attributes:
        content: bytes of the model's file.
        format: format of the model's file.
        details: the trainer's own values, as JSON values.
        libraries: versions of Python and of what the trainer's process had imported; empty if unknown.
        parts: formats of the models that the file contains, if there are several.
    """

    content: bytes = field(repr=False)
    format: Format
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)
    libraries: Mapping[str, str] = field(default_factory=dict, hash=False)
    parts: tuple[Format, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Distributions that the model's predictions need."""
        return tuple(sorted({need for each in (self.parts or (self.format,)) for need in NEEDS[each]}))


def plain_details(given: object, whose: str) -> dict[str, Any]:
    """Convert details to JSON values: numpy numbers become numbers; NaN and infinity become null.

    Args:
        given: a mapping of values by name.
        whose: who gave the details, for the message.

    Raises:
        RunError: the details are not JSON values by name, or are too long.
    """
    hint = "Details must be a dict from name to number, text, boolean, or a list or dict of those."
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise RunError(f"The details of {whose} are not a dict with text keys: {type(given).__name__}.", hint=hint)
    try:
        text = json.dumps(dict(given), default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise RunError(f"The details of {whose} can't be kept: {error}.", hint=hint) from error
    if len(text) > _LONGEST:
        raise RunError(
            f"The details of {whose} take {len(text):,} characters of JSON; at most {_LONGEST:,} are kept.",
            hint="Return what a gate or a reader needs, and print the rest: the log is kept too.",
        )
    details: dict[str, Any] = finite(json.loads(text))
    return details


def fitting_together(each: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The details of several models, by name, that can be kept together, and the names of those left out.

    Details are taken in order; those too long for the remaining space are skipped. Every name stays, with empty details
    where they are left out, so that a reader sees which model has none. Nothing is kept if no model has details, or if
    the names alone are too long.
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
    raise TypeError(f"{type(value).__name__} is not a JSON value")
