"""One declaration with a segment: which segments get a model of their own, what becomes of the others, how all do."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asgard.common.errors import DeclarationError, RunError, UsageError
from asgard.model.artifacts.formats import Format
from asgard.model.artifacts.segments import MOST, Segment, Segments
from asgard.model.declaration import FitResult, Model, TrainingData, model
from asgard.model.metrics import Metric
from asgard.model.scoring.predictor import Predictor
from asgard.model.training.examples import Examples, load_examples
from asgard.model.training.fitting import Fitted, fit
from asgard.model.training.outcome import fitting_together
from asgard.model.training.scripts import LOG
from asgard.model.training.training import TrainRequest

START = datetime(2024, 1, 1, tzinfo=UTC)
SIZES = {"books": 160, "food": 240, "toys": 120}
SLOPES = {"books": -2.0, "food": 3.0, "toys": 0.5}
OFFERED = {"price": "double", "visits": "int", "department": "string", "aisle": "bigint", "open": "boolean"}
KEYS = {"product_id": "bigint"}
SCRIPT = """
import argparse, pathlib, pickle
import pandas
from sklearn.linear_model import LinearRegression

parser = argparse.ArgumentParser()
for name in ("data", "out", "params", "seed", "segment"):
    parser.add_argument("--" + name)
given = parser.parse_args()
rows = pandas.read_parquet(given.data)
target = rows.pop("sold")
print("rows:", len(rows), "of", given.segment)
(pathlib.Path(given.out) / "model.pkl").write_bytes(pickle.dumps(LinearRegression().fit(rows.to_numpy(), target)))
"""


def linear(data: TrainingData) -> Any:
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit(data.features.to_numpy(), data.target)


def boosted(data: TrainingData) -> Any:
    import lightgbm

    params = {"objective": "binary", "verbosity": -1, "num_threads": 1, "deterministic": True, "seed": data.seed}
    return lightgbm.train({**params, **data.params}, lightgbm.Dataset(data.features, data.target), 10)


def demand(**changes: Any) -> Model:
    given: dict[str, Any] = {
        "labels": "gold.sales",
        "target": "sold",
        "views": ("products",),
        "task": "regression",
        "trainer": linear,
        "features": ("price", "visits"),
        "segment": "department",
        "min_segment_rows": 50,
    }
    return model("demand", **given | changes)


def table(sizes: dict[Any, int] | None = None, *, seed: int = 1) -> pd.DataFrame:
    """Labels of each department over 100 days; what is sold depends on the price, in each department otherwise."""
    drawn = np.random.default_rng(seed)
    names = np.repeat(np.array(list(sizes or SIZES), dtype=object), list((sizes or SIZES).values()))
    drawn.shuffle(names)
    price = drawn.uniform(1, 10, len(names))
    slopes = np.array([SLOPES.get(name, 1.0) for name in names])
    return pd.DataFrame(
        {
            "event_timestamp": [START + timedelta(hours=int(hour)) for hour in drawn.permutation(len(names))],
            "product_id": np.arange(len(names)),
            "price": price,
            "visits": drawn.integers(0, 5, len(names)).astype("int32"),
            "department": names,
            "aisle": [sorted(map(str, SLOPES)).index(name) if name in SLOPES else 9 for name in names],
            "open": [name == "food" for name in names],
            "sold": slopes * price + drawn.normal(0, 0.1, len(names)),
        }
    )


def load(rows: pd.DataFrame, declared: Model, folder: Path) -> Examples:
    path = folder / "set.parquet"
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), path)
    return load_examples(path, declared, OFFERED, KEYS)


def trained(rows: pd.DataFrame, declared: Model, folder: Path, said: list[str] | None = None) -> Fitted:
    return fit(declared, load(rows, declared, folder), {}, 7, folder, (said if said is not None else []).append)


def segments(fitted: Fitted) -> Segments:
    assert fitted.segments is not None
    return fitted.segments


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert not list((tmp_path / "segments").glob("*"))


class TestEverySegmentHasItsOwn:
    def test_that_is_what_its_rows_alone_give(self, folder: Path) -> None:
        rows = table()
        found = trained(rows, demand(), folder)
        examples = load(rows, demand(), folder)
        predictor = Predictor(found.artifact)
        test = examples.features[found.split.test]
        values = np.array(examples.segments(found.split.test).to_pylist())  # type: ignore[union-attr]
        for name in SIZES:
            mine = np.array(examples.segment.to_pylist()) == name  # type: ignore[union-attr]
            learned = examples.features[found.split.train & mine], examples.target[found.split.train & mine]
            alone = linear(TrainingData(learned[0], pd.Series(learned[1]), {}, 7))
            batch = pa.RecordBatch.from_pandas(test[values == name].assign(department=name), preserve_index=False)
            for place in range(batch.num_rows):
                one = np.repeat(batch.slice(place, 1).select(["price", "visits"]).to_pandas().to_numpy(), 64, axis=0)
                assert predictor.predict(batch.slice(place, 1))[0] == alone.predict(one)[0]
        assert [each.value for each in segments(found).segments] == sorted(SIZES)
        assert found.artifact.spec.format is Format.SEGMENTS
        assert found.artifact.spec.signature.segment == "department"
        assert found.artifact.spec.signature.names == ("price", "visits", "department")

    def test_and_its_own_metrics_beside_a_baseline(self, folder: Path) -> None:
        found = trained(table(), demand(minimum={"r2": 0.9}), folder)
        assert found.metrics[Metric.R2] > 0.99 > found.baseline[Metric.R2]
        assert found.misses(demand(minimum={"r2": 0.9})) == []
        assert found.misses(demand(minimum={"r2": 1.0}))
        for each in segments(found).segments:
            assert each.metrics["rmse"] < 0.2 < each.baseline["rmse"]
            assert each.train_rows + each.test_rows == SIZES[str(each.value)]
        total = sum(each.metrics["rmse"] ** 2 * each.test_rows for each in segments(found).segments)
        assert (total / found.split.test.sum()) ** 0.5 == pytest.approx(found.metrics[Metric.RMSE])
        assert Segments.read(found.artifact.content) == segments(found)

    def test_that_one_model_for_all_does_not_match(self, folder: Path) -> None:
        one = fit(
            demand(segment=None, min_segment_rows=None),
            load(table(), demand(segment=None, min_segment_rows=None), folder),
            {},
            7,
            folder,
            print,
        )
        assert one.segments is None
        assert trained(table(), demand(), folder).metrics[Metric.RMSE] < one.metrics[Metric.RMSE] / 5

    def test_the_same_each_time(self, folder: Path) -> None:
        first, second = (trained(table(), demand(), folder) for _ in range(2))
        assert np.array_equal(first.scores, second.scores)
        shuffled = trained(table().sample(frac=1, random_state=3), demand(), folder)
        assert np.array_equal(first.scores, shuffled.scores)
        assert first.importance == shuffled.importance

    def test_of_the_type_of_its_column(self, folder: Path) -> None:
        rows = table().assign(day=[date(2024, 1, 1 + place % 2) for place in range(sum(SIZES.values()))])
        for column, kind, values in (
            ("aisle", "bigint", [0, 1, 2]),
            ("open", "boolean", [False, True]),
            ("day", "date", [date(2024, 1, 1), date(2024, 1, 2)]),
        ):
            found = trained(rows, demand(segment=column), folder)
            assert [each.value for each in segments(found).segments] == values
            assert found.artifact.spec.signature.inputs[-1].type == kind

    def test_keys_have_the_type_of_their_view(self, folder: Path) -> None:
        rows = table().assign(product_id=lambda each: each["aisle"].astype("int16"))
        path = folder / "set.parquet"
        rows.to_parquet(path)
        declared = demand(segment="product_id")
        for kind, expected in (("bigint", [0, 1, 2]), ("string", ["0", "1", "2"])):
            examples = load_examples(path, declared, OFFERED, {"product_id": kind})
            found = fit(declared, examples, {}, 7, folder, print)
            assert [each.value for each in segments(found).segments] == expected
            assert found.artifact.spec.signature.inputs[-1].type == kind

    def test_by_default_it_learns_from_all_numbers_but_the_segment(self, folder: Path) -> None:
        found = trained(table(), demand(segment="aisle", features=()), folder)
        assert list(found.importance) != []
        assert set(found.importance) == {"price", "visits", "open"}

    def test_of_classes(self, folder: Path) -> None:
        rows = table().assign(sold=lambda each: each["price"] * each["department"].map(SLOPES) > 2)
        rows["sold"] ^= rows["visits"] == 0
        found = trained(rows, demand(task="binary", trainer=boosted), folder)
        assert {each.model.format for each in segments(found).segments if each.model} == {Format.LIGHTGBM}
        assert all(set(each.metrics) == set(each.baseline) for each in segments(found).segments)
        assert found.curves is not None

    def test_the_trainer_is_told_which(self, folder: Path) -> None:
        seen = []

        def trainer(data: TrainingData) -> Any:
            seen.append((data.segment, len(data.features)))
            return linear(data)

        found = trained(table(), demand(trainer=trainer, unknown_segment="whole"), folder)
        by_value = [(each.value, each.train_rows) for each in segments(found).segments]
        assert seen == [(None, int(found.split.train.sum())), *by_value]

    def test_by_a_script(self, folder: Path) -> None:
        script = folder / "train.py"
        script.write_text(SCRIPT)
        found = trained(table(), demand(trainer=script), folder)
        assert np.allclose(found.scores, trained(table(), demand(), folder).scores, rtol=1e-12)
        counts = {each.value: each.train_rows for each in segments(found).segments}
        log = [
            line for name, count in counts.items() for line in (f"== department: {name}", f"rows: {count} of {name}")
        ]
        assert (folder / LOG).read_text().splitlines() == log


SMALL: dict[Any, int] = {**SIZES, "cars": 20, None: 15}


class TestSegmentsWithoutEnough:
    def test_are_refused_with_what_to_do(self, folder: Path) -> None:
        with pytest.raises(UsageError, match=r"'cars' \(1\d labels for training, fewer than 50\)") as raised:
            trained(table(SMALL), demand(), folder)
        assert "15 labels have no department" in raised.value.message
        assert "unknown_segment='whole'" in raised.value.hint
        assert trained(table(SIZES), demand(), folder)

    def test_or_have_no_prediction(self, folder: Path) -> None:
        said: list[str] = []
        found = trained(table(SMALL), demand(unknown_segment="null"), folder, said)
        cars = next(each for each in segments(found).segments if each.value == "cars")
        assert (cars.model, cars.test_rows, cars.metrics) == (None, 0, {})
        assert any("'cars'" in line and line.endswith("no prediction") for line in said), said
        assert any(line.endswith("have no prediction, and are left out of the metrics") for line in said), said
        assert len(found.scores) == sum(each.test_rows for each in segments(found).segments) < found.split.test.sum()
        assert found.artifact.spec.signature.nullable

    def test_or_are_predicted_by_a_model_of_all_rows(self, folder: Path) -> None:
        found = trained(table(SMALL), demand(unknown_segment="whole"), folder)
        whole = segments(found).whole
        assert whole is not None
        assert whole.train_rows == found.split.train.sum()
        cars = next(each for each in segments(found).segments if each.value == "cars")
        assert cars.model is None
        assert 0 < cars.test_rows < whole.test_rows
        assert set(whole.metrics) == {"rmse", "mae", "r2"}
        assert len(found.scores) == found.split.test.sum()

    def test_of_one_class_have_no_model_either(self, folder: Path) -> None:
        rows = table().assign(sold=lambda each: (each["department"] != "toys") & (each["price"] > 4))
        found = trained(rows, demand(task="binary", trainer=boosted, unknown_segment="whole"), folder)
        why = {each.value: each.why for each in segments(found).segments}
        assert why["toys"].startswith("1 of 2 classes in its ")
        assert why["books"] == ""

    def test_that_only_the_test_has(self, folder: Path) -> None:
        rows = table()
        latest = rows["event_timestamp"] >= rows["event_timestamp"].quantile(0.95)
        rows.loc[latest, "department"] = "new"
        with pytest.raises(UsageError, match=r"'new' \(0 labels for training, fewer than 50\)"):
            trained(rows, demand(), folder)
        found = trained(rows, demand(unknown_segment="whole"), folder)
        assert len(found.scores) == found.split.test.sum()
        assert [each.value for each in segments(found).segments] == sorted([*SIZES, "new"])

    def test_labels_without_one_are_refused_wherever_they_are(self, folder: Path) -> None:
        rows = table()
        for place in (rows["event_timestamp"].idxmin(), rows["event_timestamp"].idxmax()):
            one = rows.copy()
            one.loc[place, "department"] = None
            with pytest.raises(UsageError, match="1 labels have no department"):
                trained(one, demand(), folder)

    def test_all_of_them(self, folder: Path) -> None:
        with pytest.raises(UsageError, match="No segment of model demand has enough"):
            trained(table(), demand(min_segment_rows=10_000, unknown_segment="null"), folder)
        only = trained(table(), demand(min_segment_rows=10_000, unknown_segment="whole"), folder)
        one = trained(table(), demand(segment=None, min_segment_rows=None), folder)
        assert np.array_equal(only.scores, one.scores)


class TestRefused:
    def test_too_many(self, folder: Path) -> None:
        rows = table({"food": MOST + 400}).assign(department=lambda each: each["product_id"].astype(str))
        with pytest.raises(UsageError, match=rf"model demand may have at most {MOST:,} segments"):
            trained(rows, demand(min_segment_rows=1), folder)

    def test_a_column_that_is_not_there(self, folder: Path) -> None:
        with pytest.raises(UsageError, match="have no column town"):
            load(table(), demand(segment="town"), folder)

    def test_a_column_of_another_type(self, folder: Path) -> None:
        with pytest.raises(UsageError, match="The segment price of model demand is double"):
            load(table(), demand(segment="price", features=("visits",)), folder)

    def test_a_trainer_that_fails_is_said_with_its_segment(self, folder: Path) -> None:
        def trainer(data: TrainingData) -> Any:
            if data.segment == "food":
                raise ValueError("no idea")
            return linear(data)

        with pytest.raises(RunError, match="no idea") as raised:
            trained(table(), demand(trainer=trainer), folder)
        assert raised.value.details == ("it was the model of department 'food'",)

    def test_details_that_are_too_long_as_soon_as_they_come(self, folder: Path) -> None:
        asked: list[Any] = []

        def trainer(data: TrainingData) -> Any:
            asked.append(data.segment)
            return FitResult(linear(data), {"text": "x" * 20_000})

        with pytest.raises(RunError, match="20,000 are kept"):
            trained(table(), demand(trainer=trainer), folder)
        assert asked == ["books"]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"segment": "sold"}, "its segment sold is its target"),
            ({"segment": "event_timestamp"}, "or the labels' time"),
            ({"segment": "price"}, "its segment price is one of its features"),
            ({"segment": None}, "has no segment, but sets min_segment_rows or unknown_segment"),
            ({"min_segment_rows": 0}, "min_segment_rows is 0"),
            ({"unknown_segment": "zero"}, "unknown_segment is 'zero'"),
            ({"format": "segments"}, "format is 'segments'"),
        ],
    )
    def test_declarations_that_can_not_work(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(DeclarationError, match=message):
            demand(**change)


class TestDetails:
    def test_of_all_segments_what_fits_is_kept_and_the_rest_is_named(self, folder: Path) -> None:
        lengths = {"books": 9_000, "food": 15_000, "toys": 9_000}
        said: list[str] = []
        found = trained(
            table(),
            demand(trainer=lambda data: FitResult(linear(data), {"text": "x" * lengths[data.segment]})),
            folder,
            said,
        )
        kept = {name: len(each.get("text", "")) for name, each in found.details.items()}
        assert kept == {"books": 9_000, "food": 0, "toys": 9_000}
        assert len(json.dumps(found.details)) <= 20_000
        assert [line for line in said if line.startswith("details of food are left out")]
        assert len(segments(found).segments) == 3

    def test_a_segment_whose_trainer_told_nothing_is_there_with_nothing(self, folder: Path) -> None:
        def trainer(data: TrainingData) -> Any:
            return FitResult(linear(data), {"drift": 0.1} if data.segment == "toys" else {})

        found = trained(table(), demand(trainer=trainer), folder)
        assert found.details == {"books": {}, "food": {}, "toys": {"drift": 0.1}}
        assert trained(table(), demand(), folder).details == {}

    def test_names_that_are_too_long_alone_leave_nothing(self) -> None:
        one, two = "x" * 15_000, "y" * 15_000
        assert fitting_together({one: {"a": 1}, two: {}}) == ({}, (one,))

    def test_a_segment_called_like_the_model_of_all_rows_keeps_its_own(self, folder: Path) -> None:
        def trainer(data: TrainingData) -> Any:
            return FitResult(linear(data), {"of": data.segment})

        rows = table().replace({"department": {"food": "all rows"}})
        found = trained(rows, demand(trainer=trainer, unknown_segment="whole"), folder)
        assert found.details["all rows"] == {"of": None}
        assert found.details["'all rows'"] == {"of": "all rows"}


def test_the_table_for_people(folder: Path) -> None:
    heading, lines = segments(trained(table(SMALL), demand(unknown_segment="whole"), folder)).table()
    assert heading == ("DEPARTMENT", "MODEL", "TRAINING ROWS", "TEST ROWS", "RMSE", "MAE", "R2")
    assert [line[0] for line in lines] == ["books", "cars", "food", "toys", "any other"]
    assert str(lines[1][1]).startswith("whole: 1")
    assert {len(line) for line in lines} == {len(heading)}
    assert isinstance(Segment("a", 1).to_json()["value"], str)


def test_an_on_demand_feature_can_be_the_segment() -> None:
    from asgard import Pipeline
    from asgard.features.views import Feature, feature_view, on_demand

    @on_demand(inputs={"price": "products:price"}, type="string")
    def price_band(price: "pd.Series[float]") -> "pd.Series[str]":
        return price.gt(5).map({True: "dear", False: "cheap"})

    shop = Pipeline("shop")
    shop.source("gold.products")
    shop.add(feature_view("products", table="gold.products", keys=("id",), features=[Feature("price", "double")]))
    shop.add(price_band)
    shop.add(demand(features=("price",), segment="price_band"))
    assert [each.name for each in TrainRequest.of(shop, "demand").on_demand] == ["price_band"]


def test_an_on_demand_feature_of_a_request_is_learned_from_only_if_it_is_named() -> None:
    from asgard import Pipeline
    from asgard.features.views import Feature, feature_view, on_demand

    @on_demand(inputs={"price": "products:price"}, request={"offered": "double"})
    def discount(price: "pd.Series[float]", offered: "pd.Series[float]") -> "pd.Series[float]":
        return 1 - offered / price

    @on_demand(inputs={"price": "products:price"})
    def doubled(price: "pd.Series[float]") -> "pd.Series[float]":
        return price * 2

    shop = Pipeline("shop")
    shop.source("gold.products")
    shop.add(feature_view("products", table="gold.products", keys=("id",), features=[Feature("price", "double")]))
    shop.add(discount)
    shop.add(doubled)
    shop.add(demand(features=(), segment="id"))
    assert [each.name for each in TrainRequest.of(shop, "demand").on_demand] == ["doubled"]
    named = Pipeline("named")
    named.source("gold.products")
    named.add(feature_view("products", table="gold.products", keys=("id",), features=[Feature("price", "double")]))
    named.add(discount)
    named.add(demand(features=("price", "discount"), segment="id"))
    assert [each.name for each in TrainRequest.of(named, "demand").on_demand] == ["discount"]
