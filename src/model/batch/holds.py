"""What published predictions keep of the lakehouse: holds on the states that they were computed from.

A run holds the commits of its views by tags `hold_prediction_<model>_<run id>-<coverage>-<commit>` before it begins.
Once a run over all entities is published, it drops the holds of every run of the model that was published before. A run
over some of them drops none: the same condition picks other entities tomorrow. So the newest prediction of each entity
that the last run over all of them predicted can be explained at any time. Holds of runs that died go with the next run
over all entities, once they have shown no life for an hour.
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
        names: of the tags.
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
        """Hold what is going to be read.

        Raises:
            UnknownReferenceError: a commit is gone.
        """
        commits = {at.commit: at.reference for at in self._states}
        for place, (commit, reference) in enumerate(commits.items()):
            self.names[place] = hold(self._lake, self.names[place], commit, reference)

    def drop(self) -> None:
        """Let go of it again: nothing was published that rests on it."""
        for name in self.names:
            release(self._lake, name)

    def take_over(self) -> list[BranchName]:
        """Let go of what earlier runs held, if this one predicted all entities, and was published after them."""
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
        kept = self._working(set(owners.values())) | self._published_since()  # in this order: none slips between
        dropped = [name for name, run_id in owners.items() if run_id not in kept]
        for name in dropped:
            release(self._lake, name)
        return dropped

    def _working(self, runs: set[RunId]) -> set[RunId]:
        """Those that may still publish: not published, and younger than an hour or with a younger sign of life."""
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
    """Hold what a run reads; kept if the result that the block appends says that it was published.

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
        say(f"holds of earlier predictions stay until the next ones: {error.message}")


def _may_be_published(lake: Lakehouse, run_id: RunId) -> bool:
    """Whether a run that ended badly was published before; if nobody can say, what it read stays held."""
    try:
        return find_publish(lake, run_id) is not None
    except AsgardError:
        return True


def is_held(lake: Lakehouse, model: str, run_id: str) -> bool:
    """Whether what a run of predictions read is still held."""
    return bool(holds_of(lake, KIND, f"{model}_{run_id}-"))
