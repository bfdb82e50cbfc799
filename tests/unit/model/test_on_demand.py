"""On-demand features of a version: their code is the one that it learned from, and nothing that no batch has."""

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from tests.support.on_demand import CODE, OVER_FLOATS, OVER_FLOATS_FAILURE, PLAIN, declared, of_decimals
from tests.support.prediction_requests import version, view

from asgard import Pipeline
from asgard.common.errors import UsageError
from asgard.common.names import CommitHash, SnapshotId, TableName
from asgard.features.function_digest import differs, digest_of
from asgard.features.joins.joining import Join, with_on_demand
from asgard.features.views import Feature, OnDemandFeature, feature_view
from asgard.model.provenance.explain import computed
from asgard.model.provenance.learned_from import functions_of
from asgard.model.versions import ON_DEMAND_CODE, Binding, BoundView, ModelVersion
from asgard.serving.lookup.on_demand import compute


def pipeline(function: OnDemandFeature) -> Pipeline:
    made = Pipeline("shop")
    made.source("gold.customers")
    features = [Feature("visits", "bigint"), Feature("spend", "double")]
    made.add(feature_view("customers", table="gold.customers", keys=("customer_id",), features=features))
    made.add(function)
    return made


def learned(function: OnDemandFeature, digest: str | None) -> ModelVersion:
    bound = BoundView("customers", 1, TableName("gold", "customers"), SnapshotId(1), CommitHash("c" * 16), "m")
    details = {"on_demand": [function.name], ON_DEMAND_CODE: {function.name: digest}}
    found = version("1.0.0")
    return type(found)(**{**found.__dict__, "binding": Binding((bound,), "c0de" * 10, details=details)})


class TestDigest:
    def test_comments_layout_and_docstring_do_not_count(self, tmp_path: Path) -> None:
        one = declared(tmp_path)
        other = declared(tmp_path, '\n    """Spend."""\n\n    # of each\n    return (\n        spend / (visits + 1))')
        assert digest_of(one) == digest_of(other) is not None

    @pytest.mark.parametrize(
        "change",
        [
            {"body": "\n    return spend / (visits + 2)"},
            {"options": ', type="float"'},
            {"options": ', request={"offer": "double"}', "parameters": ", offer"},
        ],
    )
    def test_what_may_be_computed_otherwise_does(self, tmp_path: Path, change: dict[str, str]) -> None:
        assert differs(digest_of(declared(tmp_path)), declared(tmp_path, **change))

    def test_what_can_not_be_told_is_no_difference(self, tmp_path: Path) -> None:
        function = declared(tmp_path)
        assert not differs(None, function)
        assert not differs("2.7:ff", function)
        namespace: dict[str, Any] = {}
        exec(CODE.format(body=PLAIN, options="", parameters=""), namespace)  # noqa: S102
        assert digest_of(namespace["each_visit"]) is None
        assert not differs(digest_of(function), namespace["each_visit"])


class TestFunctionsOfAVersion:
    def test_other_code_is_refused_unless_it_is_accepted(self, tmp_path: Path) -> None:
        before, after = declared(tmp_path), declared(tmp_path, "\n    return spend * visits")
        of = learned(before, digest_of(before))
        assert functions_of(of, pipeline(before)) == (before,)
        with pytest.raises(UsageError, match="was trained with other code of each_visit") as caught:
            functions_of(of, pipeline(after))
        assert "--accept-view-change" in caught.value.hint
        assert functions_of(of, pipeline(after), accept_change=True) == (after,)
        assert functions_of(learned(before, None), pipeline(after)) == (after,)

    def test_one_that_needs_a_request_is_refused(self, tmp_path: Path) -> None:
        function = declared(tmp_path, options=', request={"offer": "double"}', parameters=", offer")
        with pytest.raises(UsageError, match="each_visit, which needs offer of a request"):
            functions_of(learned(function, digest_of(function)), pipeline(function))
        key = declared(tmp_path, options=', request={"customer_id": "bigint"}', parameters=", customer_id")
        assert functions_of(learned(key, digest_of(key)), pipeline(key)) == (key,)


def test_a_value_is_computed_again_from_what_the_views_gave(tmp_path: Path) -> None:
    values = {"visits": 3, "spend": 10.0}
    assert computed((declared(tmp_path),), (view(),), (values,), {"customer_id": 5}) == {"each_visit": 2.5}
    nothing = {"visits": None, "spend": None}
    assert computed((declared(tmp_path),), (view(),), (nothing,), {"customer_id": 5}) == {"each_visit": None}


class TestFailures:
    """A function that fails is named, with the line in its own file and what it was given."""

    VALUES: ClassVar[dict[str, Any]] = {"visits": 3, "spend": Decimal("10.00")}

    def test_over_decimals_it_is_said_what_they_are(self, tmp_path: Path) -> None:
        function, pinned = declared(tmp_path, OVER_FLOATS), of_decimals()
        rows: Any = SimpleNamespace(
            head=SimpleNamespace(view="customers", features={"visits": "bigint", "spend": "decimal(10,2)"}),
            columns={name: [value] for name, value in self.VALUES.items()},
        )
        join = Join.of((pinned,), ("customer_id",), (function,))
        kinds = {"customer_id": pa.int64(), "visits": pa.int64(), "spend": pa.decimal128(10, 2)}
        batch = pa.record_batch(
            [pa.array([value], kind) for value, kind in zip((5, *self.VALUES.values()), kinds.values(), strict=True)],
            list(kinds),
        )
        everywhere: list[Any] = [
            lambda: computed((function,), (pinned,), (self.VALUES,), {"customer_id": 5}),  # lineage
            lambda: compute((function,), (rows,), (), 1),  # lookups
            lambda: with_on_demand(batch, join.on_demand_columns),  # training sets, batches
        ]
        for each in everywhere:
            with pytest.raises(UsageError, match=OVER_FLOATS_FAILURE) as caught:
                each()
            assert caught.value.hint.startswith(
                "Decimals arrive as Python's Decimal, which does not mix with floats: spend."
            )
        mended = declared(tmp_path, "\n    return spend.astype(float) / (visits + 0.5)")
        assert computed((mended,), (pinned,), (self.VALUES,), {"customer_id": 5}) == {"each_visit": 10 / 3.5}

    def test_of_another_sort(self, tmp_path: Path) -> None:
        function = declared(tmp_path, "\n    return spend['a']")
        with pytest.raises(UsageError, match=r"each_visit failed at line 6 of .*: KeyError: 'a'") as caught:
            computed((function,), (view(),), ({"visits": 3, "spend": 1.0},), {"customer_id": 5})
        assert caught.value.hint == "It receives a pandas Series for each parameter: spend double, visits int64."
