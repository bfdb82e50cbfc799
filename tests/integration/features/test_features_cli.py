"""`asgard features ...`, and publishes that views stand in the way of."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import Fresh
from tests.support.customer_views import frame, labels_file
from tests.support.runs import declared as declare
from tests.support.runs import write_rows

from asgard.cli.app import main
from asgard.common.names import TableName
from asgard.common.settings import Settings
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.catalog.registrations import Registrations
from asgard.lakehouse.runs.run import RunAuditFailedError
from asgard.validation.checks import row_count

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PIPELINE = """
from asgard import Pipeline
from asgard.features.views import Feature, feature_view
from asgard.validation.checks import not_null

shop = Pipeline("shop_{suffix}")
shop.source("bronze.{suffix}")


@shop.table("gold.{suffix}", inputs={{"rows": "bronze.{suffix}"}}, renames={renames}, checks=[not_null("customer_id")])
def metrics(rows):
    return rows.select("customer_id", "event_timestamp", "created_at", rows.amount.alias("{column}"), "visits")


shop.add(
    feature_view(
        "view_{suffix}",
        table="gold.{suffix}",
        keys=("customer_id",),
        online=True,
        owner="someone",
        features=[Feature("{feature}", "double", "dollars"), Feature("visits", "int")],
    )
)
"""


@dataclass(frozen=True)
class Shop:
    """A pipeline with a view, as a file, and what its table is called."""

    folder: Path
    suffix: str
    project: Path

    def declared(self, column: str = "amount", feature: str | None = None) -> str:
        """The pipeline's path, with its gold column of a name."""
        path = self.folder / f"shop_{self.suffix}_{column}_{feature or column}.py"
        renames = {} if column == "amount" else {"amount": column}
        path.write_text(PIPELINE.format(suffix=self.suffix, column=column, feature=feature or column, renames=renames))
        return str(path)

    def run(self, *arguments: str) -> int:
        """One command."""
        return main([*arguments, "--dir", str(self.project)])


@pytest.fixture
def shop(lake: Lakehouse, spark: "SparkSession", project: Settings, fresh: Fresh, tmp_path: Path) -> Shop:
    """Published, and registered."""
    suffix = fresh.table().name
    write_rows(
        lake, declare(TableName("bronze", suffix), mode="append"), frame(lake, [(1, 0, 10.0, 1), (2, 3, 5.0, 2)])
    )
    made = Shop(tmp_path, suffix, project.project_dir)
    assert made.run("backfill", "-p", made.declared(), "--apply-features") == 0
    return made


def asked(shop: Shop, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    """What a command answers with --json."""
    capsys.readouterr()
    assert shop.run(*arguments, "--json") == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_what_is_registered_can_be_looked_at(shop: Shop, lake: Lakehouse, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"view_{shop.suffix}"
    snapshot = lake.content(TableName("gold", shop.suffix), lake.target).snapshot_id
    views = {view["name"]: view for view in asked(shop, capsys, "features", "list")["views"]}  # type: ignore[attr-defined]
    assert (views[name]["snapshot_id"], views[name]["behind"], views[name]["online"]) == (
        snapshot,
        False,
        True,
    )
    shown = asked(shop, capsys, "features", "show", name)
    assert len(shown["files"]) == 1  # type: ignore[arg-type]
    plan = asked(shop, capsys, "features", "diff", "-p", shop.declared())
    assert [view["action"] for view in plan["views"]] == ["keep"]  # type: ignore[attr-defined]
    uses = asked(shop, capsys, "features", "impact", f"gold.{shop.suffix}", "-c", "visits")["uses"]
    assert uses == [{"kind": "view", "name": name, "online": True, "columns": ["visits"], "owner": "someone"}]


def test_a_training_set_by_the_command_line(shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set.parquet"
    labels = labels_file(tmp_path, [(1, 1), (2, 1)])
    options = ["--labels", labels, "--views", f"view_{shop.suffix}", "--out", str(out)]
    manifest = asked(shop, capsys, "features", "training-set", *options)
    assert (manifest["rows"], manifest["without_features"]) == (2, {f"view_{shop.suffix}": 1})
    assert shop.run("features", "training-set", *options) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_set_at_a_ref_has_its_labels_from_there_too(
    shop: Shop, lake: Lakehouse, spark: "SparkSession", fresh: Fresh, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = declare(fresh.table())
    write_rows(lake, labels, spark.sql("SELECT 1L customer_id, TIMESTAMP'2024-01-02' event_timestamp"))
    before = lake.nessie.head(lake.target)
    both = "SELECT explode(array(1L, 2L)) customer_id, TIMESTAMP'2024-01-09' event_timestamp"
    write_rows(lake, labels, spark.sql(both))
    options = ["-p", shop.declared(), "--labels", str(labels.name), "-v", f"view_{shop.suffix}", "--overwrite"]
    rows = {}
    for ref in (before, lake.target):
        out = ["--ref", ref, "--out", str(shop.folder / "at.parquet")]
        rows[ref] = asked(shop, capsys, "features", "training-set", *options, *out)["rows"]
    assert rows == {before: 1, lake.target: 2}


def test_a_set_at_what_is_on_a_branch_only_is_refused(
    shop: Shop, lake: Lakehouse, fresh: Fresh, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = declare(fresh.table(), checks=[row_count(99)])
    with pytest.raises(RunAuditFailedError) as caught:
        write_rows(lake, failing, frame(lake, [(1, 0, 10.0, 1)]))
    branch = caught.value.result.branch
    assert branch is not None
    labels = labels_file(shop.folder, [(1, 1)])
    options = ["-p", shop.declared(), "--labels", labels, "--ref", branch, "--out", str(shop.folder / "never.parquet")]
    assert shop.run("features", "training-set", *options) == 2
    assert "main has no commit" in capsys.readouterr().err


def test_a_publish_that_would_break_a_view_is_refused(
    shop: Shop, lake: Lakehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    before = lake.nessie.head(lake.target)
    assert shop.run("backfill", "-p", shop.declared("dollars"), "--start", "2024-01-01", "--end", "2024-02-01") == 1
    said = capsys.readouterr().err
    assert f"would break view view_{shop.suffix}" in said
    assert "amount would be missing" in said
    assert lake.nessie.head(lake.target) == before


def test_a_view_that_changes_with_its_table_lets_it_through(
    shop: Shop, lake: Lakehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    window = ["--start", "2024-01-01", "--end", "2024-02-01", "--apply-features"]
    wrong = shop.declared("dollars", feature="amount")
    assert shop.run("backfill", "-p", wrong, *window) == 1
    assert "amount would be missing" in capsys.readouterr().err
    assert shop.run("backfill", "-p", shop.declared("dollars"), *window) == 0
    found = Registrations(lake.storage).current("view")[f"view_{shop.suffix}"]
    assert "dollars" in found.columns
    assert found.number == 2


def test_mistakes_are_answered_in_words(shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = labels_file(tmp_path, [(1, 1)])
    out = str(tmp_path / "set.parquet")
    for arguments, message in (
        (["show", "nowhere"], "no registered feature view 'nowhere'"),
        (["apply", "-p", shop.declared(), "-v", "nowhere"], "no feature view 'nowhere'"),
        (["training-set", "--labels", labels, "--out", out, "-v", "nowhere"], "no registered feature view"),
        (["training-set", "--labels", "no.parquet", "--out", out, "-v", f"view_{shop.suffix}"], "There is no file"),
        (["training-set", "--labels", labels, "--out", out, "--engine", "abacus"], "--engine is 'abacus'"),
        (["impact", "gold.nowhere"], "no table gold.nowhere"),
        (["impact", f"gold.{shop.suffix}", "-c", "nothing"], "has no column nothing"),
    ):
        assert shop.run("features", *arguments) == 2, arguments
        said = capsys.readouterr().err
        assert message in said
        assert "hint: " in said
