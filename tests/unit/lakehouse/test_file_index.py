"""Fingerprints of stretches against a slow, obvious sum."""

from hypothesis import given
from hypothesis import strategies as st

from asgard.lakehouse.freshness.file_index import FileIndex, IndexedFile, SnapshotChange, touches
from asgard.lakehouse.freshness.stretch import EVERYTHING, Stretch

_values = st.integers(-20, 20)
_bounds = st.one_of(st.none(), _values)


@st.composite
def _files(draw: st.DrawFn) -> IndexedFile:
    kind = draw(st.sampled_from(["bounded", "nulls", "unknown", "delete"]))
    if kind == "unknown":
        return IndexedFile(1, {})
    if kind == "delete":
        return IndexedFile(1, {}, is_delete=True)
    if kind == "nulls":
        return IndexedFile(1, {"at": (1, 0, True)})
    low, high = sorted((draw(_values), draw(_values)))
    return IndexedFile(1, {"at": (low, high, draw(st.booleans()))})


@st.composite
def _stretches(draw: st.DrawFn) -> Stretch:
    start, end = draw(_bounds), draw(_bounds)
    if start is not None and end is not None and end < start:
        start, end = end, start
    return Stretch(draw(st.sampled_from(["at", "other"])), start, end, draw(st.booleans()))


_indexes = st.dictionaries(st.integers(0, 2**64 - 1), _files(), max_size=12)


@given(_indexes, _stretches())
def test_the_fingerprint_is_the_sum_over_the_files_that_may_hold_rows(
    files: dict[int, IndexedFile], stretch: Stretch
) -> None:
    index = FileIndex(files)
    slow = sum(number for number, file in files.items() if _touches(file, stretch)) % 2**64
    assert index.fingerprint(stretch) == slow
    assert index.fingerprint(EVERYTHING) == sum(files) % 2**64


@given(st.lists(_files(), max_size=8), st.lists(_files(), max_size=8), _stretches())
def test_a_change_touches_a_stretch_if_one_of_its_files_does(
    added: list[IndexedFile], removed: list[IndexedFile], stretch: Stretch
) -> None:
    change = SnapshotChange(1, "", dict(enumerate(added, 1)), dict(enumerate(removed, 100)))
    slow = [_touches(file, stretch) for file in (*added, *removed)]
    assert change.touches(stretch) == any(slow)
    assert [touches(file, stretch) for file in (*added, *removed)] == slow


@given(_files(), _stretches(), _values, st.booleans())
def test_a_file_that_holds_a_row_of_the_stretch_touches_it(
    file: IndexedFile, stretch: Stretch, value: int, null: bool
) -> None:
    low, high, nulls = file.spans.get("at", (-100, 100, True))
    row_exists = nulls if null else low <= value <= high
    inside = stretch.nulls if null else _within(stretch, value)
    if row_exists and inside and stretch.column == "at":
        assert _touches(file, stretch)


def _touches(file: IndexedFile, stretch: Stretch) -> bool:
    """Whether a file may hold rows of a stretch, or delete some: the obvious way."""
    if not stretch.is_bounded or file.is_delete or stretch.column not in file.spans:
        return True
    low, high, nulls = file.spans[stretch.column]
    if nulls and stretch.nulls:
        return True
    starts_before = stretch.end is None or low < stretch.end
    ends_after = stretch.start is None or high >= stretch.start
    return not stretch.is_empty and low <= high and starts_before and ends_after


def _within(stretch: Stretch, value: int) -> bool:
    return (stretch.start is None or value >= stretch.start) and (stretch.end is None or value < stretch.end)


def test_changes_are_applied_in_their_order() -> None:
    one, two = IndexedFile(1, {}), IndexedFile(2, {})
    index = FileIndex({1: one}).changed(
        [SnapshotChange(7, "r", {2: two}, {1: one}), SnapshotChange(8, "r", {1: one}, {2: two})]
    )
    assert index.files == {1: one}


@given(_stretches(), _stretches(), _values, st.booleans())
def test_narrowed_and_joined_stretches_hold_what_they_must(
    first: Stretch, second: Stretch, value: int, null: bool
) -> None:
    second = second.on(first.column)

    def holds(stretch: Stretch) -> bool:
        return stretch.nulls if null else _within(stretch, value)

    if holds(first) and holds(second):
        assert holds(first.narrowed(second))
    if holds(first) or holds(second):
        assert holds(first.joined(second))
