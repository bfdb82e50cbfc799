"""Champion and challenger: which of the two predicts an entity, the same in every process and on every engine.

The text of the keys is hashed with SHA-256. The first 13 hex digits, divided by 16^13, are the entity's position in
[0, 1). The challenger gets all positions below its share. So a growing share adds entities to the challenger and
removes none, and another salt makes a new split.

The text is `salt`, then for each key its length in characters, `:` and its value; a null is `-`. Values are written as
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
"""Hex digits that are used: 52 bits, which a double represents exactly."""
_PLACES: int = 16**_DIGITS
_TYPES = ("string", "tinyint", "smallint", "int", "bigint", "boolean", "date")


class Side(StrEnum):
    """The model that predicts an entity."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"


def assigned(keys: Sequence[object], challenger_share: float, salt: str) -> Side:
    """Choose the model that predicts an entity.

    Args:
        keys: values of its key, in order: texts, whole numbers, booleans, dates, or None.
        challenger_share: the challenger's share of all entities, between 0 and 1.
        salt: names the experiment, e.g. `churn@1.2.0`.

    Raises:
        UsageError: the share is not between 0 and 1, or a value is of another type.
    """
    text = _prefix(salt) + "".join(map(_part, keys))
    place = int(hashlib.sha256(text.encode()).hexdigest()[:_DIGITS], 16)
    return Side.CHALLENGER if place < _threshold(challenger_share) else Side.CHAMPION


def assigned_column(frame: "DataFrame", keys: Sequence[str], challenger_share: float, salt: str) -> "Column":
    """Like `assigned`, as a column of a DataFrame: `champion` or `challenger`.

    Raises:
        UsageError: a key is missing, or has a type without a unique text; or the share is not between 0 and 1.
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
    """Refuse keys that are missing, or whose text is not the same on every engine.

    Args:
        types: Spark SQL types of the columns.
        keys: the columns to split by.

    Raises:
        UsageError: a key can't be used; the message names each such key.
    """
    odd = [f"{key} ({types.get(key, 'missing')})" for key in keys if types.get(key) not in _TYPES]
    if odd:
        raise UsageError(f"Entities can't be split by {', '.join(odd)}.", hint=f"Use columns of {', '.join(_TYPES)}.")


def require_share(share: float) -> None:
    """Refuse a share that is not between 0 and 1.

    Raises:
        UsageError: the share is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"The challenger's share is {share}.", hint="It must be between 0 and 1, e.g. 0.1.")


def _prefix(salt: str) -> str:
    return f"{len(salt)}:{salt}"


def _part(value: object) -> str:
    if hasattr(value, "item"):  # a numpy value
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
