"""The data files of a table, with what is needed to say which of them a stretch of time lies in, and their fingerprint.

A file is known by 64 bits of its path's SHA-256; a path is never used twice. The fingerprint of a stretch is the sum
of these numbers, modulo 2^64, over the files that may hold rows of the stretch: two equal fingerprints mean the same
files. Files are never changed, so they mean the same rows.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

from asgard.lakehouse.catalog.files import TableState
from asgard.lakehouse.declaring.intervals import Unit
from asgard.lakehouse.freshness.stretch import DAY, Stretch, micros, moment_of

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile, ManifestEntry
    from pyiceberg.schema import Schema

Span = tuple[int, int, bool]
"""The least and the greatest value of a column in a file, in microseconds since 1970, and whether some rows have none.
The least is above the greatest where no row has a value."""
_NO_VALUE = (1, 0)
_MODULUS = 1 << 64
_LEAST, _GREATEST = -(1 << 63), (1 << 63) - 1
"""Microseconds that 64 bits hold: dates beyond the year 294,247 count as its last moment."""


@dataclass(frozen=True)
class IndexedFile:
    """One file: the span of each column of time whose bounds are known.

    Attributes:
        rows: how many it has.
        is_delete: it deletes rows of other files: every stretch may be affected.
    """

    rows: int
    spans: Mapping[str, Span]
    is_delete: bool = False


@dataclass(frozen=True)
class SnapshotChange:
    """What one snapshot did: the files that it added and those that it removed, each by its number."""

    snapshot: int
    run: str
    added: Mapping[int, IndexedFile]
    removed: Mapping[int, IndexedFile]

    def touches(self, stretch: Stretch) -> bool:
        """Whether rows of a stretch may have come or gone: no file has the number 0, nor do some add up to it."""
        return self._files.fingerprint(stretch) != 0

    @cached_property
    def _files(self) -> "FileIndex":
        return FileIndex({**self.added, **self.removed})


class FileIndex:
    """The live files of a table at one snapshot.

    Args:
        files: by their numbers.
    """

    def __init__(self, files: Mapping[int, IndexedFile]) -> None:
        self.files = files

    @classmethod
    def of(cls, state: TableState) -> "FileIndex":
        """Read the current snapshot's manifests.

        Raises:
            ServiceError: they can't be read.
        """
        schema = state.table.schema()
        return cls({_number(each.data_file): _indexed(each.data_file, schema) for each in state.live_entries()})

    def changed(self, changes: Iterable[SnapshotChange]) -> "FileIndex":
        """The index after some snapshots, oldest first."""
        files = dict(self.files)
        for change in changes:
            for number in change.removed:
                files.pop(number, None)
            files |= change.added
        return FileIndex(files)

    def since(self, earlier: "FileIndex") -> tuple[dict[int, IndexedFile], dict[int, IndexedFile]]:
        """The files that came, and those that went, since an earlier index."""
        added = {number: file for number, file in self.files.items() if number not in earlier.files}
        removed = {number: file for number, file in earlier.files.items() if number not in self.files}
        return added, removed

    def fingerprint(self, stretch: Stretch) -> int:
        """The fingerprint of a stretch."""
        if not stretch.is_bounded:
            return self._all
        return self._column(stretch.column).sum(stretch)

    @cached_property
    def _all(self) -> int:
        return sum(self.files) % _MODULUS

    def _column(self, column: str) -> "_ColumnSums":
        if column not in self._sums:
            self._sums[column] = _ColumnSums(self.files, column)
        return self._sums[column]

    @cached_property
    def _sums(self) -> "dict[str, _ColumnSums]":
        return {}


def touches(file: IndexedFile, stretch: Stretch) -> bool:
    """Whether a file may hold rows of a stretch, or delete some."""
    if not stretch.is_bounded or file.is_delete or stretch.column not in file.spans:
        return True
    low, high, nulls = file.spans[stretch.column]
    if nulls and stretch.nulls:
        return True
    starts_before = stretch.end is None or low < stretch.end
    ends_after = stretch.start is None or high >= stretch.start
    return not stretch.is_empty and low <= high and starts_before and ends_after


class _ColumnSums:
    """Sums over the files of one index, ordered by the bounds of one column: each fingerprint is two lookups."""

    def __init__(self, files: Mapping[int, IndexedFile], column: str) -> None:
        plain = [(number, file.spans[column]) for number, file in files.items() if _has(file, column)]
        self._always = sum(number for number, file in files.items() if not _has(file, column)) % _MODULUS
        self._without = _Sorted([(number, span) for number, span in plain if not span[2]])
        self._with_nulls = _Sorted([(number, span) for number, span in plain if span[2]])

    def sum(self, stretch: Stretch) -> int:
        nulls = self._with_nulls.total if stretch.nulls else self._with_nulls.within(stretch)
        return (self._always + self._without.within(stretch) + nulls) % _MODULUS


def _has(file: IndexedFile, column: str) -> bool:
    return not file.is_delete and column in file.spans


class _Sorted:
    """Files with both bounds: a stretch's are all, less those that begin after it and those that end before it."""

    def __init__(self, files: list[tuple[int, Span]]) -> None:
        self.total = sum(number for number, _ in files) % _MODULUS
        filled = [(number, span) for number, span in files if span[0] <= span[1]]
        self._filled = sum(number for number, _ in filled) % _MODULUS
        self._lows, self._from_low = self._prefix([(span[0], number) for number, span in filled])
        self._highs, self._from_high = self._prefix([(span[1], number) for number, span in filled])

    @staticmethod
    def _prefix(pairs: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
        pairs.sort()
        return [bound for bound, _ in pairs], [0, *accumulate(number for _, number in pairs)]

    def within(self, stretch: Stretch) -> int:
        if stretch.is_empty or not self._lows:
            return 0
        late = early = 0
        if stretch.end is not None:
            late = self._from_low[-1] - self._from_low[bisect_left(self._lows, stretch.end)]
        if stretch.start is not None:
            early = self._from_high[bisect_left(self._highs, stretch.start)]
        return (self._filled - late - early) % _MODULUS


def changes_since(state: TableState, known: int | None) -> list[SnapshotChange] | None:
    """What each snapshot after a known one did, oldest first; None if the current one did not grow from the known one.

    Raises:
        ServiceError: the manifests can't be read.
    """
    current = state.snapshot_id
    chain = state.ancestors(current) if current is not None else []
    if known is not None and known not in chain:
        return None
    return [changes_of(state, each) for each in chain[chain.index(known) + 1 if known is not None else 0 :]]


def changes_of(state: TableState, snapshot: int) -> SnapshotChange:
    """What one snapshot did.

    Raises:
        ServiceError: its manifests can't be read.
    """
    schema = state.table.schema()
    added: dict[int, IndexedFile] = {}
    removed: dict[int, IndexedFile] = {}
    for entry in state.entries_of(snapshot):
        target = removed if _is_removed(entry) else added
        target[_number(entry.data_file)] = _indexed(entry.data_file, schema)
    return SnapshotChange(snapshot, state.summaries.get(snapshot, {}).get("asgard.run-id", ""), added, removed)


def net(changes: Iterable[SnapshotChange]) -> tuple[dict[int, IndexedFile], dict[int, IndexedFile]]:
    """What several snapshots added and removed in the end."""
    added: dict[int, IndexedFile] = {}
    removed: dict[int, IndexedFile] = {}
    for change in changes:
        removed |= {number: file for number, file in change.removed.items() if added.pop(number, None) is None}
        added |= {number: file for number, file in change.added.items() if removed.pop(number, None) is None}
    return added, removed


def added_by(state: TableState, stretches: Iterable[Stretch]) -> dict[int, tuple[int, int]]:
    """The live data files that may hold rows of some stretches: number and rows, by the snapshot that added them.

    Raises:
        ServiceError: the manifests can't be read.
    """
    schema, wanted = state.table.schema(), list(stretches)
    found: dict[int, tuple[int, int]] = {}
    for entry in state.live_entries():
        file = _indexed(entry.data_file, schema)
        if not file.is_delete and any(touches(file, each) for each in wanted):
            count, rows = found.get(entry.snapshot_id or 0, (0, 0))
            found[entry.snapshot_id or 0] = (count + 1, rows + file.rows)
    return found


@dataclass
class Paths:
    """The paths of files that a snapshot added and removed."""

    added: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    rows: int = 0
    """Rows added, less rows removed."""


def paths_by_interval(state: TableState, snapshot: int, column: str, unit: Unit | None) -> dict[int, Paths] | None:
    """The files that a snapshot added and removed, by the interval that they lie in.

    Args:
        state: of the table.
        snapshot: one of its snapshots.
        column: that the intervals go by.
        unit: their length; None: one interval holds all files.

    Returns:
        Paths by the start of their interval, in microseconds since 1970 in UTC; 0 without a unit. None if a file lies
        in several intervals, or its bounds are not known.

    Raises:
        ServiceError: the manifests can't be read.
    """
    schema = state.table.schema()
    found: dict[int, Paths] = {}
    for entry in state.entries_of(snapshot):
        start = 0
        if unit is not None:
            place = _interval_of(_indexed(entry.data_file, schema).spans.get(column), unit)
            if place is None:
                return None
            start = place
        paths = found.setdefault(start, Paths())
        is_removed = _is_removed(entry)
        (paths.removed if is_removed else paths.added).add(entry.data_file.file_path)
        paths.rows += -entry.data_file.record_count if is_removed else entry.data_file.record_count
    return found


def _interval_of(span: Span | None, unit: Unit) -> int | None:
    """The start of the only interval that a span lies in; None if there is none, or Python has no such year."""
    if span is None or span[2]:
        return None
    try:
        first, last = (unit.floor(moment_of(bound)) for bound in span[:2])
    except OverflowError:
        return None
    return micros(first) if first == last else None


def _is_removed(entry: "ManifestEntry") -> bool:
    from pyiceberg.manifest import ManifestEntryStatus

    return entry.status is ManifestEntryStatus.DELETED


def file_number(path: str) -> int:
    """The number that a file is known by: 64 bits of its path's SHA-256."""
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big")


def _number(file: "DataFile") -> int:
    return file_number(file.file_path)


def _indexed(file: "DataFile", schema: "Schema") -> IndexedFile:
    from pyiceberg.manifest import DataFileContent
    from pyiceberg.types import DateType, TimestampType, TimestamptzType

    if file.content is not DataFileContent.DATA:
        return IndexedFile(file.record_count, {}, is_delete=True)
    spans: dict[str, Span] = {}
    nulls, lower, upper = file.null_value_counts or {}, file.lower_bounds or {}, file.upper_bounds or {}
    for column in schema.fields:
        if not isinstance(column.field_type, DateType | TimestampType | TimestamptzType):
            continue
        number = column.field_id
        missing = nulls.get(number)
        if missing is None:
            continue
        if missing == file.record_count:
            spans[column.name] = (*_NO_VALUE, True)
        elif number in lower and number in upper:
            unit = DAY if isinstance(column.field_type, DateType) else 1
            low, high = (int.from_bytes(each[number], "little", signed=True) for each in (lower, upper))
            spans[column.name] = (max(low * unit, _LEAST), min((high + 1) * unit - 1, _GREATEST), missing > 0)
    return IndexedFile(file.record_count, spans)
