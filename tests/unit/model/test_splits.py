"""Labels are split by time: what a model learns from was all known when its test begins."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import UsageError
from asgard.model.splits import TimeSplit

START = datetime(2024, 1, 1, tzinfo=UTC)


def times(days: list[int]) -> pd.Series:
    return pd.Series([START + timedelta(days=day) for day in days]).astype("datetime64[us, UTC]")


@given(
    st.lists(st.integers(0, 60), min_size=2, max_size=80).filter(lambda days: len(set(days)) > 1),
    st.one_of(st.floats(0.05, 0.95), st.integers(1, 60)),
    st.integers(0, 20),
)
def test_no_outcome_of_a_training_label_is_younger_than_the_test(
    days: list[int], cut: float | int, horizon: int
) -> None:
    at = START + timedelta(days=cut) if isinstance(cut, int) else None
    share = cut if isinstance(cut, float) else None
    rows = times(days)
    try:
        split = TimeSplit(at, share, timedelta(days=horizon)).split(rows)
    except UsageError:
        return
    known = rows + timedelta(days=horizon)
    assert (known[split.train] <= split.test_from).all()
    assert (rows[split.test] >= split.test_from).all()
    assert not (split.train & split.test).any()
    assert split.test.sum() == (rows >= split.test_from).sum()
    assert split.left_out == len(rows) - split.train.sum() - split.test.sum()
    assert ((rows < split.test_from) & ~split.train).sum() == split.left_out
    if at is not None:
        assert split.test_from == at


def test_the_share_is_of_the_latest_labels() -> None:
    split = TimeSplit(None, 0.25).split(times(list(range(100))))
    assert split.test_from == START + timedelta(days=75)
    assert split.test.sum() == 25
    assert split.train.sum() == 75


def test_labels_of_one_moment_stay_together() -> None:
    split = TimeSplit(None, 0.5).split(times([0] * 90 + [1] * 10))
    assert split.test.sum() == 10


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (TimeSplit(START, None), "0 are for training"),
        (TimeSplit(START + timedelta(days=99), None), "0 for the test"),
        (TimeSplit(START + timedelta(days=5), None, timedelta(days=30)), "0 are for training"),
    ],
)
def test_nothing_to_learn_from_or_to_judge_by(split: TimeSplit, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        split.split(times(list(range(10))))


def test_labels_of_a_single_moment_can_not_be_split() -> None:
    with pytest.raises(UsageError, match="Of 5 labels"):
        TimeSplit(None, 0.25).split(times([3] * 5))
