"""A model's version as others see it: `churn@1.2.0`, what it was made from, and where it is in its life."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from asgard.common.errors import UsageError
from asgard.common.names import CommitHash, SnapshotId, TableName, check_identifier
from asgard.model.lifecycle import Stage, Version

BINDING, METRICS = "asgard.binding", "asgard.metrics"
"""Tags of a version that Asgard reads: all of its binding, and the metrics of its test."""
TRAINER = "trainer"
"""The detail of a binding that has what the trainer told."""
ON_DEMAND_CODE = "on_demand_code"
"""The detail of a binding that has the digest of each on-demand feature's code."""


@dataclass(frozen=True)
class BoundView:
    """A feature view, and the published state of its table, that a version learned from.

    Attributes:
        declared: the view as it was declared then, as `FeatureView.from_json` reads it; None if nobody noted it.
    """

    view: str
    version: int
    table: TableName
    snapshot_id: SnapshotId
    commit: CommitHash
    metadata_location: str
    target: str = "main"
    declared: Mapping[str, Any] | None = field(default=None, hash=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = {**asdict(self), "table": str(self.table)}
        return plain if self.declared is not None else {name: plain[name] for name in plain if name != "declared"}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "BoundView":
        """What `to_json` gave; more than that is left out."""
        return cls(
            view=str(raw["view"]),
            version=int(raw["version"]),
            table=TableName.parse(raw["table"]),
            snapshot_id=SnapshotId(int(raw["snapshot_id"])),
            commit=CommitHash(raw["commit"]),
            metadata_location=str(raw["metadata_location"]),
            target=str(raw.get("target", "main")),
            declared=raw.get("declared"),
        )


@dataclass(frozen=True)
class Binding:
    """What a version was made from, and what was demanded of it.

    Attributes:
        views: that it learned from, each at its snapshot.
        code_version: commit of the code that trained it.
        dirty: whether files differed from that commit.
        minimum, maximum: bounds of its metrics, as declared.
        details: whatever else its training recorded: labels, split, digests of the data, environment.
    """

    views: tuple[BoundView, ...] = ()
    code_version: str = ""
    dirty: bool = False
    minimum: Mapping[str, float] = field(default_factory=dict, hash=False)
    maximum: Mapping[str, float] = field(default_factory=dict, hash=False)
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def tables(self) -> Mapping[TableName, SnapshotId]:
        """The tables that were read, with their snapshots."""
        return {each.table: each.snapshot_id for each in self.views}

    @property
    def commits(self) -> tuple[CommitHash, ...]:
        """The commits that have what was read: the views' tables, and the labels if they were in one."""
        labels = self.details.get("labels", {}).get("commit")
        return tuple(dict.fromkeys((*(each.commit for each in self.views), *((CommitHash(labels),) if labels else ()))))

    @property
    def trainer_details(self) -> Mapping[str, Any]:
        """What the trainer told of its training, by name; see `FitResult`."""
        details: Mapping[str, Any] = self.details.get(TRAINER, {})
        return details

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**self.__dict__, "views": [each.to_json() for each in self.views]}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Binding":
        """What `to_json` gave."""
        return cls(**{**raw, "views": tuple(BoundView.from_json(each) for each in raw.get("views", ()))})


@dataclass(frozen=True)
class ModelVersion:
    """One version of a model.

    Attributes:
        mlflow_version: MLflow's own number of it.
        run_id: MLflow's run that trained it.
        created, created_by: when and by whom it was registered.
        sha256: of its manifest, as the ledger has it.
        metrics: of its test.
        problem: why binding and metrics can't be believed; then both are empty. "": they are as they were registered.
    """

    name: str
    version: Version
    mlflow_version: str
    stage: Stage
    run_id: str
    created: str
    created_by: str
    sha256: str
    binding: Binding = field(hash=False)
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        texts = {"version": str(self.version), "stage": str(self.stage), "problem": self.problem or None}
        facts = {"binding": self.binding.to_json(), "metrics": dict(self.metrics)}
        shown: dict[str, Any] = finite({**self.__dict__, **texts, **facts})
        return shown


def finite(value: Any) -> Any:
    """A value as JSON can say it: numbers that are none, or endless, are null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(each) for name, each in value.items()}
    return [finite(each) for each in value] if isinstance(value, list | tuple) else value


def facts_tags(binding: Binding, metrics: Mapping[str, float]) -> dict[str, str]:
    """What a version was made from and how good it is, as tags; those but `BINDING` and `METRICS` are for people."""
    return {
        "feature.table": ",".join(map(str, binding.tables)),
        "feature.snapshot_id": ",".join(map(str, binding.tables.values())),
        "feature.views": json.dumps([replace(each, declared=None).to_json() for each in binding.views]),
        "code.version": f"{binding.code_version}{' (dirty)' if binding.dirty else ''}",
        BINDING: json.dumps(binding.to_json(), sort_keys=True),
        METRICS: json.dumps(dict(metrics)),
    }


def facts_sha256(tags: Mapping[str, str]) -> str:
    """The digest of the two tags that Asgard reads, as the ledger keeps it; a missing tag is not an empty one."""
    return hashlib.sha256(json.dumps([tags.get(BINDING), tags.get(METRICS)]).encode()).hexdigest()


def split_name(text: str) -> tuple[str, str]:
    """Take `churn@1.2.0`, `churn@production` or `churn` apart: the model's name, and what comes after the @.

    Raises:
        UsageError: the name can't be a model's.
    """
    name, _, what = text.partition("@")
    return check_identifier(name, "name of a model"), what


def require_version(text: str) -> tuple[str, Version]:
    """The model and version of `churn@1.2.0`.

    Raises:
        UsageError: it does not name a version.
    """
    name, what = split_name(text)
    if not what:
        raise UsageError(f"{text!r} does not say which version.", hint=f"E.g. {name}@1.2.0.")
    return name, Version.parse(what)
