"""Which holds a run of predictions lets go of: those that were published before it, if it predicted everybody."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.prediction_requests import request

from asgard.common.names import RunId, new_run_id
from asgard.lakehouse.runs.records import RunRecords
from asgard.model.batch import holds as prediction_holds
from asgard.model.batch.holds import Holding

NOW = datetime.now(UTC)


def run_id(minutes: int) -> RunId:
    """Of a run that began so many minutes ago."""
    return new_run_id(NOW - timedelta(minutes=minutes))


class Target:
    """Nessie, as far as holds and the log go; what is published stands newest first."""

    def __init__(self, holds: list[RunId], published: list[RunId]) -> None:
        self.holds, self.published = [f"hold_prediction_churn_{each}-all-00ff" for each in holds], published

    def log(self, _ref: str, since: datetime) -> Iterator[Any]:
        properties = ({"asgard.run-id": each, "asgard.kind": "publish"} for each in self.published)
        yield from (SimpleNamespace(hash="c", properties=each) for each in properties)


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs whose holds were dropped, in order."""
    found: list[str] = []
    monkeypatch.setattr(prediction_holds, "release", lambda _lake, name: found.append(name[22:44]))
    return found


def take_over(
    own: RunId, target: Target, signs: dict[RunId, datetime], monkeypatch: pytest.MonkeyPatch, **asked: Any
) -> None:
    """As after the publish of a run."""
    monkeypatch.setattr(RunRecords, "signs_of_life", lambda _records: signs)
    monkeypatch.setattr(prediction_holds, "holds_of", lambda *_which: dict.fromkeys(target.holds, "00ff"))
    lake: Any = SimpleNamespace(nessie=target, target="main", storage=None)
    Holding(lake, request(views=(), **asked), own).take_over()


def test_a_run_over_all_takes_over_from_what_was_published_before_and_from_the_dead(
    released: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, before, died, works, long, since, younger = map(run_id, (5, 9, 300, 10, 400, 8, 1))
    target = Target([before, died, works, long, since, younger, own], [since, own, before])
    take_over(own, target, {long: NOW}, monkeypatch)
    assert sorted(released) == sorted([before, died])


def test_a_run_over_some_takes_over_nothing(released: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    own, before = run_id(5), run_id(9)
    target = Target([before, own], [own, before])
    take_over(own, target, {}, monkeypatch, where="visits > 1")
    assert released == []
    take_over(own, target, {}, monkeypatch)
    assert released == [before]
