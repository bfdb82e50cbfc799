"""`asgard demo` as real processes, on a small part of the real data: killed, finished, called again."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from tests.support.processes import environment

from asgard.common.errors import EnvironmentSetupError
from asgard.common.settings import load_settings
from asgard.local.demo.demo import find_example
from asgard.local.services import services
from asgard.model.registry import Registry

_SMALL_DATA = '''
"""The real files, cut down to a few households."""

from pathlib import Path

import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from examples.retail import data
from examples.retail.data import bad_batch, corrections

def export_journey(out: Path) -> dict[str, Path]:
    files = data.export_journey(out)
    sales = pyarrow.parquet.read_table(files["bronze.transactions"])
    sales = sales.filter(pyarrow.compute.less(sales["household_id"], 40))
    pyarrow.parquet.write_table(sales, out / "few_transactions.parquet")
    products = pyarrow.csv.read_csv(files["bronze.products"])
    products = products.filter(pyarrow.compute.is_in(products["product_id"], value_set=sales["product_id"]))
    pyarrow.csv.write_csv(products, out / "few_products.csv")
    return {
        "bronze.transactions": out / "few_transactions.parquet",
        "bronze.products": out / "few_products.csv",
        "bronze.demographics": files["bronze.demographics"],
        "bronze.erasures": files["bronze.erasures"],
    }
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project folder; its services are stopped at the end."""
    path = tmp_path_factory.mktemp("demo") / "project"
    yield path
    services.down(load_settings({"project_dir": str(path)}))


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example pipeline, as it is, on less data."""
    path = tmp_path_factory.mktemp("small") / "few_households" / "retail"
    path.mkdir(parents=True)
    (path.parent / "__init__.py").touch()
    (path / "__init__.py").write_text("from examples.retail.journey import retail\n")
    (path / "data.py").write_text(_SMALL_DATA)
    (path / "report.py").write_text("from examples.retail.report import SOURCE, sections\n")
    return path


def call(
    folder: Path, example: Path, root: Path, *arguments: str, **changes: str
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "asgard.cli", "demo", "--dir", str(folder), "--example", str(example), *arguments]
    inherited = {name: value for name, value in environment(root).items() if not name.startswith("ASGARD_NESSIE")}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=540, env=inherited | changes, cwd=folder.parent
    )


@pytest.fixture(scope="module")
def first(folder: Path, example: Path, repository_root: Path) -> dict[str, Any]:
    """What the demo says, after one that was killed between two publishes."""
    killed = call(folder, example, repository_root, ASGARD_FAILPOINT="after-publish:kill")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    # Production services in the environment are not touched: nothing listens there, so touching them would fail.
    elsewhere = {
        "NESSIE_URI": "http://127.0.0.1:9",
        "NESSIE_REF": "production",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "REDIS_URL": "redis://127.0.0.1:9/0",
    }
    done = call(folder, example, repository_root, "--json", **elsewhere)
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr
    story: dict[str, Any] = json.loads(done.stdout)
    return story


def test_everything_is_published_and_the_planted_rows_are_not(first: dict[str, Any]) -> None:
    rows = {table["table"]: table["rows"] for table in first["tables"]}
    assert rows["bronze.transactions"] > rows["silver.transactions_cleaned"] > 1000  # one household is forgotten
    assert rows["gold.customer_metrics"] > 0
    assert rows["gold.department_sales"] > 0
    refused = first["refused"]
    assert refused["rows"] == 20
    assert refused["main_before"] == refused["main_after"] == first["main"]
    assert {check["name"] for check in refused["checks"]} >= {"not_null(household_id)", "between(sales_value)"}
    assert all(check["sample_sql"] for check in refused["checks"])
    statuses = [run["status"] for run in first["runs"]]
    assert statuses.count("audit failed") == 1
    assert statuses.count("published") == 10


def test_the_killed_call_is_not_done_again(first: dict[str, Any]) -> None:
    was_there = {one["table"]: one["was_there"] for one in first["ingested"]}
    assert was_there == {
        "bronze.transactions": True,
        "bronze.products": False,
        "bronze.demographics": False,
        "bronze.erasures": False,
    }


def test_the_report_says_what_was_published(first: dict[str, Any], folder: Path) -> None:
    text = unescape((folder / "report.html").read_text(encoding="utf-8"))
    for table in first["tables"]:
        assert table["table"] in text
        assert str(table["snapshot_id"]) in text
    for check in first["refused"]["checks"]:
        assert check["sample_sql"] in text
    assert first["refused"]["branch"] in text
    assert first["main"] in text
    for view in first["training"]["views"]:
        assert f'<th scope="row">{view["view"]}<' in text
        assert str(view["snapshot_id"]) in text
    assert first["training"]["digest"] in text
    assert f"0 of {first['training']['rows']:,} rows" in text
    assert text.count("<figure") == 19
    for model in first["models"]["versions"]:
        assert (
            f'href="{first["services"]["mlflow"]}/#/models/{model["name"]}/versions/{model["mlflow_version"]}"' in text
        )
        assert re.search(rf'href="{first["services"]["mlflow"]}/#/experiments/\d+/runs/{model["run_id"]}"', text)
    assert '<g class="box bronze bad">' in text  # the planted rows were refused
    for title in ("The training set", "Who is at risk", "A correction and a deletion", "What gold says"):
        assert f">{title}</h2>" in text


def test_models_are_trained_and_the_better_one_predicts(first: dict[str, Any], folder: Path) -> None:
    models = first["models"]
    chosen, other = models["versions"]
    assert {chosen["name"], other["name"]} == {"churn", "churn_linear"}
    assert chosen["metrics"]["roc_auc"] >= other["metrics"]["roc_auc"] > chosen["baseline"]["roc_auc"] == 0.5
    assert (chosen["stage"], other["stage"]) == ("Production", "None")
    assert models["production"] == f"{chosen['name']}@{chosen['version']}"
    snapshots = {each["view"]: each["snapshot_id"] for each in first["training"]["views"]}
    assert {each["view"]: each["snapshot_id"] for each in chosen["binding"]["views"]} == snapshots
    assert set(models["this_call"]["trained"]) == {"churn@1.0.0", "churn_linear@1.0.0"}
    assert models["this_call"]["promoted"]
    predictions = models["predictions"]
    rows = {table["table"]: table["rows"] for table in first["tables"]}
    assert 2 * predictions["rows"] - 1 == rows[predictions["table"]] > 60  # and again, without the forgotten one
    scores = [row["prediction"] for row in predictions["top"]]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] > predictions["mean"]
    text = unescape((folder / "report.html").read_text(encoding="utf-8"))
    for expected in (models["production"], chosen["sha256"], chosen["run_id"], predictions["run_id"]):
        assert expected in text


def test_the_models_are_in_the_folders_own_mlflow(first: dict[str, Any], folder: Path) -> None:
    registry = Registry.of(
        load_settings({"project_dir": str(folder), "mlflow_tracking_uri": first["services"]["mlflow"]})
    )
    chosen = first["models"]["versions"][0]
    found = registry.find(f"{chosen['name']}@production")
    assert (str(found.version), found.sha256) == (chosen["version"], chosen["sha256"])
    assert registry.artifact(found).sha256 == chosen["sha256"]


def test_a_correction_and_a_deletion_reach_redis(first: dict[str, Any]) -> None:
    online = first["online"]
    scores = f"{first['models']['versions'][0]['name']}_scores"
    assert [each["view"] for each in online["now"]] == ["customer_metrics", "customer_rfm", scores]
    assert [each["publishes_behind"] for each in online["now"]] == [0, 0, 0]
    before, after = online["before"], online["after"]
    assert all(each["equal"] for seen in (before, after) for each in seen["verified"])
    assert {each["mode"] for each in before["synced"]} == {"rebuild"}
    # One household's line was corrected, and one household deleted. A standard deviation of customer_rfm that is
    # computed again may have another last bit, and is written too.
    changed = {each["view"]: (each["mode"], each["deleted"]) for each in after["synced"]}
    assert set(changed.values()) == {("changes", 1)}
    written = {each["view"]: each["written"] for each in after["synced"]}
    assert written["customer_metrics"] == 1
    assert 1 <= written["customer_rfm"] < before["synced"][1]["rows"] / 2
    assert written[scores] <= 1
    assert [each["rows"] + 1 for each in after["synced"]] == [each["rows"] for each in before["synced"]]
    corrected, erased = (str(online[name]) for name in ("corrected", "erased"))
    then, now = before["rows"][corrected], after["rows"][corrected]
    paid = online["sales_before"] - online["sales_after"]
    spent = (then["features"]["customer_lifetime_value"], now["features"]["customer_lifetime_value"])
    assert spent[0] - spent[1] == pytest.approx(paid)
    for view, said in now["views"].items():
        assert said["event_timestamp"] == then["views"][view]["event_timestamp"]  # no newer event time
        assert said["snapshot_id"] != then["views"][view]["snapshot_id"]
    assert {each["status"] for each in before["rows"][erased]["views"].values()} == {"found"}
    assert {each["status"] for each in after["rows"][erased]["views"].values()} == {"missing"}
    assert online["this_call"]["deleted"] == 3


def test_commands_look_up_what_the_demo_left(first: dict[str, Any], folder: Path, repository_root: Path) -> None:
    online = first["online"]
    views = [word for each in online["now"] for word in ("-v", each["view"])]
    key = f"customer_id={online['corrected']}"
    command = ["lookup", *views, "-k", key, "--at", "2018-01-02", "--dir", str(folder), "--json"]
    inherited = {name: value for name, value in environment(repository_root).items() if not name.startswith("REDIS")}
    done = subprocess.run(
        [sys.executable, "-m", "asgard.cli", *command], capture_output=True, text=True, timeout=120, env=inherited
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {each["status"] for each in found["views"].values()} == {"found"}
    assert (
        found["features"]["prediction"] == online["after"]["rows"][str(online["corrected"])]["features"]["prediction"]
    )


def test_metrics_are_written_too(first: dict[str, Any], folder: Path) -> None:
    text = (folder / "metrics.prom").read_text()
    assert re.search(r'asgard_job_failure_total{environment="local",job_name="ingest",warehouse="[^"]+"} 1\.0', text)
    assert re.search(
        r'asgard_rows_written_total{environment="local",table="bronze\.products",target="main",warehouse="[^"]+"}', text
    )


def test_a_second_call_needs_no_spark_and_says_what_was_there(
    first: dict[str, Any], folder: Path, example: Path, repository_root: Path
) -> None:
    no_java = {"ASGARD_JAVA_HOME": str(folder / "no-such-java")}  # Spark could not start
    again = call(folder, example, repository_root, **no_java)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("rows ingested by an earlier call") == 4
    assert "computed: nothing was missing" in again.stdout
    assert "An audit that failed, in an earlier call" in again.stdout
    assert f"main after:  {first['main']}  unchanged" in again.stdout
    assert "refused before" in again.stderr
    models = first["models"]
    assert "trained by this call: none" in again.stdout
    assert (
        f"{models['production']} is in Production since an earlier call; SHA-256 {models['versions'][0]['sha256']}"
        in again.stdout
    )
    assert f"{models['predictions']['rows']:,} predictions" in again.stdout
    assert "published by an earlier call; most at risk" in again.stdout
    online = first["online"]
    assert f"run {online['run_id']}, in an earlier call." in again.stdout
    assert "this call wrote 0 rows to Redis and deleted 0" in again.stdout
    assert f"lookup of household {online['erased']}, as of 2018-01-02:" in again.stdout
    assert again.stderr.count("was already trained on the same snapshots by the same code") == 2
    for place in ("report.html", first["services"]["nessie"], "asgard audit bronze.transactions", "asgard down"):
        assert place in again.stdout


def test_the_example_is_found_from_a_clone_only(tmp_path: Path, repository_root: Path) -> None:
    assert find_example(tmp_path) == repository_root / "examples" / "retail"


def test_without_the_clone_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asgard.local.demo import demo

    monkeypatch.setattr(demo, "__file__", str(tmp_path / "site-packages" / "asgard" / "local" / "demo" / "demo.py"))
    with pytest.raises(EnvironmentSetupError, match="not in its package") as raised:
        find_example(tmp_path)
    assert "./run demo" in raised.value.hint
    (tmp_path / "examples" / "retail").mkdir(parents=True)
    (tmp_path / "examples" / "retail" / "journey.py").touch()
    assert find_example(tmp_path / "examples") == tmp_path / "examples" / "retail"
