"""What the demo did, and the resulting state."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.names import BranchName, CommitHash, RunId

if TYPE_CHECKING:
    from asgard.local.demo.models import Modelled
    from asgard.local.demo.online import Served


BAD_TABLE = "bronze.transactions"
STORY_TABLE = "gold.customer_metrics"
REPORT, METRICS = "report.html", "metrics.prom"
LABELS, TRAINING_SET = "gold.churn_labels", "churn_training.parquet"


@dataclass(frozen=True)
class Ingested:
    """One bronze table: the rows that this call ingested, or that its files had landed before."""

    table: str
    rows: int
    was_there: bool


@dataclass(frozen=True)
class Refused:
    """The planted rows that an audit refused.

    Attributes:
        main_before, main_after: the head of the target ref before and after the run; expected to be equal.
        checks: the failed checks, as in the run's record.
        was_there: whether an earlier call ingested the rows.
    """

    table: str
    file: str
    run_id: RunId
    branch: BranchName
    rows: int
    main_before: CommitHash
    main_after: CommitHash
    checks: tuple[Mapping[str, Any], ...]
    was_there: bool


@dataclass(frozen=True)
class Story:
    """What the demo did, and the resulting state."""

    folder: Path
    pipeline: str
    services: Mapping[str, str]
    ingested: tuple[Ingested, ...]
    computed: tuple[str, ...]
    training: Mapping[str, Any]
    models: "Modelled"
    online: "Served"
    refused: Refused
    main: CommitHash
    tables: tuple[Mapping[str, Any], ...]
    runs: tuple[Mapping[str, Any], ...]
    lineage: Mapping[str, Any]
    report: Path
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        lists = {name: [asdict(each) for each in plain[name]] for name in ("ingested",)}
        texts = {"folder": str(self.folder), "report": str(self.report)}
        return {
            **plain,
            **lists,
            **texts,
            "refused": asdict(self.refused),
            "models": self.models.to_json(),
            "online": self.online.to_json(),
        }
