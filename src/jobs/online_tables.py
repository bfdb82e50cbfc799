"""Print the results of `asgard online-sync`: what was done for each view, would be done, or differs."""

from collections.abc import Sequence

import typer

from asgard.jobs.reporting import show_table
from asgard.serving.sync.removal import Removed
from asgard.serving.sync.sync import Preview, SyncResult
from asgard.serving.sync.verify import Verification


def show(done: Sequence[Verification] | Sequence[Preview] | Sequence[SyncResult]) -> None:
    """Print the results for people; nothing if no view was processed."""
    synced = [each for each in done if isinstance(each, SyncResult)]
    planned = [each for each in done if isinstance(each, Preview)]
    verified = [each for each in done if isinstance(each, Verification)]
    if synced:
        _show_synced(synced)
    if planned:
        _show_planned(planned)
    if verified:
        _show_verified(verified)


def show_removed(removed: Removed) -> None:
    """Print the result of `--drop` for people."""
    typer.echo(f"{removed.view}: removed from Redis, {removed.rows:,} entities and {len(removed.holds)} holds")
    for name in removed.elsewhere:
        typer.echo(f"{removed.view}: the hold {name} is for another Redis or prefix, and is kept")


def _show_synced(results: Sequence[SyncResult]) -> None:
    show_table(
        ("VIEW", "DID", "WRITTEN", "DELETED", "IN REDIS", "SNAPSHOT"),
        [
            (
                each.view,
                str(each.mode),
                f"{each.counted.written:,}",
                f"{each.counted.deleted:,}",
                f"{each.rows:,}",
                each.target.snapshot_id,
            )
            for each in results
        ],
    )


def _show_planned(previews: Sequence[Preview]) -> None:
    show_table(
        ("VIEW", "WOULD", "WHY", "ENTITIES", "SNAPSHOT"),
        [
            (
                each.view,
                str(each.mode),
                each.why,
                "all" if each.entities is None else f"{each.entities:,}",
                each.target.snapshot_id,
            )
            for each in previews
        ],
    )


def _show_verified(verifications: Sequence[Verification]) -> None:
    show_table(
        ("VIEW", "SNAPSHOT", "ENTITIES", "EQUAL", "MISSING", "OTHER", "BEYOND", "DIGEST"),
        [
            (
                each.view,
                each.snapshot_id,
                f"{each.entities:,}",
                "yes" if each.is_equal else "no",
                f"{each.missing:,}",
                f"{each.other:,}",
                f"{each.beyond:,}",
                each.digest_redis[:16],
            )
            for each in verifications
        ],
    )
    for each in verifications:
        for entity, wrong in each.examples:
            typer.echo(f"{each.view}: {entity} is {_IN_WORDS[wrong]}")


_IN_WORDS = {
    "missing": "missing in Redis",
    "other": "a different row in Redis",
    "beyond": "in Redis, but not in the snapshot",
}
