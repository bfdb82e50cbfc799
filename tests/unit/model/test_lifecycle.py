"""The life of versions: random moves against a slow, obvious model; numbering; what illegal moves say."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from asgard.common.errors import UsageError
from asgard.model.ledger.ledger_run import decode, encode
from asgard.model.lifecycle import Ledger, LifecycleError, Stage, Transition, TransitionKind, Version, next_version

VERSIONS = st.builds(Version, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
NEXT = {Stage.NONE: Stage.STAGING, Stage.STAGING: Stage.PRODUCTION}


def propose(ledger: Ledger, kind: TransitionKind, version: Version, to: Stage) -> Transition:
    return ledger.propose(
        kind, version, to, who="ann", when="2024-01-01T00:00:00+00:00", mlflow_version=f"m{version}", sha256="a"
    )


class Lives(RuleBasedStateMachine):
    """Every move that a person may ask for, legal or not, and what a plain list of stages makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.stages: dict[Version, Stage] = {}
        self.produced: list[Version] = []

    def attempt(self, kind: TransitionKind, version: Version, to: Stage, *, legal: bool) -> None:
        before = self.ledger
        if not legal:
            with pytest.raises(LifecycleError):
                propose(before, kind, version, to)
            forged = Transition(before.next_number, version, "m", to, kind, "eve", "2024-01-01T00:00:00+00:00", "", "")
            after = before.then(forged)
            assert (after.stages, after.steps) == (before.stages, before.steps)
            assert (after.production, after.mlflow_versions) == (before.production, before.mlflow_versions)
            return
        self.ledger = before.then(propose(before, kind, version, to))
        if to is Stage.PRODUCTION:
            for other, stage in self.stages.items():
                if stage is Stage.PRODUCTION:
                    self.stages[other] = Stage.ARCHIVED
            self.produced.append(version)
        self.stages[version] = to

    @rule(version=VERSIONS, to=st.sampled_from(Stage))
    def register(self, version: Version, to: Stage) -> None:
        legal = to is Stage.NONE and all(version > other for other in self.stages)
        self.attempt(TransitionKind.REGISTER, version, to, legal=legal)

    @rule(asked=st.sampled_from(["", "major", "minor", "patch"]), features=st.booleans(), broken=st.booleans())
    def register_next(self, asked: str, features: bool, broken: bool) -> None:
        version = next_version(self.ledger.latest, asked, features_changed=features, signature_broken=broken)
        self.attempt(TransitionKind.REGISTER, version, Stage.NONE, legal=True)

    @rule(
        data=st.data(),
        kind=st.sampled_from([TransitionKind.PROMOTE, TransitionKind.ARCHIVE, TransitionKind.ROLLBACK]),
        to=st.sampled_from(Stage),
    )
    def move(self, data: st.DataObject, kind: TransitionKind, to: Stage) -> None:
        version = data.draw(st.sampled_from(sorted(self.stages)) if self.stages else VERSIONS)
        stage = self.stages.get(version)
        legal: Callable[[], bool] = {
            TransitionKind.PROMOTE: lambda: NEXT.get(stage) is to,  # type: ignore[arg-type]
            TransitionKind.ARCHIVE: lambda: to is Stage.ARCHIVED and stage is not Stage.ARCHIVED,
            TransitionKind.ROLLBACK: lambda: (
                stage is Stage.ARCHIVED and to is Stage.PRODUCTION and version in self.produced
            ),
        }[kind]
        self.attempt(kind, version, to, legal=stage is not None and legal())

    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        """The usual way of a version, so that long lives are seen, too."""
        usual = {version: NEXT[stage] for version, stage in self.stages.items() if stage in NEXT}
        if usual:
            version = data.draw(st.sampled_from(sorted(usual)))
            self.attempt(TransitionKind.PROMOTE, version, usual[version], legal=True)

    @rule()
    def roll_back(self) -> None:
        gone = [each for each in self.produced if self.stages[each] is Stage.ARCHIVED]
        if gone:
            back = self.ledger.predecessor
            assert back in gone
            self.attempt(TransitionKind.ROLLBACK, back, Stage.PRODUCTION, legal=True)

    @invariant()
    def agrees(self) -> None:
        assert self.ledger.stages == self.stages
        assert self.ledger.latest == max(self.stages, default=None)
        there = [version for version, stage in self.stages.items() if stage is Stage.PRODUCTION]
        assert len(there) <= 1
        assert self.ledger.production == (there[0] if there else None)
        assert all(self.ledger.was_in_production(each) == (each in self.produced) for each in self.stages)

    @invariant()
    def staging_is_one_of_those_in_staging(self) -> None:
        there = [version for version, stage in self.stages.items() if stage is Stage.STAGING]
        assert (self.ledger.staging in there) if there else self.ledger.staging is None

    @invariant()
    def versions_grow(self) -> None:
        registered = [each.version for each in self.ledger.transitions if each.kind is TransitionKind.REGISTER]
        assert registered == sorted(set(registered))

    @invariant()
    def history_leads_here(self) -> None:
        for version, stage in self.stages.items():
            steps = self.ledger.steps_of(version)
            assert steps[0].before is None
            assert all(one.after is other.before for one, other in pairwise(steps))
            assert steps[-1].after is stage

    def teardown(self) -> None:
        """Each prefix is what came before it and one entry more; kept as text, it comes to the same."""
        ledger = Ledger()
        for number, entry in enumerate(self.ledger.transitions, 1):
            ledger = ledger.then(decode(number, encode(entry)))
            assert ledger == Ledger.of(self.ledger.transitions[:number])
            assert sum(stage is Stage.PRODUCTION for stage in ledger.stages.values()) <= 1
        assert ledger == self.ledger


TestLives = Lives.TestCase


def ledger_with(*moves: tuple[TransitionKind, str, Stage]) -> Ledger:
    ledger = Ledger()
    for kind, version, to in moves:
        ledger = ledger.then(propose(ledger, kind, Version.parse(version), to))
    return ledger


LIVED = (
    (TransitionKind.REGISTER, "1.0.0", Stage.NONE),
    (TransitionKind.PROMOTE, "1.0.0", Stage.STAGING),
    (TransitionKind.PROMOTE, "1.0.0", Stage.PRODUCTION),
    (TransitionKind.REGISTER, "1.1.0", Stage.NONE),
    (TransitionKind.PROMOTE, "1.1.0", Stage.STAGING),
    (TransitionKind.PROMOTE, "1.1.0", Stage.PRODUCTION),
)


class TestMoves:
    def test_a_promotion_archives_the_predecessor_in_the_same_transition(self) -> None:
        ledger = ledger_with(*LIVED)
        last = [(str(step.version), step.before, step.after) for step in ledger.steps if step.transition.number == 6]
        assert last == [
            ("1.0.0", Stage.PRODUCTION, Stage.ARCHIVED),
            ("1.1.0", Stage.STAGING, Stage.PRODUCTION),
        ]
        assert ledger.predecessor == Version(1, 0, 0)

    @pytest.mark.parametrize(
        ("kind", "version", "to", "words"),
        [
            (TransitionKind.PROMOTE, "1.2.0", Stage.PRODUCTION, r"from None to Production.*\n.*promote to Staging"),
            (
                TransitionKind.PROMOTE,
                "1.0.0",
                Stage.PRODUCTION,
                r"from Archived to Production.*\n.*rollback to Production",
            ),
            (TransitionKind.PROMOTE, "1.1.0", Stage.PRODUCTION, "is in Production already"),
            (TransitionKind.PROMOTE, "1.1.0", Stage.NONE, r"from Production to None.*\n.*archive to Archived"),
            (TransitionKind.ROLLBACK, "1.2.0", Stage.PRODUCTION, "was never in Production"),
            (TransitionKind.PROMOTE, "9.0.0", Stage.STAGING, r"no version 9.0.0.\n.*1.2.0, 1.1.0, 1.0.0"),
            (TransitionKind.REGISTER, "1.2.0", Stage.NONE, "does not come after 1.2.0"),
            (TransitionKind.REGISTER, "1.3.0", Stage.STAGING, "starts in None"),
        ],
    )
    def test_an_illegal_move_names_the_legal_ones(
        self, kind: TransitionKind, version: str, to: Stage, words: str
    ) -> None:
        ledger = ledger_with(*LIVED, (TransitionKind.REGISTER, "1.2.0", Stage.NONE))
        with pytest.raises(LifecycleError, match=words):
            propose(ledger, kind, Version.parse(version), to)

    def test_an_entry_that_skips_a_number_does_nothing(self) -> None:
        ledger = ledger_with(*LIVED)
        entry = propose(ledger, TransitionKind.ARCHIVE, Version(1, 1, 0), Stage.ARCHIVED)
        late = Transition(**{**entry.__dict__, "number": entry.number + 1})
        assert ledger.then(late).stages == ledger.stages


class TestNumbers:
    @pytest.mark.parametrize(
        ("latest", "asked", "features", "broken", "expected"),
        [
            (None, "", False, False, "1.0.0"),
            (None, "minor", True, True, "1.0.0"),
            (None, "0.3.0", False, False, "0.3.0"),
            ("1.2.3", "", False, False, "1.2.4"),
            ("1.2.3", "", True, False, "1.3.0"),
            ("1.2.3", "", True, True, "2.0.0"),
            ("1.2.3", "patch", True, True, "1.2.4"),
            ("1.2.3", "major", False, False, "2.0.0"),
            ("1.2.3", "1.10.0", False, False, "1.10.0"),
        ],
    )
    def test_next(self, latest: str | None, asked: str, features: bool, broken: bool, expected: str) -> None:
        before = Version.parse(latest) if latest else None
        assert str(next_version(before, asked, features_changed=features, signature_broken=broken)) == expected

    def test_next_is_greater(self) -> None:
        with pytest.raises(LifecycleError, match=r"1\.2\.3 does not come after 1\.2\.3.*\n.*1\.2\.4, 1\.3\.0, 2\.0\.0"):
            next_version(Version(1, 2, 3), "1.2.3")

    def test_next_is_a_part_or_a_version(self) -> None:
        with pytest.raises(UsageError, match="'bigger' is neither a version nor a part of one"):
            next_version(Version(1, 2, 3), "bigger")

    @given(VERSIONS, VERSIONS)
    def test_order_is_that_of_the_numbers(self, one: Version, other: Version) -> None:
        parts = [tuple(map(int, str(each).split("."))) for each in (one, other)]
        assert (one < other) == (parts[0] < parts[1])
        assert Version.parse(str(one)) == one

    @pytest.mark.parametrize("text", ["1.2", "v1.2.3", "1.2.3-rc1", "01.2.3", "1.2.x", "", "1.2.3 ", "\u0661.2.3"])
    def test_what_is_no_version(self, text: str) -> None:
        with pytest.raises(UsageError, match="is not a version"):
            Version.parse(text)


@pytest.mark.parametrize(
    ("text", "stage"),
    [("production", Stage.PRODUCTION), ("STAGING", Stage.STAGING), ("development", Stage.NONE), ("None", Stage.NONE)],
)
def test_stages_are_read_in_any_case(text: str, stage: Stage) -> None:
    assert Stage.parse(text) is stage


def test_an_unknown_stage_says_which_there_are() -> None:
    with pytest.raises(UsageError, match=r"no stage 'prod'.\n.*None, Staging, Production, Archived"):
        Stage.parse("prod")


def test_texts_of_people_come_back_as_they_were() -> None:
    entry = propose(Ledger(), TransitionKind.REGISTER, Version(1, 0, 0), Stage.NONE)
    said = Transition(**{**entry.__dict__, "why": 'better "F1"\n— 测试', "who": "Zoë"})
    assert decode(1, encode(said)) == said
