"""Champion and challenger: which of the two an entity gets, the same in every process and on every engine.

The text of the keys is hashed with SHA-256; its first 13 hex digits, as a fraction of 16^13, are the entity's place in
[0, 1). Places below the challenger's share are the challenger's. So a growing share takes entities over and gives none
back, and another salt draws anew.

The text is `salt`, then of each key its length in characters, `:` and its value; a null is `-`. Values are written as
Spark casts them to strings.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from asgard.common.errors import UsageError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_DIGITS = 13
"""Hex digits that count: 52 bits, which a double holds exactly."""
_PLACES: int = 16**_DIGITS
_TYPES = ("string", "tinyint", "smallint", "int", "bigint", "boolean", "date")


class Side(StrEnum):
    """Who answers for an entity."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"


def assigned(keys: Sequence[object], challenger_share: float, salt: str) -> Side:
    """Which model an entity gets.

    Args:
        keys: values of its key, in order: texts, whole numbers, booleans, dates, or None.
        challenger_share: of all entities, between 0 and 1.
        salt: names the experiment, e.g. `churn@1.2.0`.

    Raises:
        UsageError: the share is not between 0 and 1, or a value is of another type.
    """
    text = _prefix(salt) + "".join(map(_part, keys))
    place = int(hashlib.sha256(text.encode()).hexdigest()[:_DIGITS], 16)
    return Side.CHALLENGER if place < _threshold(challenger_share) else Side.CHAMPION


def assigned_column(frame: "DataFrame", keys: Sequence[str], challenger_share: float, salt: str) -> "Column":
    """The same as a column of a DataFrame: `champion` or `challenger`.

    Raises:
        UsageError: a key is not there, or of a type that has no one text; or the share is not between 0 and 1.
    """
    from pyspark.sql import functions as F

    require_splittable(dict(frame.dtypes), keys)
    texts = [F.col(f"`{key}`").cast("string") for key in keys]
    parts = [F.coalesce(F.concat(F.length(text).cast("string"), F.lit(":"), text), F.lit("-")) for text in texts]
    digest = F.sha2(F.concat(F.lit(_prefix(salt)), *parts).cast("binary"), 256)
    place = F.conv(F.substring(digest, 1, _DIGITS), 16, 10).cast("bigint")
    challenger = place < F.lit(_threshold(challenger_share)).cast("bigint")
    return F.when(challenger, F.lit(str(Side.CHALLENGER))).otherwise(F.lit(str(Side.CHAMPION)))


def require_splittable(types: Mapping[str, str], keys: Sequence[str]) -> None:
    """Refuse keys that are not there, or whose text is not the same everywhere.

    Args:
        types: of columns, as Spark SQL says them.
        keys: those to split by.

    Raises:
        UsageError: it names each.
    """
    odd = [f"{key} ({types.get(key, 'not there')})" for key in keys if types.get(key) not in _TYPES]
    if odd:
        raise UsageError(f"Entities can't be split by {', '.join(odd)}.", hint=f"Use columns of {', '.join(_TYPES)}.")


def require_share(share: float) -> None:
    """Refuse what is no share.

    Raises:
        UsageError: it is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"The challenger's share is {share}.", hint="It lies between 0 and 1, e.g. 0.1.")


def _prefix(salt: str) -> str:
    return f"{len(salt)}:{salt}"


def _part(value: object) -> str:
    if hasattr(value, "item"):  # numpy's
        value = value.item()
    if value is None:
        return "-"
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, str | int):
        text = str(value)
    elif isinstance(value, date) and not isinstance(value, datetime):
        text = value.isoformat()
    else:
        raise UsageError(
            f"Entities can't be split by {value!r}.", hint="Use texts, whole numbers, booleans or dates as keys."
        )
    return f"{len(text)}:{text}"


def _threshold(share: float) -> int:
    require_share(share)
    return math.ceil(share * _PLACES)
