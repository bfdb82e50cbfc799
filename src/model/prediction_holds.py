"""What published predictions keep of the lakehouse: holds on the states that they were computed from.

A run holds the commits of its views by tags `hold_prediction_<model>_<run id>-<scope>-<commit>` before it begins. Once
it is published it drops what it takes over: a run over all entities the holds of every earlier run of the model, a run
over some of them those of the earlier runs over the same ones. So the newest prediction of an entity can be explained
at any time. Holds of runs that died go with the next ones.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from asgard.common.errors import AsgardError
from asgard.common.failpoints import failpoint
from asgard.common.names import BranchName, RunId
from asgard.lakehouse.holds import hold, hold_name, release
from asgard.lakehouse.lake import Lakehouse
from asgard.lakehouse.publish import find_publish
from asgard.lakehouse.run import RunResult, Status
from asgard.model.batch_request import WHOLE, PredictRequest

Say = Callable[[str], None]
KIND = "prediction"
_OWNED = re.compile(r"(?P<run>\d{8}t\d{6}-[0-9a-f]{6})-(?P<scope>[0-9a-f]{8}|all)-[0-9a-f]+")


class Holding:
    """The holds of one run of predictions, while it works.

    Attributes:
        names: of the tags.
    """

    def __init__(self, lake: Lakehouse, request: PredictRequest, run_id: RunId) -> None:
        self._lake, self._model, self._run_id = lake, request.version.name, run_id
        self._scope = hashlib.sha256(request.chosen.encode()).hexdigest()[:8] if request.chosen else WHOLE
        states = {pinned.table.at for each in request.sides.values() for pinned in each.views}
        self._states = sorted(states, key=str)
        self.names = [
            hold_name(KIND, self._model, f"{run_id}-{self._scope}-{commit[:16]}")
            for commit in dict.fromkeys(at.commit for at in self._states)
        ]

    def begin(self) -> None:
        """Hold what is going to be read.

        Raises:
            UnknownReferenceError: a commit is gone.
        """
        commits = {at.commit: at.reference for at in self._states}
        for name, (commit, reference) in zip(self.names, commits.items(), strict=True):
            hold(self._lake, name, commit, reference)

    def drop(self) -> None:
        """Let go of it again: nothing was published that rests on it."""
        for name in self.names:
            release(self._lake, name)

    def take_over(self) -> list[BranchName]:
        """Let go of what earlier runs held for the entities that this one predicted."""
        prefix = hold_name(KIND, self._model, "")
        dropped = []
        for reference in list(self._lake.nessie.references(prefix)):
            owned = _OWNED.fullmatch(reference.name.removeprefix(prefix))
            if owned and owned["run"] < self._run_id and self._scope in (WHOLE, owned["scope"]):
                release(self._lake, reference.name)
                dropped.append(reference.name)
        return dropped


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
    return any(True for _ in lake.nessie.references(f"{hold_name(KIND, model, run_id)}-"))
