"""Holds of published predictions on the published states that they were computed from.

A run holds the commits of its views by tags `hold_prediction_<model>_<run id>-<coverage>-<commit>` before it begins.
Once a run over all entities is published, it drops the holds of every run of the model that was published before it. A
run over some entities drops none: the same condition may select other entities tomorrow. So the latest prediction of
each entity that the last run over all of them predicted can be explained at any time. The next run over all entities
also drops the holds of dead runs, which gave no sign of life for an hour.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import takewhile

from asgard.common.aliases import Say
from asgard.common.errors import AsgardError
from asgard.common.failpoints import failpoint
from asgard.common.heartbeat import DEAD_AFTER
from asgard.common.names import LOG_MARGIN, BranchName, RunId, run_id_time
from asgard.lakehouse.catalog.holds import base_name, hold, hold_name, holds_of, release
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.publish import find_publish
from asgard.lakehouse.runs.records import RunRecords
from asgard.lakehouse.runs.run import RunResult, Status
from asgard.model.batch.request import PredictRequest
from asgard.model.batch.scope import Coverage

KIND = "prediction"
_OWNED = re.compile(r"(?P<run>\d{8}t\d{6}-[0-9a-f]{6})-[a-z0-9]+-[0-9a-f]+")


class Holding:
    """The holds of one run of predictions, while it works.

    Attributes:
        names: names of the tags.
    """

    def __init__(self, lake: Lakehouse, request: PredictRequest, run_id: RunId) -> None:
        self._lake, self._model, self._run_id = lake, request.version.name, run_id
        self._coverage = request.coverage
        states = {pinned.table.at for each in request.sides.values() for pinned in each.views}
        self._states = sorted(states, key=str)
        self.names = [
            hold_name(KIND, self._model, f"{run_id}-{self._coverage}-{commit[:16]}")
            for commit in dict.fromkeys(at.commit for at in self._states)
        ]

    def begin(self) -> None:
        """Hold the states that the run will read.

        Raises:
            UnknownReferenceError: a commit is gone.
        """
        commits = {at.commit: at.reference for at in self._states}
        for place, (commit, reference) in enumerate(commits.items()):
            self.names[place] = hold(self._lake, self.names[place], commit, reference)

    def drop(self) -> None:
        """Drop the holds: nothing was published that depends on them."""
        for name in self.names:
            release(self._lake, name)

    def take_over(self) -> list[BranchName]:
        """Drop the holds of earlier runs, if this run predicted all entities and was published after them."""
        if self._coverage is not Coverage.ALL:
            return []
        prefix = hold_name(KIND, self._model, "")
        owners: dict[BranchName, RunId] = {}
        for name in holds_of(self._lake, KIND, f"{self._model}_"):
            owned = _OWNED.fullmatch(base_name(name).removeprefix(prefix))
            if owned and owned["run"] < self._run_id:
                owners[name] = RunId(owned["run"])
        if not owners:
            return []
        kept = self._working(set(owners.values())) | self._published_since()  # in this order, so that no run is missed
        dropped = [name for name, run_id in owners.items() if run_id not in kept]
        for name in dropped:
            release(self._lake, name)
        return dropped

    def _working(self, runs: set[RunId]) -> set[RunId]:
        """Runs that may still publish: unpublished, and started or last alive less than an hour ago."""
        signs, limit = RunRecords(self._lake.storage).signs_of_life(), datetime.now(UTC) - DEAD_AFTER
        young = {run_id for run_id in runs if max(run_id_time(run_id), signs.get(run_id, limit)) > limit}
        return {run_id for run_id in young if find_publish(self._lake, run_id) is None}

    def _published_since(self) -> set[str]:
        """The runs that were published after this one."""
        log = self._lake.nessie.log(self._lake.target, since=run_id_time(self._run_id) - LOG_MARGIN)
        runs = (entry.properties.get("asgard.run-id", "") for entry in log)
        return set(takewhile(lambda run_id: run_id != self._run_id, runs))


@contextmanager
def holding(lake: Lakehouse, request: PredictRequest, run_id: RunId, say: Say) -> "Iterator[list[RunResult]]":
    """Hold what a run reads; the holds stay if the result that the block appends was published.

    Raises:
        UnknownReferenceError: a commit is gone.
    """
    held, results = Holding(lake, request, run_id), list[RunResult]()
    try:
        held.begin()
        failpoint("predictions-held")
        yield results
    except BaseException:
        if not _may_be_published(lake, run_id):
            held.drop()
        raise
    if not any(each.status in (Status.PUBLISHED, Status.ALREADY_PUBLISHED) for each in results):
        held.drop()
        return
    failpoint("predictions-published")
    try:
        held.take_over()
    except AsgardError as error:
        say(f"holds of earlier predictions stay until the next run: {error.message}")


def _may_be_published(lake: Lakehouse, run_id: RunId) -> bool:
    """Whether a failed run was published before it failed; True, which keeps its holds, if that is unknown."""
    try:
        return find_publish(lake, run_id) is not None
    except AsgardError:
        return True


def is_held(lake: Lakehouse, model: str, run_id: str) -> bool:
    """Whether the states that a prediction run read are still held."""
    return bool(holds_of(lake, KIND, f"{model}_{run_id}-"))
