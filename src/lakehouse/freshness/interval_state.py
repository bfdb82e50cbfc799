"""What a table knows of itself: the code and the inputs that each interval was computed from, and the table's files.

It is stored in segments, immutable files below `_asgard/intervals/`, each named by its SHA-256. The table
property `asgard.state` names the segments, oldest first. So the state is published by the same commit as the rows, and
each branch and each old commit has the state that belongs to its rows. A run writes one segment with what it changed. A
segment that is not larger than the new one is merged into it, as digits carry in a binary counter: there are at most
log2(intervals) segments, and each interval is written again at most that often.
"""

import bisect
import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asgard.common.errors import LostStateError
from asgard.common.names import TableName
from asgard.common.storage import Storage
from asgard.lakehouse.declaring.intervals import TimeRange
from asgard.lakehouse.freshness.code_digest import CodeDigests
from asgard.lakehouse.freshness.file_index import FileIndex, IndexedFile
from asgard.lakehouse.freshness.stretch import Stretch, moment_of

INTERVALS_PROPERTY = "asgard.intervals"
"""Table property: which time ranges have been computed (`RangeSet`)."""
INPUTS_PROPERTY = "asgard.inputs"
"""Table property: the snapshots that the last write was computed from (JSON, table -> snapshot id)."""
STATE_PROPERTY = "asgard.state"
"""Table property: the snapshot that the state describes, and its segments with their number of items, oldest first."""
_FOLDER = "intervals"


@dataclass(frozen=True)
class Read:
    """What an interval read of one input.

    Attributes:
        stretch: which rows.
        fingerprint: of the input's files for that stretch, when it was read.
        snapshot: the input's snapshot then; 0 for an input without one.
    """

    table: TableName
    stretch: Stretch
    fingerprint: int
    snapshot: int


@dataclass(frozen=True)
class IntervalRecord:
    """What one interval was computed from; a table without intervals has one record, from 0 to 0.

    Attributes:
        start, end: microseconds since 1970 in UTC.
        run: the id of the run that computed it.
        code: the digests of the code that computed it.
        reads: one for each input.
        until: where the declared `end` cut the interval short, that moment; else None.
        doubt: the snapshot by which somebody other than a recorded run changed its rows later; 0 for none.
    """

    start: int
    end: int
    run: str
    code: CodeDigests
    reads: tuple[Read, ...]
    until: int | None = None
    doubt: int = 0

    @property
    def interval(self) -> TimeRange:
        """As a range of time."""
        return TimeRange(moment_of(self.start), moment_of(self.end))


@dataclass(frozen=True)
class Segment:
    """What one run changed.

    Attributes:
        cleared: stretches whose earlier records no longer count, as (start, end).
        records: by interval.
        added: files by number.
        removed: numbers of files.
    """

    cleared: tuple[tuple[int, int], ...] = ()
    records: tuple[IntervalRecord, ...] = ()
    added: Mapping[int, IndexedFile] = field(default_factory=dict)
    removed: frozenset[int] = frozenset()

    @property
    def size(self) -> int:
        """Number of items."""
        return len(self.records) + len(self.added) + len(self.removed)

    def then(self, later: "Segment") -> "Segment":
        """This one and a later one as one."""
        kept = _outside(self.records, _merged(later.cleared))
        added = {number: file for number, file in self.added.items() if number not in later.removed}
        gone = later.removed - self.added.keys()
        return Segment(
            cleared=_merged((*self.cleared, *later.cleared)),
            records=(*kept, *later.records),
            added={**added, **later.added},
            removed=self.removed | gone,
        )


def _merged(cleared: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    whole = ((start, max(end, start + 1)) for start, end in cleared)  # of the record of a whole table: (0, 0)
    for start, end in sorted(whole):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def _outside(records: Iterable[IntervalRecord], cleared: Sequence[tuple[int, int]]) -> list[IntervalRecord]:
    """The records that begin in none of some disjoint stretches."""
    starts = [start for start, _ in cleared]

    def is_inside(moment: int) -> bool:
        place = bisect.bisect_right(starts, moment) - 1
        return place >= 0 and moment < cleared[place][1]

    return [each for each in records if not is_inside(each.start)]


@dataclass(frozen=True)
class IntervalState:
    """The state of a table at one snapshot.

    Attributes:
        snapshot: that it describes; 0 before the first one.
        records: by the start of their interval, in order.
        files: live at that snapshot.
    """

    snapshot: int
    records: Mapping[int, IntervalRecord]
    files: FileIndex


@dataclass(frozen=True)
class SegmentName:
    """How a table's property names one segment."""

    size: int
    digest: str


@dataclass(frozen=True)
class StateName:
    """What a table's property says of its state."""

    snapshot: int
    segments: tuple[SegmentName, ...]

    @classmethod
    def parse(cls, text: str) -> "StateName | None":
        """Read what `str()` wrote; None for no text."""
        if not text:
            return None
        snapshot, *parts = text.split()
        return cls(int(snapshot), tuple(SegmentName(int(part.split(":")[0]), part.split(":")[1]) for part in parts))

    def __str__(self) -> str:
        return " ".join((str(self.snapshot), *(f"{each.size}:{each.digest}" for each in self.segments)))


class StateStore:
    """The stored segments of all tables of one warehouse."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def load(self, table: TableName, name: StateName | None) -> IntervalState | None:
        """The state that a table's property names; None for none.

        Raises:
            LostStateError: a segment is missing or damaged.
        """
        if name is None:
            return None
        whole = Segment()
        for each in name.segments:
            whole = whole.then(self._read(table, each))
        records = {each.start: each for each in sorted(whole.records, key=lambda record: record.start)}
        return IntervalState(name.snapshot, records, FileIndex(whole.added))

    def append(self, table: TableName, before: StateName | None, snapshot: int, segment: Segment) -> StateName:
        """Store what a run changed, and return the name of the state after it.

        Raises:
            LostStateError: a segment that is joined with it is missing or damaged.
            ServiceError: the storage does not answer.
        """
        names = list(before.segments) if before else []
        while names and names[-1].size <= segment.size:
            segment = self._read(table, names.pop()).then(segment)
        if not names:
            segment = Segment((), segment.records, segment.added, frozenset())
        data = gzip.compress(json.dumps(_encode(segment), separators=(",", ":")).encode(), compresslevel=6, mtime=0)
        digest = hashlib.sha256(data).hexdigest()[:32]
        self._storage.create(_path(digest), data)
        return StateName(snapshot, (*names, SegmentName(segment.size, digest)))

    def _read(self, table: TableName, name: SegmentName) -> Segment:
        path = _path(name.digest)
        data = self._storage.read(path)
        if data is None or hashlib.sha256(data).hexdigest()[:32] != name.digest:
            raise LostStateError(
                f"{path} below _asgard/ in the warehouse is {'missing' if data is None else 'damaged'}: it "
                f"records what the intervals of {table} were computed from.",
                hint="Restore it from a backup, or compute the table again: asgard backfill --changed.",
            )
        return _decode(json.loads(gzip.decompress(data)))


def _path(digest: str) -> str:
    return f"{_FOLDER}/{digest}.json.gz"


class _Words:
    """Texts that occur again and again, each stored once."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self.texts = list(known)
        self._places = {text: place for place, text in enumerate(self.texts)}

    def place(self, text: str) -> int:
        if text not in self._places:
            self._places[text] = len(self.texts)
            self.texts.append(text)
        return self._places[text]


def _encode(segment: Segment) -> dict[str, Any]:
    words = _Words()
    records = [
        [
            each.start,
            each.end,
            words.place(each.run),
            words.place(f"{each.code.rows} {each.code.checks} {each.code.documentation}"),
            each.until,
            each.doubt,
            [
                [
                    words.place(str(read.table)),
                    words.place(read.stretch.column),
                    read.stretch.start,
                    read.stretch.end,
                    int(read.stretch.nulls),
                    read.fingerprint,
                    read.snapshot,
                ]
                for read in each.reads
            ],
        ]
        for each in segment.records
    ]
    added = [
        [number, each.rows, int(each.is_delete), [[words.place(column), *span] for column, span in each.spans.items()]]
        for number, each in segment.added.items()
    ]
    return {
        "version": 1,
        "cleared": segment.cleared,
        "records": records,
        "added": added,
        "removed": sorted(segment.removed),
        "words": words.texts,
    }


def _decode(stored: Mapping[str, Any]) -> Segment:
    words: Sequence[str] = stored["words"]
    places = {read[0] for each in stored["records"] for read in each[6]}
    tables = {place: TableName.parse(words[place]) for place in places}
    codes = {place: CodeDigests(*words[place].split()) for place in {each[3] for each in stored["records"]}}
    records = tuple(
        IntervalRecord(
            start,
            end,
            words[run],
            codes[code],
            tuple(
                Read(tables[table], Stretch(words[column], low, high, bool(nulls)), fingerprint, snapshot)
                for table, column, low, high, nulls, fingerprint, snapshot in reads
            ),
            until,
            doubt,
        )
        for start, end, run, code, until, doubt, reads in stored["records"]
    )
    added = {
        number: IndexedFile(
            rows, {words[column]: (low, high, bool(nulls)) for column, low, high, nulls in spans}, bool(is_delete)
        )
        for number, rows, is_delete, spans in stored["added"]
    }
    cleared = tuple((start, end) for start, end in stored["cleared"])
    return Segment(cleared, records, added, frozenset(stored["removed"]))
