"""Parse texts that are plainly values of a type, in bulk and without Spark.

Other texts (` true`, `soon` for a time) are left to `fitting`, where Spark parses each text. For plain texts both give
the same values; a property-based test compares them. Numbers are parsed in `exact_numbers`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_BOOLEAN = "(?i)^(true|false)$"
_DATE = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?$"


def arrow_type(target: str) -> "pa.DataType | None":
    """The Arrow type of a column, by Spark's short name; None for a type whose texts are never plain."""
    import pyarrow as pa

    return {
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", "UTC"),
    }.get(target)


def plain_values(texts: "pa.Array", target: str) -> "pa.Array | None":
    """The values of texts that are all plain, with null for null; None if one is not.

    Args:
        texts: strings.
        target: the column's type, one that `arrow_type` knows.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = arrow_type(target)
    if kind is None or pc.all(pc.match_substring_regex(texts, _pattern(kind))).as_py() is False:
        return None
    try:
        if pa.types.is_timestamp(kind):
            return texts.cast(pa.timestamp("us")).cast(kind)
        return texts.cast(kind)
    except pa.ArrowInvalid:
        return None


def _pattern(kind: "pa.DataType") -> str:
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        return _BOOLEAN
    return _DATE if pa.types.is_date(kind) else _MOMENT
