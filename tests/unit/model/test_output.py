"""Whatever a model gives, each row gets its own prediction, or there is an error that says what is wrong.

The oracle is a slow loop over places: which row each prediction is of, as far as the model's answer tells.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.models import ANSWER, NAMES, Answering, answer_now, as_pyfunc, drops_rows, fitted, signature
from tests.support.models import rows as matrix_of
from tests.support.segments import segmented

from asgard.common.errors import ArtifactError
from asgard.model.artifacts.artifact import Artifact, ModelSpec
from asgard.model.artifacts.dumping import dump
from asgard.model.artifacts.formats import Format
from asgard.model.artifacts.segments import UnknownSegment
from asgard.model.scoring.output import predictions
from asgard.model.scoring.predictor import Predictor
from asgard.model.scoring.scorers import load
from asgard.model.scoring.segmented import Segmented

NUMBERS = ("float64", "float32", "int64", "bool")
KINDS = (*NUMBERS, "Float64", "object", "str", "complex128")
FORMS = ("array", "column", "row", "list", "series", "frame", "masked", "scalar", "nothing")


@dataclass(frozen=True)
class Answer:
    """What a model says of its rows.

    Attributes:
        form: what it is made of.
        kind: type of its numbers.
        order: what becomes of the rows' places.
        place: where that happens.
        labelled: whether a Series or DataFrame keeps the index of its rows.
        of_rows: value of a row by its place: each row has another one.
    """

    form: str
    kind: str
    order: str
    place: int
    labelled: bool

    def places(self, count: int) -> list[int]:
        """Which row each prediction is of."""
        every, place = list(range(count)), self.place % count
        return {
            "same": every,
            "short": every[:place] + every[place + 1 :],
            "long": every[: place + 1] + every[place:],
            "reversed": every[::-1],
            "turned": every[place:] + every[:place],
            "twice": [every[place - 1], *every[:place], *every[place + 1 :]],
        }[self.order]

    def values(self, count: int) -> list[float]:
        """Of all rows, in their order."""
        numbers = [float(7 * place % 89) for place in range(count)]
        return [float(number > 40) for number in numbers] if self.kind == "bool" else numbers

    def __call__(self, rows: Any) -> Any:
        count = len(rows)
        places = self.places(count)
        values = self.values(count)
        if self.form == "scalar":
            return np.float64(values[0])
        if self.form == "nothing":
            return None
        found = pd.Series([values[place] for place in places], dtype="float64").astype(self.kind)
        if self.form in ("series", "frame"):
            found = found.set_axis(places if self.labelled else range(len(places)))
            return found.to_frame("prediction") if self.form == "frame" else found
        array = found.to_numpy(dtype=None if self.kind != "Float64" else "float64")
        return {
            "array": lambda: array,
            "column": lambda: array[:, None],
            "row": lambda: array[None, :],
            "list": lambda: array.tolist(),
            "masked": lambda: np.ma.masked_array(array, mask=[place == 1 for place in places]),
        }[self.form]()

    def expected(self, given: int, asked: int) -> list[float] | None:
        """The predictions of the rows that were asked for; None: it must be refused."""
        places, values = self.places(given), self.values(given)
        if self.form in ("scalar", "nothing") or (self.form == "row" and given > 1):
            return None
        if self.kind in ("str", "complex128") or (self.kind == "object" and self.form != "list"):
            return None
        if len(places) != given:
            return None
        if self.form in ("series", "frame") and self.labelled:
            if any(places.count(row) != 1 for row in range(given)):
                return None
            return values[:asked]
        found = [values[place] for place in places]
        if self.form == "masked":
            found = [np.nan if place == 1 else value for place, value in zip(places, found, strict=True)]
        return found[:asked]


answers = st.builds(
    Answer,
    st.sampled_from(FORMS),
    st.sampled_from(NUMBERS) | st.sampled_from(KINDS),
    st.sampled_from(("same", "short", "long", "reversed", "turned", "twice")),
    st.integers(0, 300),
    st.booleans(),
)
counts = st.integers(1, 5) | st.integers(60, 130)


def check(answer: Answer, given: int, asked: int, score: Callable[[], Any]) -> None:
    """Compare what a scorer makes of an answer with the oracle."""
    ANSWER.append(answer)
    try:
        expected = answer.expected(given, asked)
        if expected is None:
            with pytest.raises(ArtifactError, match="model returned"):
                score()
        else:
            found = score()
            assert found.dtype == np.float64
            assert np.array_equal(found, expected, equal_nan=True)
    finally:
        ANSWER.pop()


def padded(rows: int) -> int:
    return -(-rows // 64) * 64


class _Session:
    def run(self, _names: Sequence[str], given: dict[str, Any]) -> list[Any]:
        return [ANSWER[-1](next(iter(given.values())))]


class _Booster:
    def predict(self, matrix: Any, num_threads: int) -> Any:
        return ANSWER[-1](matrix)


def answering(format: Format) -> Any:
    """A scorer of each format that gives what it is told; where a format's own library can't, in its place."""
    signed = signature("regression")
    if format is Format.PICKLE:
        return load(dump(Answering(), format), format, signed)
    if format is Format.PYFUNC:
        return load(dump(as_pyfunc(answer_now), format), format, signed)
    scorer: Any = load(dump(fitted(format, "regression"), format), format, signed)
    if format is Format.SKOPS:
        scorer._predict = Answering().predict
    elif format is Format.ONNX:
        scorer._session = _Session()
    else:
        scorer._booster = _Booster()
    return scorer


SCORERS: dict[Format, Any] = {}


def scorer_of(format: Format) -> Any:
    if format not in SCORERS:
        SCORERS[format] = answering(format)
    return SCORERS[format]


FORMATS = [Format.PICKLE, Format.SKOPS, Format.LIGHTGBM, Format.ONNX, Format.PYFUNC]


def check_format(format: Format, answer: Answer, count: int) -> None:
    """Compare what a format's scorer makes of an answer with the oracle."""
    seen = count if format is Format.LIGHTGBM else padded(count)
    scorer = scorer_of(format)
    check(answer, seen, count, lambda: scorer.score(matrix_of(count, gaps=False)))


class TestEveryFormat:
    @pytest.mark.parametrize("format", FORMATS)
    @given(answer=answers, count=counts)
    @settings(max_examples=examples(60), deadline=None)
    def test_gives_each_row_its_own_or_refuses(self, format: Format, answer: Answer, count: int) -> None:
        check_format(format, answer, count)

    @pytest.mark.soak
    @pytest.mark.parametrize("format", FORMATS)
    @given(answer=answers, count=counts)
    @settings(max_examples=3000, deadline=None)
    def test_at_length(self, format: Format, answer: Answer, count: int) -> None:
        check_format(format, answer, count)

    @given(answer=answers, shops=st.lists(st.sampled_from(("books", "food", "none")), min_size=1, max_size=90))
    @settings(max_examples=examples(100), deadline=None)
    def test_segments(self, answer: Answer, shops: list[str]) -> None:
        if "models" not in _SEGMENTED:
            model = (Format.PICKLE, Answering())
            made = segmented({"books": model, "food": model}, UnknownSegment.NULL, task="regression")
            _SEGMENTED["models"] = Segmented(made, 1)
        expected: list[float | None] | None = [None] * len(shops)
        for shop in ("books", "food"):
            places = [place for place, each in enumerate(shops) if each == shop]
            found = answer.expected(padded(len(places)), len(places)) if places else []
            if found is None or expected is None:
                expected = None
                continue
            for place, value in zip(places, found, strict=True):
                expected[place] = value
        given = pa.record_batch({**dict.fromkeys(NAMES, pa.array([1.0] * len(shops))), "shop": pa.array(shops)})
        ANSWER.append(answer)
        try:
            if expected is None:
                with pytest.raises(ArtifactError, match="model returned"):
                    _SEGMENTED["models"].predict_arrow(given)
            else:
                assert str(_SEGMENTED["models"].predict_arrow(given).to_pylist()) == str(expected)
        finally:
            ANSWER.pop()


_SEGMENTED: dict[str, Segmented] = {}


class TestClasses:
    @given(
        order=st.permutations(("low", "middle", "high")),
        other=st.none() | st.sampled_from(("mild", "0")),
        plain=st.booleans(),
        count=counts,
    )
    @settings(max_examples=examples(60), deadline=None)
    def test_columns_that_are_named_after_classes_are_taken_by_name(
        self, order: list[str], other: str | None, plain: bool, count: int
    ) -> None:
        signed = signature("multiclass")
        names: list[Any] = [other or order[0], *order[1:]]
        of_name = {name: np.arange(count) + 100.0 * place for place, name in enumerate(("low", "middle", "high"))}
        made = pd.DataFrame({name: of_name.get(name, np.zeros(count)) for name in names})
        if plain:
            made.columns = pd.RangeIndex(3)
        if other and not plain:
            with pytest.raises(ArtifactError, match="its classes are low, middle, high"):
                predictions(made, count, signed)
            return
        expected = made.to_numpy() if plain else np.column_stack([of_name[name] for name in signed.classes])
        assert np.array_equal(predictions(made, count, signed), expected)

    def test_of_both_classes_the_second_counts_wherever_it_stands(self) -> None:
        made = pd.DataFrame({"yes": [0.9, 0.2], "no": [0.1, 0.8]}, index=[1, 0])
        assert predictions(made, 2, signature("binary")).tolist() == [0.2, 0.9]
        with_others = made.set_axis(["first", "second"], axis=1)
        assert predictions(with_others, 2, signature("binary")).tolist() == [0.8, 0.1]


class TestWords:
    """Counts are named: those of the rows, and those that only fill the batch up."""

    def test_a_pipeline_that_drops_rows(self) -> None:
        spec = ModelSpec("churn", Format.PICKLE, signature("regression"))
        predictor = Predictor(Artifact.of(spec, dump(drops_rows(), Format.PICKLE)))
        gaps = matrix_of(40, gaps=False)
        alone = drops_rows().predict(pd.DataFrame(gaps, columns=list(NAMES)))
        assert np.allclose(predictor.score(gaps), alone)
        gaps[[7, 19, 33], 1] = np.nan
        with pytest.raises(
            ArtifactError, match=r"returned 61 predictions for 64 rows \(40, and 24 that pad the batch\)"
        ):
            predictor.score(gaps)

    @pytest.mark.parametrize(
        ("found", "words"),
        [
            ([24.0, 36.0, np.nan], "returned 3 predictions for 4 rows"),
            ([12.0, 12.0, 24.0, 36.0, np.nan], "returned 5 predictions for 4 rows"),
            ([[1.0], [2.0, 3.0]], "list that the model returned for 4 rows can't become an array"),
            (12.0, "returned a single float for 4 rows"),
            ({"prediction": [1.0] * 4}, "returned a single dict for 4 rows"),
            (
                pd.Series([1.0] * 4, index=list("abcd")),
                r"4 predictions for 4 rows, but their index \('a', 'b', 'c', ...\)",
            ),
            (pd.Series([1.0] * 4, index=pd.MultiIndex.from_product([(0, 1), (0, 1)])), "their index"),
            (pd.Series([1.0] * 4, index=pd.date_range("2024-01-01", periods=4)), "their index"),
            (np.array(["1", "2", "3", "4"]), "returned <U1 of shape"),
        ],
    )
    def test_of_what_is_refused(self, found: Any, words: str) -> None:
        with pytest.raises(ArtifactError, match=words):
            predictions(found, 4, signature("regression"))

    def test_a_series_in_another_order_is_put_in_that_of_the_rows(self) -> None:
        found = pd.Series([36.0, 24.0, 12.0, np.nan], index=[2, 1, 0, 3])
        assert np.array_equal(predictions(found, 4, signature("regression")), [12, 24, 36, np.nan], equal_nan=True)

    def test_nulls_of_pandas_own_types_are_nan(self) -> None:
        found = pd.Series([1, None, 3], dtype="Int64")
        assert np.array_equal(predictions(found, 3, signature("regression")), [1, np.nan, 3], equal_nan=True)

    def test_rows_that_a_model_sorts_in_place(self) -> None:
        def sorts(rows: Any) -> Any:
            rows.sort_values("age", ascending=False, inplace=True)
            return rows["age"].to_numpy()

        def sorts_and_says_so(rows: Any) -> Any:
            sorts(rows)
            return rows["age"]

        named = Answering()
        named.feature_names_in_ = list(NAMES)  # type: ignore[attr-defined]
        scorer = load(dump(named, Format.PICKLE), Format.PICKLE, signature("regression"))
        given = matrix_of(70, gaps=False)
        with answering_with(sorts), pytest.raises(ArtifactError, match="changed the 128 rows"):
            scorer.score(given)
        with answering_with(sorts_and_says_so):
            assert scorer.score(given).tolist() == matrix_of(70, gaps=False)[:, 0].tolist()


class answering_with:
    """What models say while the block lasts."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self.answer = answer

    def __enter__(self) -> None:
        ANSWER.append(self.answer)

    def __exit__(self, *_: object) -> None:
        ANSWER.pop()


def graph(*nodes: tuple[str, list[str], list[str], dict[str, Any]]) -> Any:
    """A graph of ONNX over the first column."""
    from onnx import TensorProto, helper

    constants = {"zero": [0], "one": [1], "end": [2**40], "axis": [0], "flat": [-1]}
    made = [
        helper.make_node("Slice", ["X", "zero", "one", "columns"], ["first"]),
        helper.make_node("Reshape", ["first", "flat"], ["values"]),
        *(helper.make_node(kind, inputs, outputs, **options) for kind, inputs, outputs, options in nodes),
    ]
    tensors = [
        helper.make_tensor(name, TensorProto.INT64, [1], values)
        for name, values in {**constants, "columns": [1]}.items()
    ]
    given = helper.make_tensor_value_info("X", TensorProto.DOUBLE, [None, len(NAMES)])
    given_back = helper.make_tensor_value_info(
        "Y", TensorProto.DOUBLE, [] if made[-1].op_type == "ReduceMean" else [None]
    )
    whole = helper.make_graph(made, "answer", [given], [given_back], tensors)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


class TestGraphs:
    """Real graphs of ONNX, which drop, add and add up."""

    @pytest.mark.parametrize(
        ("nodes", "words"),
        [
            ([("Slice", ["values", "one", "end", "axis"], ["Y"], {})], "returned 63 predictions for 64 rows"),
            ([("Concat", ["values", "values"], ["Y"], {"axis": 0})], "returned 128 predictions for 64 rows"),
            ([("ReduceMean", ["values"], ["Y"], {"keepdims": 0})], "returned a single"),
            ([("Identity", ["values"], ["Y"], {})], ""),
        ],
    )
    def test_count(self, nodes: Any, words: str) -> None:
        scorer = load(dump(graph(*nodes), Format.ONNX), Format.ONNX, signature("regression"))
        rows = matrix_of(40, gaps=False)
        if words:
            with pytest.raises(ArtifactError, match=words):
                scorer.score(rows)
        else:
            assert scorer.score(rows).tolist() == rows[:, 0].tolist()
