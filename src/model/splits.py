"""Split labels by time into those to train on and those to test on."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from asgard.common.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Split:
    """Which rows are for training and which for the test.

    Attributes:
        train, test: one flag for each row; a row may be in neither.
        test_from: the first moment of the test.
        left_out: number of rows left out because their outcome was not yet known when the test begins.
    """

    train: "np.ndarray[Any, Any]"
    test: "np.ndarray[Any, Any]"
    test_from: datetime
    left_out: int


@dataclass(frozen=True)
class TimeSplit:
    """A split whose test is the latest labels.

    Attributes:
        test_from: first moment of the test; None if test_share is given.
        test_share: approximate share of the labels in the test: labels of one moment stay together.
        outcome_after: how long after its time a label's outcome becomes known.
    """

    test_from: datetime | None
    test_share: float | None
    outcome_after: timedelta = timedelta()

    def split(self, times: "pd.Series[Any]") -> Split:
        """Split rows by their times (UTC).

        Raises:
            UsageError: the training or the test would have no rows.
        """
        begin = self.test_from or self._quantile(times)
        test = (times >= begin).to_numpy()
        train = (times + self.outcome_after <= begin).to_numpy() & ~test
        if not train.any() or not test.any():
            raise UsageError(
                f"Of {len(times):,} labels from {times.min()} to {times.max()}, {int(train.sum()):,} are for training "
                f"and {int(test.sum()):,} for the test, which begins at {begin.isoformat()}.",
                hint="Change test_from or test_share, or add labels of more moments.",
            )
        return Split(train, test, begin, int(len(times) - train.sum() - test.sum()))

    def _quantile(self, times: "pd.Series[Any]") -> datetime:
        """The moment from which on about the wanted share of rows follows; never the very first moment."""
        import pandas as pd

        ordered = times.sort_values(ignore_index=True)
        place = min(len(ordered) - 1, int(len(ordered) * (1 - (self.test_share or 0))))
        moment = ordered.iloc[place] if len(ordered) else pd.Timestamp(0, tz=UTC)
        later = ordered[ordered > ordered.iloc[0]] if len(ordered) else ordered
        if len(later) and moment == ordered.iloc[0]:
            moment = later.iloc[0]
        return moment.to_pydatetime()
