"""The lifecycle of a model's versions: which moves are legal, and the state after a sequence of moves. No I/O.

```
register -> None -> Staging -> Production -> Archived        any stage -> Archived
                                   ^              |
                                   +-- rollback --+          only what was in Production before
```

Every move is a numbered transition; the ledger is the state after all of them. The transition that moves a version to
Production also archives its predecessor, so two versions are never in Production at once.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from asgard.common.errors import UsageError

_VERSION = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})", re.ASCII)


class LifecycleError(UsageError):
    """A model's version can't be moved or numbered as requested."""


@dataclass(frozen=True, order=True)
class Version:
    """A semantic version."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Read `1.2.3`.

        Raises:
            UsageError: the text is not three whole numbers.
        """
        match = _VERSION.fullmatch(text)
        if match is None:
            raise UsageError(f"{text!r} is not a version.", hint="Three whole numbers, e.g. 1.2.0.")
        return cls(*map(int, match.groups()))

    def bumped(self, part: "Bump") -> "Version":
        """The next version."""
        if part is Bump.MAJOR:
            return Version(self.major + 1, 0, 0)
        if part is Bump.MINOR:
            return Version(self.major, self.minor + 1, 0)
        return Version(self.major, self.minor, self.patch + 1)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


class Bump(StrEnum):
    """Which part of a version grows."""

    MAJOR = "major"
    MINOR = "minor"
    PATCH = "patch"


class Stage(StrEnum):
    """A version's stage."""

    NONE = "None"
    STAGING = "Staging"
    PRODUCTION = "Production"
    ARCHIVED = "Archived"

    @classmethod
    def parse(cls, text: str) -> "Stage":
        """Read a stage's name, in upper or lower case; `Development` is another word for None.

        Raises:
            UsageError: the stage does not exist.
        """
        names = {each.lower(): each for each in cls} | {"development": cls.NONE}
        if text.lower() not in names:
            raise UsageError(f"There is no stage {text!r}.", hint=f"Use one of {', '.join(cls)}.")
        return names[text.lower()]


class TransitionKind(StrEnum):
    """The kind of a transition."""

    REGISTER = "register"
    PROMOTE = "promote"
    ARCHIVE = "archive"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class Transition:
    """One entry of the ledger.

    Attributes:
        number: counts a model's transitions from 1.
        mlflow_version: MLflow's number of the version.
        who, when, why: the person, the moment in ISO 8601, the reason that the person gave.
        token: unique to this attempt, so that the writer can recognise its own entry.
        sha256: digest of a new version's manifest; "" in all other moves.
        facts_sha256: digest of a new version's binding and metrics, as in its tags; "" in all other moves.
    """

    number: int
    version: Version
    mlflow_version: str
    to: Stage
    kind: TransitionKind
    who: str
    when: str
    why: str
    token: str
    sha256: str = ""
    facts_sha256: str = ""

    def to_json(self) -> dict[str, object]:
        """Plain values for JSON, without the token."""
        texts = {"version": self.version, "to": self.to, "kind": self.kind}
        plain = {name: value for name, value in self.__dict__.items() if name not in (*texts, "token")}
        return plain | {name: str(value) for name, value in texts.items()}


@dataclass(frozen=True)
class StageChange:
    """What one transition did to one version; `before` is None for a new version."""

    transition: Transition
    version: Version
    before: Stage | None
    after: Stage


@dataclass(frozen=True)
class Ledger:
    """The state after a sequence of transitions.

    Attributes:
        transitions: all of them, oldest first, counted from 1 without a gap.
        steps: the effects of the transitions; a transition that no rule allows has none.
        stages: stage of each version.
        mlflow_versions: MLflow's number of each version.
    """

    transitions: tuple[Transition, ...] = ()
    steps: tuple[StageChange, ...] = ()
    stages: Mapping[Version, Stage] = field(default_factory=dict, hash=False)
    mlflow_versions: Mapping[Version, str] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, transitions: Iterable[Transition]) -> "Ledger":
        """Fold transitions into a ledger. Entries that no rule allows stay in the list and change nothing."""
        ledger = cls()
        for each in transitions:
            ledger = ledger.then(each)
        return ledger

    def then(self, entry: Transition) -> "Ledger":
        """The ledger after one more entry."""
        legal = self.refusal(entry) is None
        steps = tuple(self._steps(entry)) if legal else ()
        return Ledger(
            (*self.transitions, entry),
            (*self.steps, *steps),
            {**self.stages, **{step.version: step.after for step in steps}},
            self.mlflow_versions if not legal else {**self.mlflow_versions, entry.version: entry.mlflow_version},
        )

    @property
    def next_number(self) -> int:
        """The number of the next transition."""
        return len(self.transitions) + 1

    @property
    def latest(self) -> Version | None:
        """The greatest version."""
        return max(self.stages, default=None)

    @property
    def production(self) -> Version | None:
        """The version in Production."""
        return next((version for version, stage in self.stages.items() if stage is Stage.PRODUCTION), None)

    @property
    def staging(self) -> Version | None:
        """The version in Staging that was moved there last."""
        staged = (step.version for step in reversed(self.steps) if step.after is Stage.STAGING)
        return next((version for version in staged if self.stages[version] is Stage.STAGING), None)

    @property
    def predecessor(self) -> Version | None:
        """The archived version that left Production last: the target of a rollback."""
        left = (step.version for step in reversed(self.steps) if step.before is Stage.PRODUCTION)
        return next((version for version in left if self.stages[version] is Stage.ARCHIVED), None)

    def steps_of(self, version: Version) -> tuple[StageChange, ...]:
        """The steps of one version, oldest first."""
        return tuple(step for step in self.steps if step.version == version)

    def sha256(self, version: Version) -> str:
        """The digest that a version was registered with."""
        return next(step.transition.sha256 for step in self.steps_of(version) if step.before is None)

    def was_in_production(self, version: Version) -> bool:
        """Whether the version was ever in Production."""
        return any(step.after is Stage.PRODUCTION for step in self.steps_of(version))

    def propose(
        self,
        kind: TransitionKind,
        version: Version,
        to: Stage,
        *,
        who: str,
        when: str,
        why: str = "",
        token: str = "",
        mlflow_version: str = "",
        sha256: str = "",
        facts_sha256: str = "",
    ) -> Transition:
        """Build the next transition.

        Raises:
            LifecycleError: no rule allows the move; the hint names the allowed moves.
        """
        known = self.mlflow_versions.get(version, mlflow_version)
        entry = Transition(self.next_number, version, known, to, kind, who, when, why, token, sha256, facts_sha256)
        refused = self.refusal(entry)
        if refused is not None:
            raise LifecycleError(refused, hint=self._hint(version))
        return entry

    def refusal(self, entry: Transition) -> str | None:
        """Why an entry may not be the next one; None if it may."""
        stage = self.stages.get(entry.version)
        if entry.number != self.next_number:
            return f"Transition {entry.number} can't follow {len(self.transitions)}."
        if entry.kind is TransitionKind.REGISTER:
            if self.latest is not None and entry.version <= self.latest:
                return f"Version {entry.version} does not come after {self.latest}, the latest."
            return None if entry.to is Stage.NONE else f"A new version starts in {Stage.NONE}, not in {entry.to}."
        if stage is None:
            return f"There is no version {entry.version}."
        if stage is entry.to:
            return f"Version {entry.version} is in {stage} already."
        if (
            entry.kind is TransitionKind.ROLLBACK
            and entry.to is Stage.PRODUCTION
            and not self.was_in_production(entry.version)
        ):
            return f"Version {entry.version} was never in {Stage.PRODUCTION}: a rollback can't restore it."
        if (stage, entry.to) in _LEGAL[entry.kind]:
            return None
        return f"A {entry.kind} can't take version {entry.version} from {stage} to {entry.to}."

    def _steps(self, entry: Transition) -> Iterable[StageChange]:
        before = self.production
        if entry.to is Stage.PRODUCTION and before is not None:
            yield StageChange(entry, before, Stage.PRODUCTION, Stage.ARCHIVED)
        yield StageChange(entry, entry.version, self.stages.get(entry.version), entry.to)

    def _hint(self, version: Version) -> str:
        stage = self.stages.get(version)
        if stage is None:
            versions = ", ".join(str(each) for each in sorted(self.stages, reverse=True)[:10]) or "none yet"
            return f"Existing versions: {versions}."
        moves = [
            f"{kind} to {to}"
            for kind, allowed in _LEGAL.items()
            for start, to in sorted(allowed)
            if start is stage and (kind is not TransitionKind.ROLLBACK or self.was_in_production(version))
        ]
        return f"From {stage} it can go: {', '.join(moves) or 'nowhere, because it was never in Production'}."


_LEGAL: Mapping[TransitionKind, frozenset[tuple[Stage, Stage]]] = {
    TransitionKind.PROMOTE: frozenset({(Stage.NONE, Stage.STAGING), (Stage.STAGING, Stage.PRODUCTION)}),
    TransitionKind.ARCHIVE: frozenset((stage, Stage.ARCHIVED) for stage in Stage if stage is not Stage.ARCHIVED),
    TransitionKind.ROLLBACK: frozenset({(Stage.ARCHIVED, Stage.PRODUCTION)}),
}


def next_version(
    latest: Version | None, asked: str = "", *, features_changed: bool = False, signature_broken: bool = False
) -> Version:
    """Choose the next version number.

    Args:
        latest: the latest version.
        asked: `major`, `minor`, `patch`, a version, or "". "" means major if the signature breaks, minor if the
            features changed, else patch.
        features_changed: the version was trained on other features or views.
        signature_broken: callers of the model must change.

    Raises:
        LifecycleError: the requested version does not come after the latest.
        UsageError: `asked` is neither a version nor a part of one.
    """
    parts = {str(part): part for part in Bump}
    if asked and asked not in parts:
        try:
            wanted = Version.parse(asked)
        except UsageError as error:
            raise UsageError(
                f"{asked!r} is neither a version nor a part of one.", hint="Use major, minor, patch, or e.g. 2.0.0."
            ) from error
        if latest is not None and wanted <= latest:
            raise LifecycleError(
                f"Version {wanted} does not come after {latest}, the latest.",
                hint=f"Next possible versions: {', '.join(str(latest.bumped(part)) for part in reversed(Bump))}.",
            )
        return wanted
    if latest is None:
        return Version(1, 0, 0)
    if asked:
        return latest.bumped(parts[asked])
    return latest.bumped(Bump.MAJOR if signature_broken else Bump.MINOR if features_changed else Bump.PATCH)
