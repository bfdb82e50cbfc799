"""`asgard lookup`: the features of an entity in Redis, and the published snapshot that they are from.

Reads: Redis. Writes: nothing.
"""

from typing import Annotated, Any

import typer

from asgard.common.data_type import DataType
from asgard.common.errors import UsageError
from asgard.jobs.options import DirOption, JsonOption, SetOption, settings_from


def lookup(
    view: Annotated[list[str], typer.Option("--view", "-v", help="An online view. Repeatable.")],
    key: Annotated[
        list[str], typer.Option("--key", "-k", metavar="NAME=VALUE", help="A key of the entity. Repeatable.")
    ],
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="The time at which ttls are evaluated (default: now).")
    ] = None,
    directory: DirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show the features of one entity in Redis."""
    from asgard.jobs.reporting import show_json, show_table
    from asgard.lakehouse.declaring.intervals import parse_moment
    from asgard.serving.online_store import OnlineStore

    pairs = _pairs(key)
    store = OnlineStore(settings=settings_from(settings, directory), timeout=5.0)
    kinds = {name: kind for each in view for name, kind in store.head(each).keys.items()}
    odd = sorted(pairs.keys() - kinds.keys())
    if odd:
        raise UsageError(f"No view is keyed by {', '.join(odd)}.", hint=f"--key is one of {', '.join(kinds)}.")
    entity = {name: _value(text, kinds[name]) for name, text in pairs.items()}
    row = store.lookup(view, entity, now=parse_moment(at) if at else None)
    if as_json:
        show_json(row.to_json())
        return 0
    show_table(
        ("VIEW", "FEATURE", "VALUE"),
        [
            (answer.head.view, name, "null" if value is None else value)
            for answer in row.answers
            for name, value in answer.values.items()
        ],
    )
    for answer in row.answers:
        head, event = answer.head, answer.event_timestamp
        of = f"row of {event:%Y-%m-%d %H:%M:%S}" if event else "no row"
        typer.echo(
            f"{head.view}: {answer.status}, {of}; snapshot {head.snapshot_id} of {head.table}, "
            f"synced {head.age:,.0f} s ago"
        )
    return 0


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for name, equals, value in pairs:
        if not (name and equals):
            raise UsageError(f"--key {name + equals + value!r} is not NAME=VALUE.", hint="E.g. --key customer_id=7.")
    entity = {name: value for name, _, value in pairs}
    if len(entity) < len(pairs):
        raise UsageError(
            "A key was given twice.", hint="A lookup reads one entity: give each of its keys once by --key."
        )
    return entity


def _value(text: str, kind: str) -> Any:
    """Parse a key's value by the key's type.

    Raises:
        UsageError: the text is not a value of that type.
    """
    from datetime import date, datetime
    from decimal import Decimal, InvalidOperation

    try:
        if kind in ("int", "bigint"):
            return int(text)
        if kind == "boolean":
            return {"true": True, "false": False}[text.lower()]
        if kind == "date":
            return date.fromisoformat(text)
        if kind in ("timestamp", "timestamp_ntz"):
            return datetime.fromisoformat(text)
        return Decimal(text) if DataType.parse(kind).base == "decimal" else text
    except (ValueError, KeyError, InvalidOperation) as error:
        raise UsageError(f"{text!r} is not of type {kind}.", hint="Give a value of the key's type.") from error
