"""Check the arguments of declarations before any of them is used, and suggest the nearest correct word.

A function that declares something gives each of its arguments a `Shape`:

```python
@declares("Aggregate {function}", function=one_of(Function, "'sum'"), over=names("('7d', '30d')"))
def aggregate(function: str, column: str | None = None, *, over: Sequence[str]) -> Aggregate: ...
```

A wrong, misspelt, missing or superfluous argument then raises a `DeclarationError` that says what was given, what is
expected and how to write it. The function itself only receives values in their normal form.
"""

import functools
import inspect
import numbers
import re
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, ParamSpec, TypeVar

from asgard.common.errors import DeclarationError, UsageError

_P = ParamSpec("_P")
_R = TypeVar("_R")
_C = TypeVar("_C")
_SHOWN = 80


class Misfit(Exception):
    """A value does not fit its shape.

    Args:
        hint: what to write instead, if the shape's example does not say enough.
    """

    def __init__(self, hint: str = "") -> None:
        super().__init__(hint)
        self.hint = hint


@dataclass(frozen=True)
class Shape:
    """What an argument may be.

    Attributes:
        words: the text that follows "expected" in an error.
        example: code of a valid value.
        take: returns the value in its normal form; raises `Misfit`, or a `UsageError` with its own message.
    """

    words: str
    example: str
    take: Callable[[Any], Any]


def optional(shape: Shape) -> Shape:
    """Accept what a shape accepts, or None."""
    return Shape(shape.words, shape.example, lambda value: None if value is None else shape.take(value))


def text(example: str, *, blank: bool = True) -> Shape:
    """Text that can be written as UTF-8."""

    def take(value: Any) -> str:
        if not isinstance(value, str) or not (blank or value.strip()):
            raise Misfit
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Misfit("Remove the lone surrogate: it is not valid Unicode.") from error
        return str(value)

    return Shape("text" if blank else "text that is not empty", example, take)


def names(example: str) -> Shape:
    """A tuple of distinct names; a single text counts as one name."""
    one = text("", blank=False)

    def take(value: Any) -> tuple[str, ...]:
        if isinstance(value, str):
            parts = split_list(value)
            if len(parts) > 1:
                raise Misfit(f"One text is one name; write a tuple: {tuple(parts)!r}.")
            value = (value,)
        items = tuple(one.take(each) for each in _items(value))
        twice = [each for each in dict.fromkeys(items) if items.count(each) > 1]
        if twice:
            raise Misfit(f"Name {', '.join(map(repr, twice))} once.")
        return items

    return Shape("a tuple of texts", example, take)


def several(kind: type, words: str, example: str) -> Shape:
    """A tuple of objects of one class."""

    def take(value: Any) -> tuple[Any, ...]:
        if isinstance(value, kind):
            raise Misfit(f"A tuple of one element needs a comma after it: {example}.")
        items = tuple(_items(value))
        if not all(isinstance(each, kind) for each in items):
            raise Misfit
        return items

    return Shape(words, example, take)


def texts_by_name(example: str) -> Shape:
    """A mapping from text to text."""
    key, entry = text("", blank=False), text("")

    def take(value: Any) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise Misfit
        return {key.take(name): entry.take(each) for name, each in value.items()}

    return Shape("a mapping from text to text", example, take)


def values_by_name(example: str, kind: type | tuple[type, ...] = object, words: str = "") -> Shape:
    """A mapping from text to objects of a class."""
    key = text("", blank=False)

    def take(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Misfit
        if any(
            not isinstance(each, kind) or (isinstance(each, bool) and kind is not object) for each in value.values()
        ):
            raise Misfit
        return {key.take(name): each for name, each in value.items()}

    return Shape(words or "a mapping with names as keys", example, take)


def one_of(kind: type[StrEnum], example: str) -> Shape:
    """A member of a closed set, or its text."""

    def take(value: Any) -> StrEnum:
        if isinstance(value, str) and value in tuple(kind):
            return kind(value)
        meant = nearest(value, kind) if isinstance(value, str) else None
        raise Misfit(f"{f'Did you mean {str(meant)!r}? ' if meant else ''}Use one of {', '.join(kind)}.")

    return Shape(f"one of {', '.join(kind)}", example, take)


def instance(
    kind: type | tuple[type, ...], words: str, example: str, form: Callable[[Any], Any] = lambda value: value
) -> Shape:
    """An object of a class, converted by `form` if given; True and False do not count as numbers."""

    def take(value: Any) -> Any:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise Misfit
        return form(value)

    return Shape(words, example, take)


def function(words: str, example: str) -> Shape:
    """A function with a readable signature that is not a coroutine or generator."""

    def take(value: Any) -> Any:
        if not callable(value) or isinstance(value, type):
            raise Misfit
        if (
            inspect.iscoroutinefunction(value)
            or inspect.isgeneratorfunction(value)
            or inspect.isasyncgenfunction(value)
        ):
            raise Misfit("Write a plain function: without async, and with return, not yield.")
        try:
            inspect.signature(value)
        except (TypeError, ValueError) as error:
            raise Misfit("Wrap it in a function of your own: its parameters can't be read.") from error
        return value

    return Shape(words, example, take)


FLAG = instance(bool, "True or False", "True")
WHOLE = instance(numbers.Integral, "a whole number", "1", int)
NUMBER = instance(numbers.Real, "a number", "0.25", float)
DURATION = instance((timedelta, str), "a length of time: text, or a timedelta", "'90d'")


def declares(
    label: str | Callable[[Mapping[str, Any]], str],
    shared: Mapping[str, Shape] | None = None,
    /,
    *,
    error: type[DeclarationError] = DeclarationError,
    further: Mapping[str, Shape] | None = None,
    **shapes: Shape,
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Check the arguments of the decorated function by their shapes, and pass them on in their normal form.

    Args:
        label: the beginning of messages, where `{argument}` is replaced by an argument's text; or a function of the
            arguments that returns it.
        shared: further shapes by argument, in addition to `shapes`.
        error: the class of the error to raise.
        further: shapes of the keywords that a function with `**keywords` takes.
        **shapes: shapes by argument; an argument without a shape is passed on unchanged.
    """

    shapes = {**(shared or {}), **shapes}

    def decorate(wrapped: Callable[_P, _R]) -> Callable[_P, _R]:
        signature = inspect.signature(wrapped)

        @functools.wraps(wrapped)
        def declared(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            given = dict(zip(_positional(signature), args, strict=False)) | dict(kwargs)
            about = label(given) if callable(label) else _filled(label, given)
            _require_callable(signature, args, kwargs, about, error, {**shapes, **(further or {})})
            bound = signature.bind(*args, **kwargs)
            for name, value in bound.arguments.items():
                if name in shapes:
                    bound.arguments[name] = _taken(about, name, shapes[name], value, error)
                elif signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD and further is not None:
                    bound.arguments[name] = checked(about, further, value, error)
            return wrapped(*bound.args, **bound.kwargs)

        return declared

    return decorate


def constructor(label: str, /, **shapes: Shape) -> Callable[[type[_C]], type[_C]]:
    """Check the arguments of a dataclass's constructor, as `declares` does for a function."""

    def decorate(kind: type[_C]) -> type[_C]:
        kind.__init__ = declares(label, shapes)(kind.__init__)  # type: ignore[method-assign]
        return kind

    return decorate


def checked(
    label: str,
    shapes: Mapping[str, Shape],
    given: Mapping[str, Any],
    error: type[DeclarationError] = DeclarationError,
) -> dict[str, Any]:
    """Check keyword arguments, and return them in their normal form.

    Raises:
        DeclarationError: a keyword is unknown, or its value does not fit its shape.
    """
    _require_known(label, given, shapes, error)
    return {name: _taken(label, name, shapes[name], value, error) for name, value in given.items()}


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that was most likely meant: it differs in few letters, or begins with `word`; None if there is none."""
    ranked = sorted(((_distance(word.lower(), each.lower()), each) for each in words), key=lambda pair: pair[0])
    if ranked and ranked[0][0] <= max(1, len(ranked[0][1]) // 3):
        return ranked[0][1]
    return next((each for _, each in ranked if len(word) > 2 and each.startswith(word.lower())), None)


def shown(value: object) -> str:
    """The text that stands for a value in a message."""
    if value is None or isinstance(value, str):
        return _cut(repr(value))
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return f"the function {getattr(value, '__name__', 'without a name')}"
    try:
        return f"{_cut(repr(value))} ({type(value).__name__})"
    except Exception:
        return f"a {type(value).__name__}"


def split_list(value: str) -> list[str]:
    """Split at commas that are not inside parentheses."""
    return [part.strip() for part in re.split(r",(?![^(]*\))", value) if part.strip()]


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise Misfit
    return sorted(value) if isinstance(value, Set) else value


def _taken(label: str, name: str, shape: Shape, value: Any, error: type[DeclarationError]) -> Any:
    try:
        return shape.take(value)
    except UsageError as refused:
        raise error(f"{label}: {name}: {refused.message}", hint=refused.hint) from refused
    except Exception as misfit:
        own = misfit.hint if isinstance(misfit, Misfit) else ""
        raise error(
            f"{label}: {name} is {shown(value)}; expected {shape.words}.", hint=own or f"Write {name}={shape.example}."
        ) from misfit


def _require_callable(
    signature: inspect.Signature,
    args: tuple[Any, ...],
    given: Mapping[str, Any],
    label: str,
    error: type[DeclarationError],
    shapes: Mapping[str, Shape],
) -> None:
    """Raise a readable error where Python would raise a TypeError."""
    parameters = signature.parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    positional = _positional(signature)
    named = [name for name, parameter in parameters.items() if parameter.kind in _NAMED and name != "self"]
    _require_known(label, given, dict.fromkeys((*named, *shapes)), error)
    if len(args) > len(positional) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        raise error(
            f"{label}: {shown(args[len(positional)])} is given without its name.",
            hint=f"Only {', '.join(name for name in positional if name != 'self') or 'nothing'} can be given without a "
            "name; write NAME=... for the rest.",
        )
    twice = [name for name in positional[: len(args)] if name in given]
    if twice:
        raise error(f"{label}: {twice[0]} is given twice.", hint="Give it once.")
    for name in named:
        if parameters[name].default is inspect.Parameter.empty and name not in (*given, *positional[: len(args)]):
            example = shapes[name].example if name in shapes else "..."
            raise error(f"{label}: {name} is missing.", hint=f"Write {name}={example}.")


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _require_known(label: str, given: Iterable[str], known: Iterable[str], error: type[DeclarationError]) -> None:
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        meant = nearest(unknown, known)
        raise error(
            f"{label}: there is no argument {unknown!r}.",
            hint=f"Did you mean {meant}?" if meant else f"Known arguments: {', '.join(known)}.",
        )


def _positional(signature: inspect.Signature) -> list[str]:
    return [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]


def _filled(label: str, given: Mapping[str, Any]) -> str:
    def fill(match: re.Match[str]) -> str:
        value = given.get(match[1])
        return f" {_cut(value)}" if isinstance(value, str) and value.isprintable() else ""

    return re.sub(r" ?\{(\w+)\}", fill, label)


def _cut(shown_text: str) -> str:
    return shown_text if len(shown_text) <= _SHOWN else shown_text[: _SHOWN - 1] + "…"


def _distance(one: str, other: str) -> int:
    """Number of letters omitted, added, replaced, or swapped with their neighbour (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, row, last = row, [i], before
        for j, wanted in enumerate(other, 1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                best = min(best, last[j - 2] + 1)
            row.append(best)
    return row[-1]
