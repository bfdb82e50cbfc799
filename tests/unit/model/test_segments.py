"""A model for each segment: a row's prediction is that of its own segment's model, bit for bit."""

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.models import NAMES, fitted, rows, signature
from tests.support.segments import different, segmented

from asgard.common.errors import ArtifactError, UsageError
from asgard.model.artifacts.artifact import Artifact
from asgard.model.artifacts.dumping import dump
from asgard.model.artifacts.formats import Format
from asgard.model.artifacts.segments import (
    ModelFile,
    Segment,
    Segments,
    UnknownSegment,
    grouped,
    segments_of,
    values_of,
)
from asgard.model.artifacts.signature import Column, Signature, breaks
from asgard.model.scoring import segmented as segmented_module
from asgard.model.scoring.predictor import Predictor
from asgard.model.scoring.scorers import load
from asgard.model.scoring.segmented import Segmented
from asgard.model.scoring.single_model import SingleModel

COUNT = 300
WHOLE = (Format.LIGHTGBM, fitted(Format.LIGHTGBM, num_leaves=3))
MODELS = different()


def alone(given: tuple[Format, Any], matrix: np.ndarray[Any, Any], task: str = "binary") -> np.ndarray[Any, Any]:
    """What one model says in this process, row by row."""
    format, model = given
    scorer = load(dump(model, format), format, signature(task))
    return np.array([scorer.score(matrix[place : place + 1])[0] for place in range(len(matrix))])


def batch(shops: Any, matrix: np.ndarray[Any, Any] | None = None, kind: pa.DataType | None = None) -> pa.RecordBatch:
    """Rows with nulls, of some shops."""
    values = rows(len(shops)) if matrix is None else matrix
    columns = {name: pa.array(values[:, place], mask=np.isnan(values[:, place])) for place, name in enumerate(NAMES)}
    return pa.record_batch({"shop": pa.array(shops, kind), **columns})


def expected(
    shops: list[Any], models: Mapping[Any, tuple[Format, Any]], otherwise: Any, matrix: Any = None, task: str = "binary"
) -> list[Any]:
    values = rows(len(shops)) if matrix is None else matrix
    each = {value: alone(model, values, task) for value, model in models.items()}
    rest = alone(otherwise, values, task) if otherwise else [None] * len(shops)
    found = [each[shop][place] if shop in each else rest[place] for place, shop in enumerate(shops)]
    return [list(one) if isinstance(one, np.ndarray) else one for one in found]


SHOPS = [("books", "food", "toys", "cars", None)[place % 5] for place in range(COUNT)]


class TestEachRowByItsOwnModel:
    @pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
    def test_and_by_none_where_it_has_none(self, task: str) -> None:
        models = different(task)
        predictor = Predictor(segmented(models, UnknownSegment.NULL, task=task))
        wanted = expected(SHOPS, models, None, task=task)
        found = predictor.predict_arrow(batch(SHOPS)).to_pylist()
        assert found == wanted
        assert len({str(value) for value in found}) > COUNT / 5
        missing = np.isnan(predictor.predict(batch(SHOPS)).reshape(COUNT, -1)[:, 0])
        assert missing.tolist() == [value is None for value in wanted]

    def test_and_by_the_model_of_all_rows_where_it_has_none(self) -> None:
        predictor = Predictor(segmented(MODELS, UnknownSegment.WHOLE, WHOLE))
        found = predictor.predict_arrow(batch(SHOPS))
        assert found.to_pylist() == expected(SHOPS, MODELS, WHOLE)
        assert found.null_count == 0

    @pytest.mark.parametrize("shop", ["cars", None])
    def test_or_the_job_ends(self, shop: str | None) -> None:
        predictor = Predictor(segmented(MODELS))
        assert predictor.predict_arrow(batch(["food"] * 5)).null_count == 0
        with pytest.raises(UsageError, match=f"rows whose shop is {shop!r}"):
            predictor.predict(batch(["food", shop]))

    @pytest.mark.parametrize(
        ("kind", "values", "arrow"),
        [
            ("bigint", (1, -5), pa.int64()),
            ("bigint", (1, -5), pa.int16()),
            ("int", (0, 7), pa.int32()),
            ("boolean", (False, True), pa.bool_()),
            ("date", (date(2024, 2, 29), date(1969, 1, 1)), pa.date32()),
            ("string", ("", "a/b ü"), pa.large_string()),
            ("string", ("", "a/b ü"), pa.dictionary(pa.int32(), pa.string())),
        ],
    )
    def test_for_segments_of_each_type(self, kind: str, values: tuple[Any, Any], arrow: pa.DataType) -> None:
        models = {values[0]: MODELS["food"], values[1]: MODELS["books"]}
        predictor = Predictor(segmented(models, UnknownSegment.NULL, kind=kind))
        shops = [(*values, None)[place % 3] for place in range(90)]
        found = predictor.predict_arrow(batch(shops, kind=arrow)).to_pylist()
        assert found == expected(shops, models, None)

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.sampled_from([*MODELS, "cars", None]), max_size=140))
    def test_whoever_is_beside_it(self, shops: list[str | None]) -> None:
        found = PREDICTOR.predict_arrow(batch(shops, _MATRIX[: len(shops)])).to_pylist()
        assert found == [EXPECTED[shop][place] for place, shop in enumerate(shops)]

    def test_of_a_matrix(self) -> None:
        predictor = Predictor(segmented(MODELS, UnknownSegment.WHOLE, WHOLE))
        found = predictor.score(rows(COUNT), pa.array(SHOPS))
        assert found.tolist() == expected(SHOPS, MODELS, WHOLE)
        with pytest.raises(UsageError, match="has segments"):
            predictor.score(rows(COUNT))

    def test_whose_model_wants_columns_and_not_a_matrix(self) -> None:
        models = {"food": (Format.PYFUNC, fitted(Format.PYFUNC)), "toys": MODELS["food"]}
        matrix = rows(60, gaps=False)
        shops = ["food", "toys"] * 30
        found = Predictor(segmented(models)).predict_arrow(batch(shops, matrix)).to_pylist()
        assert found == pytest.approx(expected(shops, models, None, matrix), abs=0)


PREDICTOR = Predictor(segmented(MODELS, UnknownSegment.NULL))
_MATRIX = rows(140)
EXPECTED = {shop: alone(MODELS[shop], _MATRIX) if shop in MODELS else [None] * 140 for shop in (*MODELS, "cars", None)}


class TestLoading:
    def test_waits_for_the_first_row(self) -> None:
        scorer = Segmented(segmented(MODELS), threads=1)
        assert scorer.loaded == ()
        scorer.predict(batch(["food"] * 3))
        assert [file.split("/")[1] for file in scorer.loaded] == ["1"]

    def test_keeps_as_many_as_fit(self) -> None:
        made = segmented(MODELS)
        sizes = {path: len(content) for path, content in made.files.items() if path.startswith("segments/")}
        books, food, toys = sorted(sizes)
        scorer = Segmented(made, threads=1, most_bytes=sizes[food] + sizes[toys])
        scorer.predict(batch(["food"]))
        scorer.predict(batch(["toys"]))
        assert scorer.loaded == (food, toys)
        scorer.predict(batch(["food"]))
        assert scorer.loaded == (toys, food)
        assert sizes[books] > sizes[toys]
        scorer.predict(batch(["books"]))
        assert food not in scorer.loaded or sizes[food] + sizes[books] <= sizes[food] + sizes[toys]
        assert scorer.loaded[-1] == books
        found = scorer.predict_arrow(batch(["books", "food", "toys"] * 10)).to_pylist()
        assert found == expected(["books", "food", "toys"] * 10, MODELS, None)

    def test_again_only_what_did_not_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loads = []

        def counted(*arguments: Any) -> SingleModel:
            loads.append(arguments)
            return SingleModel(*arguments)

        monkeypatch.setattr(segmented_module, "SingleModel", counted)
        models = {f"shop {place:02}": WHOLE for place in range(10)}
        made = segmented(models)
        size = len(made.files["segments/0/model.txt"])
        scorer = Segmented(made, threads=1, most_bytes=8 * size)
        shops = list(models) * 3
        scorer.predict(batch(shops))
        assert (len(loads), len(scorer.loaded)) == (10, 8)
        scorer.predict(batch(shops))
        assert (len(loads), len(scorer.loaded)) == (12, 8)

    def test_one_stays_however_large(self) -> None:
        scorer = Segmented(segmented(MODELS), threads=1, most_bytes=0)
        scorer.predict(batch(["books", "food", "toys"]))
        assert len(scorer.loaded) == 1


class TestColumns:
    @pytest.mark.parametrize(
        ("kind", "column"),
        [
            ("string", pa.array([1])),
            ("bigint", pa.array(["1"])),
            ("bigint", pa.array([1.0])),
            ("bigint", pa.array([True])),
            ("boolean", pa.array([1])),
            ("date", pa.array(["2024-01-01"])),
        ],
    )
    def test_of_another_sort_are_refused(self, kind: str, column: pa.Array) -> None:
        with pytest.raises(UsageError, match="Column shop is"):
            values_of(column, "shop", kind)

    def test_of_moments_that_are_no_dates_are_refused(self) -> None:
        moments = pa.array([datetime(2024, 1, 1, 12)])
        with pytest.raises(UsageError, match="Column shop is timestamp"):
            values_of(moments, "shop", "date")
        assert values_of(pa.array([datetime(2024, 1, 1)]), "shop", "date").to_pylist() == [date(2024, 1, 1)]

    def test_without_any_value(self) -> None:
        assert values_of(pa.nulls(2), "shop", "string").to_pylist() == [None, None]
        assert grouped(pa.array([], pa.string())) == []

    def test_are_grouped_in_order_nulls_last(self) -> None:
        found = grouped(pa.array(["b", None, "a", "b", None]))
        assert [(value, places.tolist()) for value, places in found] == [("a", [2]), ("b", [0, 3]), (None, [1, 4])]


class TestKept:
    def test_all_files_are_in_the_manifest(self, tmp_path: Path) -> None:
        made = segmented(MODELS, UnknownSegment.WHOLE, WHOLE)
        folder = made.save(tmp_path / "model")
        assert Artifact.read(folder, made.sha256) == made
        assert sorted(path for path in made.files if path.startswith("segments")) == [
            "segments.json",
            "segments/0/model.skops",
            "segments/1/model.txt",
            "segments/2/model.pkl",
            "segments/whole/model.txt",
        ]
        changed = folder / "segments" / "1" / "model.txt"
        changed.write_bytes(changed.read_bytes().replace(b"tree", b"TREE", 1))
        with pytest.raises(ArtifactError, match=r"segments/1/model\.txt .* was changed"):
            Artifact.read(folder, made.sha256)

    def test_what_is_said_of_segments_comes_back(self) -> None:
        said = Segments(
            "day",
            "date",
            UnknownSegment.NULL,
            (
                Segment(
                    date(2024, 1, 1), 7, ModelFile("segments/0/model.txt", Format.LIGHTGBM, "ab"), "", 3, {"f1": 0.5}
                ),
                Segment(date(2024, 1, 2), 1, None, "few", 2),
            ),
        )
        assert Segments.read(said.content) == said
        with pytest.raises(ArtifactError, match=r"segments\.json can't be read"):
            Segments.read(b"{}")

    def test_mlflow_loads_it(self, tmp_path: Path) -> None:
        from asgard.model.mlflow_access.mlflow_quiet import import_mlflow

        models = {1: MODELS["food"], 2: MODELS["books"]}
        folder = segmented(models, kind="bigint").save(tmp_path / "model")
        given = pd.DataFrame(rows(40), columns=list(NAMES)).assign(shop=[1, 2] * 20)
        given["member"] = rows(40, gaps=False)[:, 3] > 0
        matrix = given[list(NAMES)].to_numpy(dtype=float)
        loaded = import_mlflow().pyfunc.load_model(str(folder))
        found = loaded.predict(given)
        assert found.tolist() == expected([1, 2] * 20, models, None, matrix)

    def test_one_model_for_all_rows_has_none(self) -> None:
        from tests.support.models import artifact

        assert segments_of(artifact()) is None
        found = segments_of(segmented(MODELS))
        assert found is not None
        assert [each.value for each in found.segments] == ["books", "food", "toys"]


def test_metrics_have_names_that_mlflow_takes() -> None:
    from mlflow.utils.validation import _validate_metric_name

    values = ["FOOD & DRINK", "FOOD + DRINK", "a/b", "..", "", "ü", " ", "x" * 300, "FOOD _ DRINK", "any other"]
    segments = tuple(Segment(value, 1, metrics={"rmse": 1.0}, baseline={"rmse": 2.0}) for value in values)
    whole = Segment(None, 1, metrics={"rmse": 1.0}, baseline={"rmse": 2.0})
    names = Segments("shop", "string", UnknownSegment.WHOLE, segments, whole).metrics()
    assert len(names) == 2 * (len(values) + 1)
    for name in names:
        _validate_metric_name(name)
    assert "segment/FOOD _ DRINK/rmse" in names


class TestSignature:
    PLAIN = (Column("age", "double"), Column("shop", "string"), Column("town", "string"))

    def of(self, segment: str | None, *, nullable: bool = False) -> Signature:
        return Signature(self.PLAIN, "regression", (), segment, nullable)

    def test_of_a_segment_is_kept_and_read(self) -> None:
        for each in (self.of("shop", nullable=True), self.of(None)):
            assert Signature.from_json(each.to_json()) == each
        assert "segment" not in self.of(None).to_json()
        assert self.of("shop").without_segment.names == ("age", "town")

    def test_another_segment_breaks_callers(self) -> None:
        assert breaks(self.of("shop"), self.of("town")) == ["the segment was shop, now it is town"]
        assert breaks(self.of(None), self.of("town")) == ["the segment was none, now it is town"]
        assert breaks(self.of("shop"), self.of("shop")) == []

    def test_predictions_that_may_be_missing_break_callers(self) -> None:
        sure, unsure = self.of("shop"), self.of("shop", nullable=True)
        assert breaks(sure, unsure) == ["rows of an unknown segment no longer have a prediction"]
        assert breaks(unsure, sure) == []
