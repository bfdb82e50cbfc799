"""Which views, models and the like read which columns of which published table; and a guard for publishes.

```
_asgard/registered/<kind>/<name>/<number>.json    never changed; the highest number is current
```

A registration names the exact snapshot that it reads. It is written under an unused number, so of two concurrent
registrations one succeeds; a removal writes one more registration, marked as removed.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from asgard.common.errors import ConflictError, ContractError, ServiceError
from asgard.common.names import CommitHash, SnapshotId, TableName
from asgard.common.storage import Storage

_ROOT = "registered"


@dataclass(frozen=True)
class Registration:
    """One state of something that reads a table.

    Attributes:
        kind: `view`, `model`, ...
        number: of this state, counted from 1.
        columns: the columns of the table that it uses, with their Spark SQL types ("": any type).
        online: whether an online store is filled from it.
        target: the ref that has the table.
        commit, metadata_location, snapshot_id: the published state that it reads.
        declared: its declaration, in full.
        pipeline: the pipeline that declares it.
        facts: what was measured of the published state.
        registered: time of the registration, in ISO 8601.
        removed: whether it was removed, and so reads nothing any more.
    """

    kind: str
    name: str
    number: int
    table: TableName
    columns: Mapping[str, str] = field(hash=False)
    online: bool
    target: str
    commit: CommitHash
    metadata_location: str
    snapshot_id: SnapshotId
    declared: Mapping[str, Any] = field(hash=False)
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)
    pipeline: str = ""
    registered: str = ""
    user: str = ""
    code_version: str = ""
    removed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "table": str(self.table)}


class Registrations:
    """All registrations of a warehouse."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def current(self, kind: str) -> dict[str, Registration]:
        """The current registrations of one kind, by name."""
        return {name: each for name, each in self.newest(kind).items() if not each.removed}

    def newest(self, kind: str) -> dict[str, Registration]:
        """The newest state of every name of one kind, removed ones included."""
        return {each.name: each for each in self._newest(f"{_ROOT}/{kind}")}

    def of_every_kind(self) -> tuple[Registration, ...]:
        """The current registrations of all kinds; a view and a model may have the same name."""
        return tuple(each for each in self._newest(_ROOT) if not each.removed)

    def _newest(self, folder: str) -> list[Registration]:
        newest: dict[str, tuple[int, str]] = {}
        for entry in self._storage.list(folder):
            owner, number = _parse(entry.path)
            newest[owner] = max(newest.get(owner, (0, "")), (number, entry.path))
        return sorted((self._load(path) for _, path in newest.values()), key=lambda each: (each.kind, each.name))

    def history(self, kind: str, name: str) -> list[Registration]:
        """Every state of one name, oldest first."""
        paths = [entry.path for entry in self._storage.list(f"{_ROOT}/{kind}/{name}")]
        return sorted((self._load(path) for path in paths), key=lambda each: each.number)

    def add(self, registration: Registration) -> None:
        """Write a new state.

        Raises:
            ConflictError: its number is taken: another process registered the same name in the meantime.
        """
        path = f"{_ROOT}/{registration.kind}/{registration.name}/{registration.number}.json"
        data = json.dumps(registration.to_json(), indent=1, sort_keys=True).encode()
        if not self._storage.create(path, data):
            raise ConflictError(
                f"Another process registered {registration.kind} {registration.name} at the same time.",
                hint="Run it again: it starts from the current registrations.",
            )

    def _load(self, path: str) -> Registration:
        try:
            raw = json.loads(self._storage.read(path) or b"")
            return Registration(
                **{
                    **raw,
                    "table": TableName.parse(raw["table"]),
                    "commit": CommitHash(raw["commit"]),
                    "snapshot_id": SnapshotId(raw["snapshot_id"]),
                }
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceError(
                f"The registration {path} in _asgard can't be read: {error}.", hint="Was the file damaged, or edited?"
            ) from error


def broken_by(
    registrations: Iterable[Registration], table: TableName, columns: Mapping[str, str]
) -> Iterator[tuple[Registration, str]]:
    """The registrations that could no longer read a table with these columns, and why.

    Args:
        registrations: to check.
        table: the table that would change.
        columns: the columns that it would have, with their Spark SQL types.
    """
    for each in registrations:
        if each.table != table:
            continue
        for name, kind in each.columns.items():
            if name not in columns:
                yield each, f"{name} would be missing"
            elif kind and columns[name] != kind:
                yield each, f"{name} would be {columns[name]} instead of {kind}"


def refuse_breaking(
    registrations: Iterable[Registration], tables: Mapping[TableName, Mapping[str, str]], target: str
) -> None:
    """Refuse a publish after which a registration could not be read.

    Args:
        registrations: the current registrations.
        tables: the written tables, with their new columns and types.
        target: the ref that is published to.

    Raises:
        ContractError: the publish would break registrations; the message names each.
    """
    here = [each for each in registrations if each.target == target]
    broken = [(each, why) for name, columns in tables.items() for each, why in broken_by(here, name, columns)]
    if broken:
        raise ContractError(
            f"This publish would break {', '.join(dict.fromkeys(f'{each.kind} {each.name}' for each, _ in broken))}.",
            hint="Keep the columns, or change the views too and publish with --apply-features.",
            details=tuple(f"{each.kind} {each.name} reads {each.table}: {why}" for each, why in broken),
        )


def _parse(path: str) -> tuple[str, int]:
    owner, _, file_name = path.rpartition("/")
    return owner, int(file_name.removesuffix(".json"))
