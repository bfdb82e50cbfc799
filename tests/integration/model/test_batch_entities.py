"""Which entities a batch prediction is about: those of a table, those that nobody knows, and none."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import Fresh
from tests.support.learning import CUSTOMERS, LearningShop
from tests.support.predicting import answer, promote, published, refusal, train
from tests.support.runs import declared, values, write_rows

from asgard.common.names import TableName
from asgard.lakehouse.catalog.lake import Lakehouse
from asgard.lakehouse.runs.history import list_runs
from asgard.lakehouse.runs.run import RunId

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def shop(lake: Lakehouse, spark: "SparkSession", fresh: Fresh, tmp_path: Path) -> LearningShop:
    """1.0.0 is in Production."""
    made = LearningShop.begin(lake, tmp_path, fresh.table().name)
    made.publish()
    train(made)
    promote(made)
    return made


def test_entities_of_a_table_and_those_that_no_view_knows(
    shop: LearningShop, fresh: Fresh, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["batch-predict", "-m", shop.model("plain")]
    vip = TableName("gold", f"vip_{shop.suffix}")
    rows = [[customer, "x"] for customer in (3, 4, 5, 5, 1017, 1018, 1019, 1020)]
    write_rows(shop.lake, declared(vip), values(shop.lake.spark, "customer_id int, why string", rows))
    found = answer(shop, capsys, *command, "--entities", vip)
    assert found["rows"] == 3
    assert (found["scope"], found["coverage"], found["challenger"]) == (f"entities of {vip}", "some", None)
    first = [{"customer_id": customer} for customer in (1017, 1018, 1019)]
    assert found["unknown"] == {"count": 4, "asked": 7, "first": first}
    assert [row["customer_id"] for row in published(shop)] == [3, 4, 5]
    reads = list_runs(shop.lake, run_id=RunId(found["run"]["run_id"]))[0].to_json()["reads"]
    assert reads[str(vip)]["snapshot_id"] == shop.lake.content(vip, "main").snapshot_id

    keys = shop.folder / "keys.csv"
    keys.write_text("customer_id\n6\n2001\n")
    assert shop.run(*command, "--entities", keys) == 0
    said = capsys.readouterr()
    assert "left out: 1 of 2 entities are unknown to every view: 2001\n" in said.out
    assert "left out: 1 of 2 entities" in said.err
    known = answer(shop, capsys, *command, "--entities", keys.as_uri(), "--where", "customer_id < 6")
    assert (known["rows"], known["unknown"]["count"]) == (0, 1)

    keys.write_text("customer_id\n2001\n2002\n")
    before = shop.lake.nessie.head("main")
    assert "2 of 2 entities are unknown to every view: 2001, 2002" in refusal(
        shop, capsys, *command, "--entities", keys
    )
    keys.write_text("customer_id\n7\nseven\n")
    assert "1 of 2 keys of keys.csv are not bigint: seven" in refusal(shop, capsys, *command, "--entities", keys)
    gone = f"gold.no_{shop.suffix}"
    assert f"There is no table {gone}" in refusal(shop, capsys, *command, "--entities", gone)
    assert shop.lake.nessie.head("main") == before


def test_nobody_to_predict_is_one_clear_answer(shop: LearningShop, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["batch-predict", "-m", shop.model("plain")]
    before = shop.lake.nessie.head("main")
    assert shop.run(*command, "--where", "customer_id < 0") == 0
    said = capsys.readouterr().out
    assert "0 predictions by" in said
    assert "nothing was published: no entity has features for: where customer_id < 0\n" in said
    for options, remark in (
        (["--where", "customer_id < 0"], "no entity has features for: where customer_id < 0"),
        (["--where", "amount > 1e9", "--top", "5"], "no entity has features for: where amount > 1e9, top 5 by score"),
        (["--moment", "1999-01-01"], "no entity has features at that moment"),
    ):
        found = answer(shop, capsys, *command, *options)
        assert (found["rows"], found["run"]["status"], found["remark"]) == (0, "unchanged", remark)
    assert shop.lake.nessie.head("main") == before
    assert shop.lake.nessie.content("main", TableName("gold", f"{shop.model('plain')}_predictions")) is None
    assert answer(shop, capsys, *command)["rows"] == CUSTOMERS


def test_a_few_that_come_first_switch_no_check_of_all_off(
    shop: LearningShop, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["batch-predict", "-m", shop.model("plain")]
    keys = shop.folder / "vip.csv"
    keys.write_text("customer_id\n6\n7\n")

    def compared(run_id: str) -> dict[str, Any]:
        record = list_runs(shop.lake, run_id=RunId(run_id))[0].attempt.record
        found: dict[str, Any] = record["details"]["prediction"]["compared"]
        return found

    for amount in (None, "amount * 1.01D"):
        if amount:
            shop.backfill(amount)
        assert answer(shop, capsys, *command, "--entities", keys)["rows"] == 2
        rest = answer(shop, capsys, *command)
        assert rest["rows"] == CUSTOMERS - 2
    scores = [row["prediction"] for row in published(shop)]
    told = compared(rest["run"]["run_id"])
    for when, part in (("last", scores[:CUSTOMERS]), ("now", scores[CUSTOMERS:])):
        assert (told[when]["entities"], told[when]["scored"]) == (CUSTOMERS, CUSTOMERS)
        assert told[when]["mean"] == pytest.approx(sum(part) / CUSTOMERS)
    shop.backfill("CASE WHEN amount > 50 THEN 95D ELSE 90D END")
    assert answer(shop, capsys, *command, "--entities", keys)["rows"] == 2
    before = shop.lake.nessie.head("main")
    assert shop.run(*command) == 3
    assert "mean against the last run" in capsys.readouterr().err
    assert shop.lake.nessie.head("main") == before
