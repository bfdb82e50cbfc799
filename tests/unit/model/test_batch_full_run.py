"""What a run over all entities amounts to, and what is demanded of it after the last one."""

from typing import Any

import pytest
from tests.support.prediction_requests import NULLABLE, challenger, request, version
from tests.support.registered_models import artifact

from asgard.common.errors import UsageError
from asgard.jobs.batch_predict_job import find, find_challenger
from asgard.model.batch.challenge import Side
from asgard.model.batch.counts import SideCounts
from asgard.model.batch.full_run import LastRunComparison, RunTotals
from asgard.model.batch.predict import Predicted
from asgard.model.batch.scope import Coverage, Scope

LAST = RunTotals(100, 90, 0.5, 0.2)


def failing(now: RunTotals, last: RunTotals = LAST, **changes: Any) -> list[str]:
    """The checks that fail, by the first word of their names."""
    made = request(artifact=artifact(signature=NULLABLE), **changes)
    rules = LastRunComparison(made, last, lambda: now).rules
    return [name.split()[0] for name, holds in rules.items() if not holds(now)]


@pytest.mark.parametrize(
    ("now", "broken"),
    [
        (RunTotals(100, 90, 0.5), []),
        (RunTotals(100, 80, 0.5), []),
        (RunTotals(100, 79, 0.5), ["nulls"]),
        (RunTotals(45, 45, 0.5), []),
        (RunTotals(44, 44, 0.5), ["volume"]),
        (RunTotals(1000, 44, 0.5), ["volume", "nulls"]),
        (RunTotals(100, 90, 0.25), []),
        (RunTotals(100, 90, 0.24), ["mean"]),
        (RunTotals(100, 90, 0.76), ["mean"]),
        (RunTotals(100, 90, float("nan")), ["mean"]),
        (RunTotals(100, 0, None), ["volume", "nulls", "mean"]),
    ],
)
def test_what_is_demanded_after_the_last_run(now: RunTotals, broken: list[str]) -> None:
    assert failing(now) == broken


def test_the_options_say_how_much() -> None:
    assert failing(RunTotals(100, 50, 0.5), max_null_rise=0.4) == []
    assert failing(RunTotals(100, 49, 0.5), max_null_rise=0.4) == ["nulls"]
    assert failing(RunTotals(90, 81, 0.5), min_volume=0.95) == ["volume"]
    assert failing(RunTotals(100, 90, 0.9), max_mean_shift=1) == []
    with pytest.raises(UsageError, match="--max-null-rise"):
        request(max_null_rise=-0.1).require_fit()


def test_a_model_that_predicts_everybody_has_no_share_of_nulls() -> None:
    names = list(LastRunComparison(request(), LAST, lambda: LAST).rules)
    assert names == ["volume against the last run", "mean against the last run"]


def test_a_last_mean_of_zero_does_not_block_the_next() -> None:
    residuals = RunTotals(100, 100, 0.0, 10.0)
    assert failing(RunTotals(100, 100, 0.5), residuals) == []
    assert failing(RunTotals(100, 100, 0.51), residuals) == ["mean"]
    assert failing(RunTotals(100, 100, 0.51), residuals, max_mean_shift=1) == []
    assert failing(RunTotals(100, 100, 0.3), RunTotals(100, 100, 0.0, 0.0)) == []
    assert RunTotals(9, 9, 0.5, 0.2).mean_range(0.5) == (0.25, 0.75)
    assert RunTotals(9, 9, float("nan"), 1.0).mean_range(0.5) is None
    assert RunTotals(9, 9).mean_range(0.5) is None


def test_the_mean_of_both_sides_is_that_of_the_scored_rows() -> None:
    sides = {
        Side.CHAMPION: SideCounts(version("1.0.0"), 100, 10, 0.2),
        Side.CHALLENGER: SideCounts(version("1.2.0"), 30, 30, 0.6),
    }
    run: Any = None
    found = Predicted(request(challenger=challenger()), run, sides)
    assert found.mean == pytest.approx((10 * 0.2 + 30 * 0.6) / 40)
    assert (found.rows, found.null) == (130, 90)
    assert sides[Side.CHAMPION].to_json() == {"model": "churn@1.0.0", "rows": 100, "null": 90, "mean": 0.2}
    assert Predicted(request(), run, {Side.CHAMPION: SideCounts(version("1.0.0"), 3)}).mean is None


def test_the_rest_of_all_says_who_challenged() -> None:
    rest = "all that were not predicted yet"
    assert request().rest_scope == Scope(Coverage.ALL, None, True, rest)
    split = f"{rest}, challenger 1.2.0 0.1"
    assert request(challenger=challenger()).rest_scope == Scope(Coverage.ALL, "1.2.0", True, split)
    some = request(where="visits > 1").rest_scope
    assert (some.coverage, str(some)) == (Coverage.SOME, "where visits > 1")


class Known:
    """A registry that gives back what it is asked for."""

    def find(self, text: str) -> Any:
        return text


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("churn",), "churn@production"),
        (("churn@1.2.0",), "churn@1.2.0"),
        (("churn@latest",), "churn@latest"),
        (("churn", "1.2.0"), "churn@1.2.0"),
        (("churn", None, "staging"), "churn@staging"),
    ],
)
def test_the_version_may_stand_behind_the_model(asked: tuple[str, ...], found: str) -> None:
    registry: Any = Known()
    assert str(find(registry, *asked)) == found


@pytest.mark.parametrize(
    "asked", [("churn@1.2.0", "1.2.0"), ("churn@1.2.0", None, "staging"), ("churn", "1", "staging")]
)
def test_a_version_is_named_once(asked: tuple[str, ...]) -> None:
    registry: Any = Known()
    with pytest.raises(UsageError, match="named more than once"):
        find(registry, *asked)


def test_a_challenger_is_of_the_same_model() -> None:
    registry: Any = Known()
    assert str(find_challenger(registry, "churn@1.0.0", "1.2.0")) == "churn@1.2.0"
    assert str(find_challenger(registry, "churn", "churn@staging")) == "churn@staging"
    with pytest.raises(UsageError, match="not a version of churn"):
        find_challenger(registry, "churn", "demand@1.0.0")
