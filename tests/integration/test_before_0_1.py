"""What the last version before 0.1 wrote is read as it was read then, and evolves without a step by hand.

`tests/support/make_before_0_1.py` made it: a warehouse, registered views, a Feast repository, versions of a model with
their ledger, published predictions, and Redis.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pytest
from tests.support.before_0_1 import Before, before_0_1
from tests.support.make_before_0_1 import CUSTOMERS, PROJECT, START
from tests.support.predicting import answer

from asgard.common.names import TableName
from asgard.features.feast.registry import import_feast
from asgard.features.register import registered_views
from asgard.lakehouse.catalog.files import TableState
from asgard.model.batch.predict import predict
from asgard.model.batch.request import PredictRequest
from asgard.model.provenance.learned_from import pinned_views
from asgard.model.registry import Registry
from asgard.model.scoring.predictor import Predictor
from asgard.serving import OnlineStore
from asgard.serving.redis_access.store import Store
from asgard.serving.sync.sync import sync
from asgard.serving.sync.verify import verify

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

VIEWS = ("churn_scores", "customers", "customers_feast")
ADDED = ["coverage", "challenger", "completes"]


@pytest.fixture(scope="module")
def before() -> Iterator[Before]:
    with before_0_1() as found:
        yield found


def plain(value: Any) -> Any:
    """As the stored answers have it."""
    return json.loads(json.dumps(value, default=str))


def predictions(before: Before) -> pd.DataFrame:
    """Every published prediction, read by PyIceberg."""
    content = before.lake.content(TableName("gold", "churn_predictions"), "main")
    return TableState.load(content.metadata_location, before.settings).table.scan().to_pandas()


def looked_up(before: Before, view: str) -> dict[str, Any]:
    online = OnlineStore(settings=before.settings, timeout=10)
    entities = [{"customer_id": customer} for customer in range(CUSTOMERS)]
    found: dict[str, Any] = plain(online.lookup_many(view, entities).to_dict())
    return found


def test_lookups_give_what_they_gave(before: Before) -> None:
    for view in VIEWS:
        assert looked_up(before, view) == before.expected["lookup"][view]


def test_views_are_listed_and_nothing_of_their_declaration_differs(
    before: Before, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = answer(before, capsys, "features", "list")["views"]
    then = before.expected["features list"]["views"]
    assert {each["name"]: each["snapshot_id"] for each in listed} == {
        each["name"]: each["snapshot_id"] for each in then
    }
    assert sorted(each["name"] for each in listed) == sorted(VIEWS)
    found = answer(before, capsys, "features", "diff", "-p", str(PROJECT / "before.py"))
    assert {each["view"]: each["action"] for each in found["views"]} == dict.fromkeys(VIEWS, "keep")


def test_a_version_is_verified_and_predicts_what_it_predicted(
    before: Before, capsys: pytest.CaptureFixture[str]
) -> None:
    assert before.run("model", "verify", "churn@1.0.0") == 0
    registry = Registry.of(before.settings)
    assert str(registry.find("churn@production")) == "churn@1.0.0"
    predictor = Predictor(registry.artifact(registry.find("churn@1.0.0")))
    features = before.expected["lookup"]["customers"]
    batch = pa.table({"amount": features["amount"], "visits": pa.array(features["visits"], pa.int64())})
    rows = predictions(before)
    newest = rows[(rows["model_version"] == "1.0.0") & (rows["scope"] == "all")].sort_values("customer_id")
    assert predictor.predict(batch).tolist() == pytest.approx(newest["prediction"].tolist())
    assert len(set(newest["prediction"])) > 3


def test_a_prediction_is_explained(before: Before, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(before, capsys, "lineage", "gold.churn_predictions", "--key", "customer_id=1")
    then = before.expected["lineage"]
    assert (found["model"]["version"], found["features"]) == (then["model"]["version"], then["features"])
    assert found["missing"] == []


def test_feast_reads_its_repository_of_then(before: Before) -> None:
    import_feast()
    from feast import FeatureStore

    written = (PROJECT / "feast" / "feature_store.yaml").read_text()
    assert "asgard.features.feast_source." in written
    asked = pd.DataFrame({"customer_id": range(5), "event_timestamp": [START + pd.Timedelta(days=1, hours=1)] * 5})
    store = FeatureStore(str(PROJECT / "feast"))
    rows = store.get_historical_features(asked, ["customers:amount", "customers:visits"]).to_df()
    found = rows.sort_values("customer_id")[["amount", "visits"]].to_dict("list")
    assert plain(found) == before.expected["feast"]


def counting(rows: pd.DataFrame) -> dict[int, tuple[float, str]]:
    """Customer -> prediction and version that count, after a run over all that completed what its version had done."""
    last = rows.loc[rows["predicted_at"].idxmax()]
    wanted = rows[
        (rows["features_as_of"] == last["features_as_of"])
        & (rows["model_version"] == last["model_version"])
        & (rows["feature_snapshot"] == last["feature_snapshot"])
    ]
    return {row.customer_id: (row.prediction, row.model_version) for row in wanted.itertuples()}


def test_syncs_find_nothing_to_do_and_the_next_prediction_brings_the_columns(
    before: Before, spark: "SparkSession"
) -> None:
    store, lake = Store.of(before.settings), before.lake
    views = {pinned.name: pinned.view for pinned in registered_views(lake, VIEWS)}
    for view in views.values():
        done = sync(lake, store, view, say=lambda _line: None)
        assert (done.counted.written, done.counted.deleted) == (0, 0)
        assert verify(lake, store, view, lambda _line: None).is_equal

    earlier = predictions(before)
    assert not set(ADDED) & set(earlier.columns)
    registry = Registry.of(before.settings)
    version = registry.find("churn@1.0.1")
    request = PredictRequest(version, registry.artifact(version), pinned_views(lake, version))
    done_now = predict(before.use(spark), request, lambda _line: None)
    challenged = earlier[earlier["scope"].str.contains("challenger")]
    assert done_now.rows == CUSTOMERS - len(challenged) > 0

    rows = predictions(before)
    fresh = rows[rows["run_id"] == str(done_now.run.run_id)]
    assert {tuple(row) for row in fresh[ADDED].itertuples(index=False)} == {("all", None, True)}
    old = rows[rows["run_id"] != str(done_now.run.run_id)]
    assert old[ADDED].isna().all(axis=None)
    by = ["customer_id", "model_version", "predicted_at"]
    columns = list(earlier.columns)
    pd.testing.assert_frame_equal(
        old[columns].sort_values(by, ignore_index=True), earlier.sort_values(by, ignore_index=True)
    )

    done = sync(lake, store, views["churn_scores"], say=lambda _line: None)
    assert done.counted.written > 0
    assert verify(lake, store, views["churn_scores"], lambda _line: None).is_equal
    served = looked_up(before, "churn_scores")
    found = zip(served["customer_id"], served["prediction"], served["model_version"], strict=True)
    assert {customer: (score, version) for customer, score, version in found} == counting(rows)
