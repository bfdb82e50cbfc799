"""The command line as a user has it: output, JSON, exit codes, errors in words."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.conftest import Fresh
from tests.support.runs import values, write_rows
from tests.support.shop import at, make_shop, names

from asgard.cli.app import COMMANDS, main
from asgard.common.settings import Settings
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.declaring.declaration import declare_table

ORDERS = "id bigint, at timestamp, amount decimal(10,2)"


class Cli:
    """Runs `asgard` in this process (which has the Spark session) and gives its exit code and output."""

    def __init__(self, project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
        self._dir = str(project.project_dir)
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = main([arguments[0], *arguments[1:], "--dir", self._dir])
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.err
        assert "\tat " not in captured.err
        return code, captured.out, captured.err

    def json(self, *arguments: str) -> Any:
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def cli(project: Settings, lake: Lakehouse, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(project, capsys)


@pytest.fixture
def pipeline(lake: Lakehouse, spark: SparkSession, fresh: Fresh, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """A pipeline file, with two orders in its bronze table."""
    suffix = fresh.table().name[2:]
    shop, tables = make_shop(suffix), names(suffix)
    rows = [[1, at(1, 5), 10], [2, at(2, 5), 20]]
    write_rows(lake, shop[tables["bronze"]], values(spark, "id bigint, at timestamp, amount int", rows))
    path = tmp_path / f"shop_{suffix}.py"
    path.write_text(f"from tests.support.shop import make_shop\nshop = make_shop({suffix!r})\n")
    return str(path), tables


def test_the_listed_help_is_the_commands_own() -> None:
    for command in COMMANDS:
        documented = (command.load().__doc__ or "").strip().splitlines()[0]
        assert documented == command.help, command.name


def test_plan_backfill_and_look(cli: Cli, pipeline: tuple[str, dict[str, Any]]) -> None:
    path, tables = pipeline
    planned = cli.json("plan", "-p", path)
    assert {step["table"] for step in planned["steps"]} == {str(tables[n]) for n in ("silver", "count", "totals")}
    assert planned["steps"][0]["table"] == str(tables["silver"])
    assert planned["steps"][0]["downstream"] == sorted([str(tables["count"]), str(tables["totals"])])

    (run,) = cli.json("backfill", "-p", path)["runs"]
    assert run["status"] == "published"
    assert all(check["passed"] for table in run["audit"]["tables"] for check in table["results"])

    listed = {table["table"]: table for table in cli.json("tables")["tables"]}
    assert listed[str(tables["silver"])]["rows"] == 2
    assert listed[str(tables["silver"])]["owner"] == "shop-team"
    assert cli.json("runs", run["run_id"])["runs"][0]["commit"] == run["commit"]
    assert cli.json("lineage", str(tables["totals"]))["run_id"] == run["run_id"]
    assert cli.json("plan", "-p", path) == {"runs": 0, "steps": [], "notes": [], "findings": [], "left": []}
    assert any(row["target"] for row in cli.json("branches")["branches"])
    assert cli("backfill", "-p", path)[0] == 0

    for arguments in (["plan", "-p", path, "--start", "2024-01-01", "--end", "2024-02-01"], ["tables"], ["runs"]):
        code, out, _ = cli(*arguments)
        assert (code, bool(out)) == (0, True)
    assert str(tables["bronze"]) in cli("lineage", str(tables["totals"]))[1]
    assert "not_null(id)" in cli("runs", run["run_id"])[1]


def test_audit_passes_and_fails_with_rows_and_sql(cli: Cli, pipeline: tuple[str, dict[str, Any]]) -> None:
    path, tables = pipeline
    cli("backfill", "-p", path)
    silver = str(tables["silver"])
    code, out, _ = cli("audit", silver, "-p", path)
    assert code == 0
    assert "between(amount)" in out
    code, out, err = cli("audit", silver, "--check", "between(amount, 15, None)")
    assert code == 3
    assert "SELECT" in out
    assert "amount=10" in out
    assert "hint:" in err


def test_a_failed_backfill_exits_3_and_says_which_check(
    cli: Cli, lake: Lakehouse, spark: SparkSession, pipeline: tuple[str, dict[str, Any]]
) -> None:
    path, tables = pipeline
    shop = make_shop(tables["bronze"].name.removeprefix("orders_"))
    bad = values(spark, "id bigint, at timestamp, amount int", [[9, at(1, 7), 1000]])
    write_rows(lake, shop[tables["bronze"]], bad)
    head = lake.nessie.head("main")
    code, _, err = cli("backfill", "-p", path)
    assert code == 3
    assert "between(amount)" in err
    assert "nothing was published" in err
    assert lake.nessie.head("main") == head


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["audit", "silver.nothing", "--check", "not_null(id)"], 2, "There is no table silver.nothing on main@"),
        (["audit", "silver.x; drop", "--check", "not_null(id)"], 2, "is not a table name"),
        (["audit", "../../etc", "--check", "not_null(id)"], 2, "is not a table name"),
        (["audit", "silver.a"], 2, "nothing to check"),
        (["tables", "--ref", "main", "--nope"], 2, "error: No such option: --nope\nhint: asgard tables --help"),
        (["ingest", "bronze.x", "x.csv", "--cursor", "id", "--jdbc-user", "u"], 2, "--cursor without --jdbc-url"),
        (["ingest", "bronze.x", "x.csv", "--partitions", "8"], 2, "error: --partitions without --jdbc-url"),
        (["ingest", "bronze.x", "x.csv", "--jdbc-url", "jdbc:postgresql://h/db"], 2, "Both files and a database"),
        (["audit", "silver.a", "--check", "__import__('os')"], 2, "is not a check"),
        (["lineage", "gold.nothing"], 2, "There is no table"),
        (["diff", "main", "no_such"], 2, "no such reference"),
        (["diff", "main", "a`b"], 2, "not a usable branch"),
        (["tables", "--ref", "no_such"], 2, "no such reference"),
        (["runs", "no-such-run"], 2, "not a usable run id"),
        (["runs", "20240101t000000-x"], 2, "There is no run"),
        (["backfill", "-p", "no.such.module"], 2, "There is no pipeline"),
        (["backfill", "-p", "examples/retail", "--start", "2024-01-01"], 2, "Only --start"),
        (["backfill", "-p", "examples/retail", "--start", "2024-02-01", "--end", "2024-01-01"], 2, "is empty"),
        (["backfill", "-p", "examples/retail", "--start", "soon", "--end", "later"], 2, "not a date"),
        (["backfill", "-p", "examples/retail", "--run-id", "Bad Id"], 2, "not a usable run id"),
        (["backfill", "-p", "examples/retail", "-s", "gold.nothing"], 2, "selects no table"),
        (["tables", "--set", "nessie_uri=nowhere"], 2, "expected http://... or https://..."),
        (["tables", "--set", "nessie_urn=x"], 2, "There is no setting 'nessie_urn'"),
        (["tables", "--set", "nessie_uri=http://127.0.0.1:9"], 1, "did not answer"),
    ],
)
def test_mistakes_are_answered_in_words(cli: Cli, arguments: list[str], code: int, words: str) -> None:
    found, out, err = cli(*arguments)
    assert (found, out) == (code, "")
    assert words in err
    assert "hint: " in err


def test_an_unknown_table_is_said_without_the_whole_commit(cli: Cli) -> None:
    assert re.search(r"no table gold\.nothing on main@[0-9a-f]{12}\.$", cli("lineage", "gold.nothing")[2], re.MULTILINE)


def test_audit_of_a_table_that_declares_no_check(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "unchecked_shop.py"
    path.write_text("from asgard import Pipeline\nshop = Pipeline('shop')\nshop.source('bronze.unchecked')\n")
    code, _, err = cli("audit", "bronze.unchecked", "-p", str(path))
    assert code == 2
    assert "error: Pipeline shop declares no checks for bronze.unchecked.\nhint: Give one: --check" in err


def test_a_run_without_checks_has_no_table_of_them(
    cli: Cli, lake: Lakehouse, spark: SparkSession, fresh: Fresh
) -> None:
    unchecked = declare_table(str(fresh.table("bronze")), mode="append")
    result = write_rows(lake, unchecked, values(spark, "id bigint", [[1]]))
    _, out, _ = cli("runs", result.run_id)
    assert "no check was run" in out
    assert "MEASURED" not in out


def test_one_file_is_one_file(cli: Cli, fresh: Fresh, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id\n1\n")
    code, out, err = cli("ingest", str(fresh.table("bronze")), str(path))
    assert (code, "published" in out) == (0, True)
    assert "hashing 1 file, 5 bytes" in err


def test_status_has_headers_like_any_table(cli: Cli) -> None:
    assert cli("status")[1].split()[:3] == ["SERVICE", "STATE", "URL"]


def test_settings_say_where_they_come_from(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://user:canary-secret@localhost:6379/0")
    found = {row["name"]: row for row in cli.json("settings", "--set", "environment=test")["settings"]}
    assert found["environment"]["source"] == "flag --set environment"
    assert found["redis_url"] == {**found["redis_url"], "source": "environment REDIS_URL", "value": "***"}
    assert found["nessie_uri"]["source"].startswith("services of")
    assert "canary-secret" not in cli("settings")[1]
