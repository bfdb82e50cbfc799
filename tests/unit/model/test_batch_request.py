"""What a batch prediction may be asked for, before anything starts."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.prediction_requests import INPUTS, TWO, challenger, request, view

from asgard.common.errors import UsageError
from asgard.common.names import TableName
from asgard.ingest.formats import Format
from asgard.model.artifacts.signature import Column, Signature
from asgard.model.batch.challenge import Side
from asgard.model.batch.entities import Entities, UnknownEntities
from asgard.model.batch.request import Challenger
from asgard.model.batch.scope import Coverage, Scope


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (challenger(text="1.0.0"), "churn@1.0.0 can't challenge itself"),
        (challenger(Signature(INPUTS, "binary", ("no", "yes"))), "gives binary of no, yes"),
        (challenger(Signature(INPUTS, "regression", ())), "churn@1.2.0 gives regression"),
        (challenger(share=1.01), "share is 1.01"),
        (challenger(share=-0.1), "share is -0.1"),
        (challenger(share=float("nan")), "share is nan"),
        (challenger(views=(view(household="string"),)), "churn@1.2.0 by household string"),
        (challenger(views=(view(customer_id="int"),)), "by customer_id bigint, churn@1.2.0 by customer_id int"),
        (challenger(Signature((Column("age", "int"),), "binary", TWO.classes)), "age missing"),
    ],
)
def test_a_challenger_that_can_not_stand_beside_the_champion(other: Challenger, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        request(challenger=other).require_fit()
    assert caught.value.hint


def test_keys_that_have_no_one_text_can_not_be_split() -> None:
    odd = view(customer_id="timestamp")
    with pytest.raises(UsageError, match=r"can't be split by customer_id \(timestamp\)"):
        request(views=(odd,), challenger=challenger(views=(odd,))).require_fit()
    request(views=(odd,)).require_fit()


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_each_side_is_a_request_of_its_own(share: float) -> None:
    both = request(challenger=challenger(share=share, views=(view(9, day=3),)), where="visits > 1")
    both.require_fit()
    sides = both.sides
    assert [str(each.version) for each in sides.values()] == ["churn@1.0.0", "churn@1.2.0"]
    assert [each.feature_snapshot for each in sides.values()] == ["7", "9"]
    assert all(each.challenger is None and each.where == "visits > 1" for each in sides.values())
    assert both.known_at() == datetime(2024, 1, 3, tzinfo=UTC)
    assert sides[Side.CHAMPION].known_at() == datetime(2024, 1, 1, tzinfo=UTC)
    assert list(request().sides) == [Side.CHAMPION]


def test_the_scope_says_who_challenged() -> None:
    assert request().scope == Scope(Coverage.ALL, text="all")
    split = Scope(Coverage.ALL, "1.2.0", text="all, challenger 1.2.0 0.1")
    assert request(challenger=challenger()).scope == split
    some = request(entities=Entities("s3://b/vip.csv"), where="visits > 1", top=5, challenger=challenger())
    words = "entities of vip.csv, where visits > 1, top 5 by score, challenger 1.2.0 0.1"
    assert some.scope == Scope(Coverage.SOME, "1.2.0", text=words)
    assert challenger().used_salt == "churn@1.2.0"
    assert challenger(salt="again").used_salt == "again"


def test_what_the_record_says_names_both_versions() -> None:
    described = replace(request(views=()), challenger=challenger(views=())).described(datetime(2024, 1, 1, tzinfo=UTC))
    assert [(each["side"], each["model"]) for each in described["versions"]] == [
        ("champion", "churn@1.0.0"),
        ("challenger", "churn@1.2.0"),
    ]
    assert described["split"] == {"share": 0.1, "salt": "churn@1.2.0", "keys": []}


class TestEntities:
    @pytest.mark.parametrize(
        ("source", "table", "kind", "name"),
        [
            ("gold.vip_customers", TableName("gold", "vip_customers"), None, "gold.vip_customers"),
            ("keys.csv", None, Format.CSV, "keys.csv"),
            ("in/keys.parquet", None, Format.PARQUET, "keys.parquet"),
            ("in/keys #2?.csv", None, Format.CSV, "keys #2?.csv"),
            ("s3://lake/in/keys.parquet/", None, Format.PARQUET, "keys.parquet"),
            ("file:///tmp/a/keys.csv.gz", None, Format.CSV, "keys.csv.gz"),
            ("hdfs://ann:pass@host/keys.csv", None, Format.CSV, "keys.csv"),
        ],
    )
    def test_what_a_source_is(self, source: str, table: TableName | None, kind: Format | None, name: str) -> None:
        found = Entities(source)
        assert (found.table, found.kind, found.name) == (table, kind, name)

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("nowhere/keys.csv", "There is no file nowhere/keys.csv"),
            ("keys.tsv", r"There is no file keys\.tsv"),
            ("keys.jsonl", "neither Parquet, CSV nor TSV, nor a table"),
            ("in/keys.txt", "neither Parquet, CSV nor TSV, nor a table"),
            ("Gold.Vip", "neither Parquet, CSV nor TSV, nor a table"),
            ("s3://bucket/keys", "neither Parquet, CSV nor TSV, nor a table"),
            ("https://ann:secret@host/keys", r"https://ann:\*\*\*@host/keys is neither"),
        ],
    )
    def test_what_can_not_be_read_is_refused_before_spark(
        self, source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UsageError, match=message):
            request(entities=Entities(source)).require_fit()

    def test_unknown_ones_are_counted_and_the_first_named(self) -> None:
        one = UnknownEntities(2, 60, ({"customer_id": 17}, {"customer_id": 18}))
        assert str(one) == "2 of 60 entities are unknown to every view: 17, 18"
        more = one + UnknownEntities(5, 1_000, ({"customer_id": 20}, {"customer_id": 21}, {"customer_id": 22}))
        assert str(more) == "7 of 1,060 entities are unknown to every view: 17, 18, 20, ..."
        several = UnknownEntities(1, 1, ({"shop": "oslo", "product": None},))
        assert str(several) == "1 of 1 entities are unknown to every view: (shop oslo, product null)"
