"""Champion and challenger: fixed for all time, fair, and monotone in the share."""

import subprocess
import sys
from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import UsageError
from asgard.model.batch.challenge import Side, assigned

KEYS = st.lists(st.one_of(st.none(), st.text(), st.integers(), st.booleans(), st.dates()), min_size=1, max_size=3)


def share_of(share: float, salt: str, entities: int = 20_000) -> float:
    return sum(assigned((number,), share, salt) is Side.CHALLENGER for number in range(entities)) / entities


def test_what_is_assigned_stays_assigned() -> None:
    """These are in people's tables: the rule must not change."""
    names = ["ann", "bob", "cleo", "dora", "emil", "fay", "gus", "hal", "ida", "jon"]
    challenged = [name for name in names if assigned((name,), 0.3, "churn@1.2.0") is Side.CHALLENGER]
    numbers = [number for number in range(20) if assigned((number, True, None), 0.25, "s") is Side.CHALLENGER]
    assert (challenged, numbers) == (["cleo", "fay"], [0, 5, 7])


def test_another_process_with_other_hashes_assigns_the_same() -> None:
    code = (
        "from asgard.model.batch.challenge import assigned; "
        "print(''.join(str(assigned((f'é{n}', n), 0.5, 's'))[2] for n in range(64)))"
    )
    ends = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert ends == {"".join(str(assigned((f"é{n}", n), 0.5, "s"))[2] for n in range(64))}


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_shares_are_kept(share: float) -> None:
    assert share_of(share, "one") == pytest.approx(share, abs=4 * (share * (1 - share) / 20_000) ** 0.5)


def test_another_salt_draws_anew() -> None:
    both = sum(
        assigned((n,), 0.1, "one") is Side.CHALLENGER and assigned((n,), 0.1, "other") is Side.CHALLENGER
        for n in range(20_000)
    )
    assert both / 20_000 == pytest.approx(0.01, abs=0.004)


@given(KEYS, st.floats(0, 1), st.floats(0, 1), st.text())
def test_a_growing_share_gives_nobody_back(keys: list[object], one: float, other: float, salt: str) -> None:
    low, high = sorted((one, other))
    assert assigned(keys, low, salt) is Side.CHAMPION or assigned(keys, high, salt) is Side.CHALLENGER
    assert assigned(keys, 0, salt) is Side.CHAMPION
    assert assigned(keys, 1, salt) is Side.CHALLENGER


def test_numbers_of_numpy_are_numbers() -> None:
    for value in (7, True, "ann"):
        given = np.array([value])[0]
        sides = [[assigned((each,), 0.5, str(salt)) for salt in range(50)] for each in (value, given)]
        assert sides[0] == sides[1]


def test_keys_do_not_run_into_each_other() -> None:
    pairs = [("1", "11"), ("11", "1"), ("1:1", "1"), ("", "1111")]
    sides = [tuple(assigned(pair, 0.5, str(salt)) for salt in range(64)) for pair in pairs]
    assert len(set(sides)) == len(pairs)


@pytest.mark.parametrize("value", [1.5, datetime(2024, 1, 1, tzinfo=UTC), b"ann", (1, 2)])
def test_what_has_no_one_text_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="can't be split by"):
        assigned((date(2024, 1, 1), value), 0.5, "s")


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(UsageError, match="The challenger's share is"):
        assigned(("ann",), share, "s")
