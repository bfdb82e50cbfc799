"""A model's version as other modules use it: `churn@1.2.0`, its binding and its stage."""

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
"""Tags of a version that Asgard reads: its whole binding, and the metrics of its test."""
TRAINER = "trainer"
"""The detail of a binding that contains the trainer's details."""
ON_DEMAND_CODE = "on_demand_code"
"""The detail of a binding that contains the digest of each on-demand feature's code."""


@dataclass(frozen=True)
class BoundView:
    """A feature view, and the published state of its table, that a version was trained on.

    Attributes:
        declared: the view as it was declared then, as `FeatureView.from_json` reads it; None if it was not recorded.
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
        """Read what `to_json` returned; unknown keys are ignored."""
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
    """What a version was made from, and the bounds that its metrics must keep.

    Attributes:
        views: the views that it was trained on, each at its snapshot.
        code_version: commit of the code that trained it.
        dirty: whether any file differed from that commit.
        minimum, maximum: bounds of its metrics, as declared.
        details: everything else that its training recorded: labels, split, digests of the data, environment.
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
        """The commits that contain what was read: the views' tables, and the labels if they were in a table."""
        labels = self.details.get("labels", {}).get("commit")
        return tuple(dict.fromkeys((*(each.commit for each in self.views), *((CommitHash(labels),) if labels else ()))))

    @property
    def trainer_details(self) -> Mapping[str, Any]:
        """The trainer's details, by name; see `FitResult`."""
        details: Mapping[str, Any] = self.details.get(TRAINER, {})
        return details

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**self.__dict__, "views": [each.to_json() for each in self.views]}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Binding":
        """Read what `to_json` returned."""
        return cls(**{**raw, "views": tuple(BoundView.from_json(each) for each in raw.get("views", ()))})


@dataclass(frozen=True)
class ModelVersion:
    """One version of a model.

    Attributes:
        mlflow_version: MLflow's number of the version.
        run_id: the MLflow run that trained it.
        created, created_by: when and by whom it was registered.
        sha256: digest of its manifest, from the ledger.
        metrics: metrics of its test.
        problem: why binding and metrics can't be trusted; both are then empty. "": they are as registered.
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
    """A value that JSON can represent: NaN and infinity become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(each) for name, each in value.items()}
    return [finite(each) for each in value] if isinstance(value, list | tuple) else value


def facts_tags(binding: Binding, metrics: Mapping[str, float]) -> dict[str, str]:
    """A version's binding and metrics as tags; all tags except `BINDING` and `METRICS` are for people."""
    return {
        "feature.table": ",".join(map(str, binding.tables)),
        "feature.snapshot_id": ",".join(map(str, binding.tables.values())),
        "feature.views": json.dumps([replace(each, declared=None).to_json() for each in binding.views]),
        "code.version": f"{binding.code_version}{' (dirty)' if binding.dirty else ''}",
        BINDING: json.dumps(binding.to_json(), sort_keys=True),
        METRICS: json.dumps(dict(metrics)),
    }


def facts_sha256(tags: Mapping[str, str]) -> str:
    """The digest, kept in the ledger, of the two tags that Asgard reads; a missing tag differs from an empty one."""
    return hashlib.sha256(json.dumps([tags.get(BINDING), tags.get(METRICS)]).encode()).hexdigest()


def split_name(text: str) -> tuple[str, str]:
    """Split `churn@1.2.0`, `churn@production` or `churn` into the model's name and what comes after the @.

    Raises:
        UsageError: the name is not a valid model name.
    """
    name, _, what = text.partition("@")
    return check_identifier(name, "name of a model"), what


def require_version(text: str) -> tuple[str, Version]:
    """Read the model and the version of `churn@1.2.0`.

    Raises:
        UsageError: the text does not name a version.
    """
    name, what = split_name(text)
    if not what:
        raise UsageError(f"{text!r} does not say which version.", hint=f"E.g. {name}@1.2.0.")
    return name, Version.parse(what)
